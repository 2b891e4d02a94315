//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// warnings says what of the machine makes figures worse than they could be.
func warnings(dir string) (all []string) {
	if discards(dir) {
		all = append(all, "the file system of "+dir+" is mounted with discard: files that are removed trim the disk at once, "+
			"which holds up writes; mount it without, and enable fstrim.timer")
	}
	status, _ := os.ReadFile("/proc/self/status")
	if !has(string(status), unix.CAP_SYS_NICE) {
		all = append(all, "CAP_SYS_NICE is missing: capd can't let its timers be late, which takes an eighth to a quarter more of a processor")
	}
	if share := othersUse(time.Second); share > 0.1 {
		all = append(all, fmt.Sprintf("other programs use %.0f %% of the processors: figures are worse, and injection may fall short", 100*share))
	}
	return all
}

// othersUse returns the share of all processors that is used in the time d, while this program sleeps.
func othersUse(d time.Duration) float64 {
	sum := func() (used time.Duration) {
		for cpu := range runtime.NumCPU() {
			used += busy(cpu)
		}
		return used
	}
	begin, before := time.Now(), sum()
	time.Sleep(d)
	return (sum() - before).Seconds() / time.Since(begin).Seconds() / float64(runtime.NumCPU())
}

// discards reports whether the file system of dir is mounted with discard.
func discards(dir string) bool {
	var s unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID, &s) != nil || s.Mask&unix.STATX_MNT_ID == 0 {
		return false
	}
	table, _ := os.ReadFile("/proc/self/mountinfo")
	return discardsIn(string(table), s.Mnt_id)
}

// discardsIn looks in a table of proc_pid_mountinfo(5): mount ID, parent, device, root, mount point,
// options, optional fields, "-", type, source, options of the file system. Discards of btrfs with
// discard=async, and of f2fs, wait until the disk has time.
func discardsIn(table string, id uint64) bool {
	for line := range strings.Lines(table) {
		mount, fs, _ := strings.Cut(line, " - ")
		m, f := strings.Fields(mount), strings.Fields(fs)
		if len(m) < 6 || len(f) < 3 || m[0] != strconv.FormatUint(id, 10) {
			continue
		}
		options := "," + f[2] + ","
		return f[0] != "f2fs" && (strings.Contains(options, ",discard,") || strings.Contains(options, ",discard=sync,")) && takesDiscards(m[2])
	}
	return false
}

// takesDiscards reports whether the block device, major:minor, takes discards, or may do so.
func takesDiscards(device string) bool {
	for _, at := range []string{"queue", "../queue"} { // of a disk, of a partition
		text, err := os.ReadFile(filepath.Join("/sys/dev/block", device) + "/" + at + "/discard_max_bytes")
		if err == nil {
			return strings.TrimSpace(string(text)) != "0"
		}
	}
	return true
}

// has reports whether the capability is among the effective ones in a /proc/PID/status.
func has(status string, capability int) bool {
	for line := range strings.Lines(status) {
		if mask, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && set>>capability&1 == 1
		}
	}
	return false
}
