package store

import "golang.org/x/sys/unix"

func space(dir string) (Space, error) {
	var st unix.Statvfs_t
	if err := unix.Statvfs(dir, &st); err != nil {
		return Space{}, err
	}
	return Space{FileSystem: unix.ByteSliceToString(st.Fstypename[:]), Free: st.Bavail * st.Frsize, Total: st.Blocks * st.Frsize,
		FreeFiles: st.Favail, Files: st.Files}, nil
}
