//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// A Report holds the results of a race.
type Report struct {
	Date      time.Time
	Machine   Machine
	Recorders []Entrant
	Disk      []DiskLimit // before and after the heats
	Heats     []Heat
}

// An Entrant is a recorder that took part or was not installed.
type Entrant struct {
	Name      string
	Version   string `json:",omitempty"`
	Installed bool
}

// A Machine describes the machine of the race.
type Machine struct {
	CPU        string
	Cores      int
	Kernel     string
	FileSystem string
}

func machine(dir string) Machine {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails only for an invalid address
	return Machine{cpuModel(), runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), fileSystem(dir)}
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// fileSystem returns the type of the file system of dir (statfs(2)).
func fileSystem(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return ""
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.F2FS_SUPER_MAGIC: "f2fs", unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	}
	return cmp.Or(names[int64(s.Type)], fmt.Sprintf("%#x", s.Type))
}

func (r *Report) entrants(here []recorder, absent []string) {
	for _, e := range here {
		r.Recorders = append(r.Recorders, Entrant{e.Name, e.Version, true})
	}
	for _, name := range absent {
		r.Recorders = append(r.Recorders, Entrant{Name: name})
	}
}

// save writes the report as JSON, unless path is empty.
func (r *Report) save(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// print writes the report as text.
func (r *Report) print(w io.Writer) error {
	m := r.Machine
	fmt.Fprintf(w, "%s, %s, %d cores, Linux %s, %s\n", r.Date.Format(time.RFC3339), m.CPU, m.Cores, m.Kernel, m.FileSystem)
	for _, e := range r.Recorders {
		fmt.Fprintf(w, "%s: %s\n", e.Name, map[bool]string{true: e.Version, false: "not installed"}[e.Installed])
	}
	for i, d := range r.Disk {
		fmt.Fprintf(w, "disk's limit %s: %.2f GiB/s, %.0f %% of a core\n",
			[]string{"before", "after"}[i], d.BytesPerSecond/(1<<30), 100*d.CPUShare)
	}
	fmt.Fprintln(w)
	if err := r.table(w); err != nil {
		return err
	}
	for _, h := range r.Heats {
		printNotes(w, h)
	}
	return nil
}

// table prints one line for each recorder and load. There is no line for a recorder that did not
// start, or for which no rate without loss was found.
func (r *Report) table(w io.Writer) error {
	const columns = 15
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "recorder\tbytes\tGbit/s\tMpps\tframes\tlost\tlost %\tdoubled\treordered\tstart s\tCPU ns\tothers %\tpeak MiB\tdisk MiB\tfiles\t")
	for _, heats := range groups(r.Heats) {
		heats = full(heats)
		h := median(heats)
		if h.Offered == 0 {
			fmt.Fprintf(t, "%s\t%s\tnone%s\n", h.Recorder, h.Load, strings.Repeat("\t", columns-2))
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%.2f\t%.3f\t%d\t%d\t%s\t%d\t%d\t%.1f\t%.0f\t%.0f\t%d\t%d\t%d\t\n",
			h.Recorder, h.Load, h.Gbits, h.OfferedPPS/1e6, h.Offered, h.Lost, lostRange(heats),
			h.Doubled, h.Reordered, h.CPUStart, h.NsPerFrame, 100*h.Others, h.Peak>>20, h.Bytes>>20, h.Files)
	}
	return t.Flush()
}

// groups groups the heats by recorder and load, in the order of the loads. Limits that were found
// count as one load.
func groups(heats []Heat) [][]Heat {
	var out [][]Heat
	for _, h := range heats {
		i := slices.IndexFunc(out, func(g []Heat) bool {
			return g[0].Recorder == h.Recorder && g[0].Load == h.Load && (g[0].Wanted == h.Wanted || g[0].Limit && h.Limit)
		})
		if i < 0 {
			out = append(out, []Heat{h})
			continue
		}
		out[i] = append(out[i], h)
	}
	return out
}

// full removes heats whose injection was too slow, if there are others: a lighter load would make a
// recorder look better.
func full(heats []Heat) []Heat {
	kept := slices.DeleteFunc(slices.Clone(heats), Heat.short)
	if len(kept) == 0 {
		return heats
	}
	return kept
}

// short reports whether injection did not reach the requested rate.
func (h Heat) short() bool { return h.OfferedPPS < 0.95*h.Wanted }

// median returns the heat in the middle, sorted by loss and then CPU time. It is an actual heat, so
// that its figures are consistent.
func median(heats []Heat) Heat {
	sorted := slices.Clone(heats)
	slices.SortStableFunc(sorted, func(a, b Heat) int {
		return cmp.Or(cmp.Compare(a.lostPercent(), b.lostPercent()), cmp.Compare(a.NsPerFrame, b.NsPerFrame))
	})
	return sorted[(len(sorted)-1)/2]
}

func (h Heat) lostPercent() float64 {
	if h.Offered == 0 {
		return 0
	}
	return 100 * float64(h.Lost) / float64(h.Offered)
}

// lostRange formats the loss from the best to the worst heat.
func lostRange(heats []Heat) string {
	low, high := heats[0].lostPercent(), heats[0].lostPercent()
	for _, h := range heats[1:] {
		low, high = min(low, h.lostPercent()), max(high, h.lostPercent())
	}
	if a, b := percent(low), percent(high); a != b {
		return a + "-" + b
	}
	return percent(low)
}

// percent formats a percentage. It never rounds a loss to 0.
func percent(v float64) string {
	if v > 0 && v < 0.01 {
		return "<0.01"
	}
	return fmt.Sprintf("%.4g", v)
}

// printNotes prints results for which the table has no column.
func printNotes(w io.Writer, h Heat) {
	if h.Offered > 0 && h.short() {
		fmt.Fprintf(w, "%s, %s bytes: injection fell short, %.3f of %.3f Mpps: do not compare it\n",
			h.Recorder, h.Load, h.OfferedPPS/1e6, h.Wanted/1e6)
	}
	if h.Cut+h.Foreign+uint64(h.Torn) > 0 || h.Error != "" {
		fmt.Fprintf(w, "%s, %s bytes: %d frames cut, %d foreign, %d files torn; %s\n",
			h.Recorder, h.Load, h.Cut, h.Foreign, h.Torn, cmp.Or(h.Error, "clean end"))
	}
	for _, m := range h.Minutes {
		fmt.Fprintf(w, "%s after %.0f s: %d frames offered, %.1f s of CPU, %d MiB resident\n",
			h.Recorder, m.Elapsed, m.Offered, m.CPU, m.Resident>>20)
	}
}

// rateName formats a rate for the log.
func rateName(pps float64) string {
	if pps == 0 {
		return "full speed"
	}
	return fmt.Sprintf("%.3f Mpps", pps/1e6)
}
