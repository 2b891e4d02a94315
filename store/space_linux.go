package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func space(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, err
	}
	size := uint64(st.Bsize)
	s := Space{FileSystem: fileSystem(int64(st.Type)), Free: st.Bavail * size, Total: st.Blocks * size, FreeFiles: st.Ffree, Files: st.Files}
	s.doubtInodes()
	return s, nil
}

// doubtInodes forgets the number of inodes that a server of FUSE has made up: rclone says that none is free of a thousand million.
func (s *Space) doubtInodes() {
	if s.FileSystem == fuse && s.FreeFiles == 0 {
		s.Files = 0
	}
}

// fuse is the name of file systems that a program serves.
const fuse = "fuse"

// fileSystem names a file system by its magic number (statfs(2)).
func fileSystem(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.FUSE_SUPER_MAGIC:
		return fuse
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case 0x2fc12fc1:
		return "zfs"
	}
	return fmt.Sprintf("%#x", magic)
}
