//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// A sample is one measurement.
type sample struct {
	wall, processor time.Duration
	first           time.Duration // until the first packet came
	read            int64         // bytes of the set
	tables          int64         // and of flow tables
}

// A tool gets the flow out of the files.
type tool struct {
	name string
	find func(o *options, paths []string) (sample, error)
}

var tools = []tool{
	{"extract", extract},
	{"absent", absent},
	{"scan", scan},
	{"tcpdump", func(o *options, paths []string) (sample, error) {
		return each(paths, func(path, out string) *exec.Cmd {
			return exec.Command("tcpdump", "-r", path, "-w", out, expression)
		})
	}},
	{"tshark", func(o *options, paths []string) (sample, error) {
		return each(paths, func(path, out string) *exec.Cmd {
			return exec.Command("tshark", "-n", "-r", path, "-Y", display, "-w", out)
		})
	}},
	{"editcap", editcap},
}

// isPeer reports whether the tool is a command of that name, of others than capd.
func (t *tool) isPeer() bool { return t.name[0] == 't' || t.name[0] == 'e' && t.name != "extract" }

// measure makes the tables, and measures each tool.
func measure(o *options, paths []string, stdout io.Writer) error {
	var bytes int64
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		bytes += info.Size()
	}
	if err := evict(o.dir); err != nil {
		return err
	}
	began := time.Now()
	if out, err := exec.Command(o.capd, "index", o.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("capd index: %w: %s", err, out)
	}
	fmt.Fprintf(stdout, "%d files, %.1f MiB; capd index took %.2f s\n", len(paths), mib(bytes), time.Since(began).Seconds())
	all := make(map[string][]sample)
	for range o.runs {
		for _, t := range tools {
			if !slices.Contains(strings.Split(o.tools, ","), t.name) {
				continue
			}
			if _, err := exec.LookPath(t.name); err != nil && t.isPeer() {
				fmt.Fprintf(stdout, "%s is not installed\n", t.name)
				continue
			}
			if err := o.chill(); err != nil {
				return err
			}
			s, err := t.find(o, paths)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			all[t.name] = append(all[t.name], s)
		}
	}
	return print(stdout, all, bytes)
}

// chill makes the set cold. capd itself is in the page cache, as it is where somebody uses it.
func (o *options) chill() error {
	if err := evict(o.dir); err != nil {
		return err
	}
	if o.drop {
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
			return err
		}
	}
	return exec.Command(o.capd, "version").Run()
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// print prints the medians, and how many times as long as capd extract each tool took.
func print(stdout io.Writer, all map[string][]sample, bytes int64) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "tool\tseconds\tlowest\thighest\tfirst packet\tprocessor\tMiB read\tMiB of tables\ttimes extract\t")
	base := 0.0
	for _, t := range tools {
		s := all[t.name]
		if len(s) == 0 {
			continue
		}
		slices.SortFunc(s, func(a, b sample) int { return int(a.wall - b.wall) })
		m := s[len(s)/2]
		if t.isPeer() {
			m.read = bytes
		}
		if t.name == "extract" {
			base = m.wall.Seconds()
		}
		ratio := ""
		if base > 0 {
			ratio = fmt.Sprintf("%.1f", m.wall.Seconds()/base)
		}
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.2f\t%.2f\t%s\t\n", t.name, m.wall.Seconds(), s[0].wall.Seconds(), s[len(s)-1].wall.Seconds(),
			m.first.Seconds(), m.processor.Seconds(), mib(m.read), mib(m.tables), ratio)
	}
	return w.Flush()
}

