package store

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Discards reports whether the file system of the directory trims the disk for each
// file that is deleted, at once. Before Linux 5.8 the system can't tell.
func Discards(dir string) bool {
	var s unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID, &s) != nil || s.Mask&unix.STATX_MNT_ID == 0 {
		return false
	}
	table, _ := os.ReadFile("/proc/self/mountinfo")
	device, ok := discards(string(table), s.Mnt_id)
	return ok && takesDiscards("/sys/dev/block", device)
}

// discards reports whether a mount of a table of proc_pid_mountinfo(5) has the option
// discard, and returns its device as major:minor. A line has the mount's ID, its parent,
// the device, the root, the mount point, options, optional fields and "-", then the type,
// the source and the options of the file system. Discards of btrfs by discard=async, its
// default, and of f2fs wait until the disk has time.
func discards(table string, id uint64) (device string, ok bool) {
	for line := range strings.Lines(table) {
		mount, fileSystem, _ := strings.Cut(line, " - ")
		m, f := strings.Fields(mount), strings.Fields(fileSystem)
		if len(m) < 6 || len(f) < 3 || m[0] != strconv.FormatUint(id, 10) {
			continue
		}
		options := strings.Split(f[2], ",")
		return m[2], f[0] != "f2fs" && (slices.Contains(options, "discard") || slices.Contains(options, "discard=sync"))
	}
	return "", false
}

// takesDiscards reports whether a block device takes discards, by the directory of block
// devices in /sys. A partition's queue is that of its disk. Devices that the system does
// not list, as btrfs has them, may take discards.
func takesDiscards(devices, device string) bool {
	for _, queue := range []string{"/queue", "/../queue"} {
		text, err := os.ReadFile(filepath.Join(devices, device) + queue + "/discard_max_bytes")
		if err == nil {
			return strings.TrimSpace(string(text)) != "0"
		}
	}
	return true
}
