package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A mountTable says what the system is configured to mount.
type mountTable struct {
	fstab string   // path
	units []string // directories of units
}

var systemMounts = mountTable{
	fstab: "/etc/fstab",
	units: []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"},
}

// Unmounted returns the mount point of a file system that the system is configured
// to mount at the directory or above it, and that is not mounted: what is recorded
// goes to the file system below. It also returns where that is configured. Both are
// empty if there is none, and where the system can't tell.
func Unmounted(dir string) (point, where string) { return systemMounts.unmounted(dir, isMounted) }

func (t *mountTable) unmounted(dir string, mounted func(string) bool) (point, where string) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", ""
	}
	text, _ := os.ReadFile(t.fstab)
	listed := mountPoints(text)
	for ; dir != "/"; dir = filepath.Dir(dir) {
		where := ""
		if listed[dir] {
			where = t.fstab
		} else {
			where = t.unit(dir)
		}
		switch {
		case where == "":
		case mounted(dir):
			return "", ""
		default:
			return dir, where
		}
	}
	return "", ""
}

// unit returns the path of the mount unit for the mount point; empty without one.
func (t *mountTable) unit(point string) string {
	for _, dir := range t.units {
		path := filepath.Join(dir, escapePath(point)+".mount")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path // not a link to /dev/null, which masks a unit
		}
	}
	return ""
}

// escapePath returns the name of the unit for a path (systemd.unit(5)).
func escapePath(path string) string {
	var b strings.Builder
	for i, c := range []byte(strings.Trim(path, "/")) {
		switch {
		case c == '/':
			b.WriteByte('-')
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == ':', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// mountPoints returns those that an fstab(5) lists.
func mountPoints(fstab []byte) map[string]bool {
	points := make(map[string]bool)
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	lines := bufio.NewScanner(bytes.NewReader(fstab))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if point := unescape.Replace(fields[1]); filepath.IsAbs(point) {
			points[filepath.Clean(point)] = true
		}
	}
	return points
}

// isMounted reports whether a file system is mounted at the path, or whether the
// kernel can't tell (before Linux 5.8).
func isMounted(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_NO_AUTOMOUNT, 0, &st)
	if errors.Is(err, unix.ENOENT) {
		return false
	}
	return err != nil || st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