// evict writes what is dirty of a directory's files, and takes them out of the page cache.
func evict(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		h, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		err = h.Sync()
		if err == nil {
			err = unix.Fadvise(int(h.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		h.Close()
		if err != nil {
			return fmt.Errorf("take %s out of the page cache: %w", e.Name(), err)
		}
	}
	return nil
}

// timed runs a command, and notes when the first packet comes on its standard output.
func timed(cmd *exec.Cmd) (s sample, stderr []byte, err error) {
	var errs bytes.Buffer
	cmd.Stderr = &errs
	began := time.Now()
	stdout := &firstPacket{began: began}
	cmd.Stdout = stdout
	err = cmd.Run()
	s.wall, s.first = time.Since(began), stdout.after
	if err != nil {
		return s, nil, fmt.Errorf("%w: %s", err, errs.Bytes())
	}
	s.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return s, errs.Bytes(), nil
}

// A firstPacket gets a pcapng file as it is written.
type firstPacket struct {
	began time.Time
	after time.Duration // until a packet came
	buf   []byte
}

// Write walks from block to block, up to the first packet.
func (f *firstPacket) Write(b []byte) (int, error) {
	for f.buf = append(f.buf, b...); f.after == 0 && len(f.buf) >= 8; {
		size := binary.LittleEndian.Uint32(f.buf[4:])
		if size < 12 || uint64(size) > uint64(len(f.buf)) {
			break
		}
		if binary.LittleEndian.Uint32(f.buf) == blockPacket {
			f.after = time.Since(f.began)
		}
		f.buf = f.buf[size:]
	}
	return len(b), nil
}

// extract measures capd extract.
func extract(o *options, _ []string) (sample, error) { return ask(o, expression, flowPackets) }

// absent measures how long capd extract takes to know that an address is nowhere.
func absent(o *options, _ []string) (sample, error) { return ask(o, "host 192.0.2.77", 0) }

func ask(o *options, question string, packets int) (sample, error) {
	s, out, err := timed(exec.Command(o.capd, "extract", o.dir, "--json", "-w", "-", question))
	if err != nil {
		return s, err
	}
	var answer struct {
		Packets      int
		Complete     bool
		Read, Tables int64
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return s, err
	}
	if answer.Packets != packets || !answer.Complete {
		return s, fmt.Errorf("%d packets, complete %v", answer.Packets, answer.Complete)
	}
	s.read, s.tables = answer.Read, answer.Tables
	return s, nil
}

// editcap measures how long it takes to get a minute of all files, in which the flow is.
func editcap(_ *options, paths []string) (sample, error) {
	begin := setBegin.Add(time.Duration(len(paths)/2) * setStep)
	return each(paths, func(path, out string) *exec.Cmd {
		return exec.Command("editcap", "-A", strconv.FormatInt(begin.Unix(), 10), "-B", strconv.FormatInt(begin.Add(setStep).Unix(), 10), path, out)
	})
}

// scan measures capd extract of a directory that has no flow tables.
func scan(o *options, paths []string) (s sample, err error) {
	bare, err := os.MkdirTemp(filepath.Dir(o.dir), "bare-")
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(bare)
	for _, p := range append(slices.Clone(paths), filepath.Join(o.dir, ledgerName)) {
		if err := os.Link(p, filepath.Join(bare, filepath.Base(p))); err != nil {
			return s, err
		}
	}
	b := *o
	b.dir = bare
	return extract(&b, nil)
}

// each measures a command for each file, one after the other.
func each(paths []string, command func(path, out string) *exec.Cmd) (sum sample, err error) {
	dir, err := os.MkdirTemp("", "capd-find-")
	if err != nil {
		return sum, err
	}
	defer os.RemoveAll(dir)
	found := int64(0)
	out := filepath.Join(dir, "found")
	for _, p := range paths {
		s, _, err := timed(command(p, out))
		if err != nil {
			return sum, err
		}
		sum.wall += s.wall
		sum.processor += s.processor
		info, err := os.Stat(out)
		if err != nil {
			return sum, err
		}
		if info.Size() > flowSize {
			found += info.Size()
		}
	}
	if found < flowPackets*flowSize {
		return sum, fmt.Errorf("%d bytes were found, and the flow has %d", found, flowPackets*flowSize)
	}
	return sum, nil
}
