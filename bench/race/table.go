//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// A Spread is a figure of several heats.
type Spread struct{ Median, Low, High float64 }

// spreadOf returns the spread of at least one value. Of two values in the middle the median is the lower, so
// that it was measured.
func spreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	return Spread{sorted[(len(sorted)-1)/2], sorted[0], sorted[len(sorted)-1]}
}

// format returns the median, and the lowest and highest value where these look different.
func (s Spread) format(spell func(float64) string) string {
	if low, high := spell(s.Low), spell(s.High); low != high {
		return fmt.Sprintf("%s (%s-%s)", spell(s.Median), low, high)
	}
	return spell(s.Median)
}

// A Row is a summary of a recorder's heats under one load.
type Row struct {
	Recorder string
	Load     string
	Wanted   float64 // packets per second; 0: full speed
	Limit    bool    // the highest rate without loss
	Rotate   int64   // bytes; 0: never
	Heats    int
	Figures  map[string]Spread `json:",omitempty"` // by the name of the column; none where no heat ended
}

// plainWriter is the name of the row of the writer that measures the disk.
const plainWriter = "plain writer"

// A column is a figure of the tables.
type column struct {
	name  string
	of    func(Heat) float64 // nil: compared with the first recorder
	spell func(float64) string
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }
func two(v float64) string   { return fmt.Sprintf("%.2f", v) }
func three(v float64) string { return fmt.Sprintf("%.3f", v) }

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// frameColumns are those of the first table: what became of the frames.
var frameColumns = []column{
	{"Gbit/s", func(h Heat) float64 { return h.Gbits }, two},
	{"Mpps", func(h Heat) float64 { return h.OfferedPPS / 1e6 }, three},
	{"frames", func(h Heat) float64 { return float64(h.Offered) }, whole},
	{"lost", func(h Heat) float64 { return float64(h.Lost) }, whole},
	{"lost %", Heat.lostPercent, percent},
	{"doubled", func(h Heat) float64 { return float64(h.Doubled) }, whole},
	{"reordered", func(h Heat) float64 { return float64(h.Reordered) }, whole},
	{"disk MiB", func(h Heat) float64 { return mib(h.Bytes) }, whole},
	{"files", func(h Heat) float64 { return float64(h.Files) }, whole},
}

// cpuNs is the column of a frame's processor time, which the plain writer has too.
const cpuNs = "CPU ns"

// costColumns are those of the second table: what the frames cost. Memory is without the rings.
var costColumns = []column{
	{"start ms", func(h Heat) float64 { return 1000 * h.CPUStart }, whole},
	{cpuNs, func(h Heat) float64 { return h.NsPerFrame }, whole},
	{"/first", nil, two},
	{"whole s", func(h Heat) float64 { return h.CPUWhole }, two},
	{"whole ns", func(h Heat) float64 { return h.NsWhole }, whole},
	{"whole/first", nil, two},
	{"others %", func(h Heat) float64 { return 100 * h.Others }, whole},
	{"ring MiB", func(h Heat) float64 { return mib(h.Ring) }, whole},
	{"idle MiB", func(h Heat) float64 { return mib(h.Idle) }, whole},
	{"peak MiB", func(h Heat) float64 { return mib(h.Peak) }, whole},
}

// rows summarizes the heats of each recorder and load, in the order of the loads, each with a row
// for the plain writer.
func (r *Report) rows() (rows []Row) {
	var first []Heat
	for _, all := range groups(r.Heats) {
		heats := full(all)
		h := heats[0]
		row := Row{Recorder: h.Recorder, Load: h.Load, Wanted: h.Wanted, Limit: h.Limit, Rotate: h.Rotate, Heats: len(heats)}
		if row.Limit {
			row.Wanted = 0
		}
		n := len(rows)
		if n > 0 && !rows[n-1].sameLoad(row) {
			rows = append(rows, r.plain(rows[n-1]))
		}
		if n == 0 || !rows[n-1].sameLoad(row) {
			first = all
		}
		row = row.measured(heats)
		row.compare("/first", all, first, func(h Heat) float64 { return h.NsPerFrame })
		row.compare("whole/first", all, first, func(h Heat) float64 { return h.NsWhole })
		rows = append(rows, row)
	}
	if n := len(rows); n > 0 {
		rows = append(rows, r.plain(rows[n-1]))
	}
	return rows
}

