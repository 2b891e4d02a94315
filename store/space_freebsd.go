package store

import "golang.org/x/sys/unix"

func space(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, err
	}
	size := uint64(st.Bsize)
	return Space{FileSystem: unix.ByteSliceToString(st.Fstypename[:]), Free: uint64(max(st.Bavail, 0)) * size, Total: st.Blocks * size,
		FreeFiles: uint64(max(st.Ffree, 0)), Files: st.Files}, nil
}
