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
	"time"

	"golang.org/x/sys/unix"
)

// A Report holds the results of a race.
type Report struct {
	Date      time.Time
	Machine   Machine
	Recorders []Entrant
	Warnings  []string    `json:",omitempty"` // what of the machine makes figures worse
	Disk      []DiskLimit // before and after the heats of each load
	Rows      []Row       // a summary of the heats
	Heats     []Heat

	leftOut string
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
	for _, text := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", text)
	}
	if speeds := r.diskSpeeds(); len(speeds) > 0 {
		fmt.Fprintf(w, "the disk takes %s GiB/s of a plain writer\n", spreadOf(speeds).format(two))
	}
	if err := r.tables(w); err != nil {
		return err
	}
	for _, h := range r.Heats {
		printNotes(w, h)
	}
	if r.leftOut != "" {
		fmt.Fprintf(w, "\n%s\n", r.leftOut)
	}
	return nil
}

func (r *Report) diskSpeeds() (gib []float64) {
	for _, d := range r.Disk {
		gib = append(gib, d.BytesPerSecond/(1<<30))
	}
	return gib
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

func (h Heat) lostPercent() float64 {
	if h.Offered == 0 {
		return 0
	}
	return 100 * float64(h.Lost) / float64(h.Offered)
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