func (r Row) sameLoad(o Row) bool {
	return r.Load == o.Load && r.Wanted == o.Wanted && r.Limit == o.Limit && r.Rotate == o.Rotate
}

// measured returns the row with the figures of the heats. It has none of heats without frames: the
// recorder did not start, or no rate without loss was found.
func (r Row) measured(heats []Heat) Row {
	heats = slices.DeleteFunc(slices.Clone(heats), func(h Heat) bool { return h.Offered == 0 })
	if len(heats) == 0 {
		return r
	}
	r.Figures = make(map[string]Spread)
	for _, c := range slices.Concat(frameColumns, costColumns) {
		if c.of == nil {
			continue
		}
		var values []float64
		for _, h := range heats {
			values = append(values, c.of(h))
		}
		r.Figures[c.name] = spreadOf(values)
	}
	return r
}

// compare adds the figure's ratio to that of the first recorder. Heats that ran in turn are
// compared, because the machine's speed changes from minute to minute.
func (r Row) compare(name string, heats, first []Heat, of func(Heat) float64) {
	var ratios []float64
	for i := range min(len(heats), len(first)) {
		a, b := heats[i], first[i]
		if !a.short() && !b.short() && of(a) > 0 && of(b) > 0 {
			ratios = append(ratios, of(a)/of(b))
		}
	}
	if len(ratios) > 0 && r.Figures != nil {
		r.Figures[name] = spreadOf(ratios)
	}
}

// recordBytes is what a frame takes in a pcapng file in addition to its own bytes.
const recordBytes = 32

// plain returns the row of the plain writer: what it takes of a processor to write as many bytes as
// a frame of that load has in a file.
func (r *Report) plain(load Row) Row {
	load.Recorder, load.Figures, load.Heats = plainWriter, nil, len(r.Disk)
	size, err := parseLoads(load.Load, "max", noRotate)
	if err != nil || len(r.Disk) == 0 {
		return load
	}
	var ns []float64
	for _, d := range r.Disk {
		ns = append(ns, 1e9*d.CPUShare/d.BytesPerSecond*(size[0].mean()+recordBytes))
	}
	load.Figures = map[string]Spread{cpuNs: spreadOf(ns)}
	return load
}

// tables prints what became of the frames, and what they cost.
func (r *Report) tables(w io.Writer) error {
	recorders := slices.DeleteFunc(slices.Clone(r.Rows), func(r Row) bool { return r.Recorder == plainWriter })
	if err := table(w, recorders, frameColumns); err != nil {
		return err
	}
	return table(w, r.Rows, costColumns)
}

// table prints a line for each row. Columns without a value have a hyphen.
func table(w io.Writer, rows []Row, columns []column) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := []string{"recorder", "bytes", "rotate"}
	for _, c := range columns {
		head = append(head, c.name)
	}
	fmt.Fprintln(t, strings.Join(head, "\t")+"\t")
	for _, r := range rows {
		line := []string{r.Recorder, r.loadName(), rotateName(r.Rotate)}
		for _, c := range columns {
			cell := "-"
			if s, ok := r.Figures[c.name]; ok {
				cell = s.format(c.spell)
			}
			line = append(line, cell)
		}
		fmt.Fprintln(t, strings.Join(line, "\t")+"\t")
	}
	return t.Flush()
}

// loadName marks a load whose rate is the highest without loss.
func (r Row) loadName() string {
	if r.Limit {
		return r.Load + " limit"
	}
	return r.Load
}

func rotateName(bytes int64) string {
	if bytes == 0 {
		return "never"
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

// groups groups the heats by recorder and load, in the order of the loads. Limits that were found
// count as one load.
func groups(heats []Heat) [][]Heat {
	var out [][]Heat
	for _, h := range heats {
		i := slices.IndexFunc(out, func(g []Heat) bool {
			o := g[0]
			return o.Recorder == h.Recorder && o.Load == h.Load && o.Rotate == h.Rotate && o.Limit == h.Limit && (h.Limit || o.Wanted == h.Wanted)
		})
		if i < 0 {
			out = append(out, []Heat{h})
			continue
		}
		out[i] = append(out[i], h)
	}
	return out
}
