//go:build linux || darwin || freebsd

package after

import "golang.org/x/sys/unix"

// freeSpace returns the bytes that an ordinary user may still write.
func freeSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(max(int64(st.Bavail), 0)) * uint64(st.Bsize), nil
}
