package after

import "golang.org/x/sys/unix"

// freeSpace returns the bytes that an ordinary user may still write.
func freeSpace(dir string) (uint64, error) {
	var st unix.Statvfs_t
	if err := unix.Statvfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * st.Frsize, nil
}
