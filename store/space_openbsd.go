package store

import "golang.org/x/sys/unix"

func space(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, err
	}
	size := uint64(st.F_bsize)
	return Space{FileSystem: unix.ByteSliceToString(st.F_fstypename[:]), Free: uint64(max(st.F_bavail, 0)) * size, Total: st.F_blocks * size,
		FreeFiles: uint64(max(st.F_favail, 0)), Files: st.F_files}, nil
}
