//go:build linux

package testdisk

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fuseName identifies the mounts of this package in the list of mounts.
const fuseName = "capdtest"

// align is the alignment that a Disk requires of direct writes, like the strictest devices.
const align = 4096

// A Disk is a mounted file system with one directory, backed by a real file system. Without faults,
// it behaves like that.
type Disk struct {
	Dir     string // mount point
	Backing string // the directory with the files, accessed without faults

	// Sequential is a disk that writes a file once, from its begin to its end and through one
	// descriptor, as servers of object storage do.
	Sequential atomic.Bool

	faults faults
	power  sync.RWMutex // read-locked by requests while they run
	kept   kept
}

// New mounts a Disk until the end of the test.
func New(tb testing.TB) *Disk {
	tb.Helper()
	Need(tb)
	d := &Disk{Dir: tb.TempDir(), Backing: tb.TempDir()}
	d.faults.set, d.faults.count, d.faults.waiting = make(map[Op]*fault), make(map[Op]int), make(map[Op]int)
	d.faults.opened = make(map[string]int)
	d.kept.live, d.kept.names = make(map[uint64]*inode), make(map[string]*inode)
	root, err := fs.NewLoopbackRoot(d.Backing)
	if err != nil {
		tb.Fatal(err)
	}
	server, err := fs.Mount(d.Dir, &node{root.(*fs.LoopbackNode), d}, &fs.Options{MountOptions: fuse.MountOptions{
		Name: fuseName, FsName: fuseName, DirectMountStrict: true, DisableXAttrs: true, MaxWrite: 1 << 20,
	}})
	if err != nil {
		tb.Skipf("needs FUSE: %v", err)
	}
	tb.Cleanup(func() {
		d.Heal()
		if err := server.Unmount(); err != nil {
			tb.Errorf("unmount: %v: the test left files open", err)
			_ = unix.Unmount(d.Dir, unix.MNT_FORCE|unix.MNT_DETACH)
			server.Wait()
		}
	})
	return d
}

// enter admits a request, or returns an error for it. Until leave, the power can't be cut.
func (d *Disk) enter(op Op) (leave func(), short int, errno syscall.Errno) {
	if short, errno = d.faults.admit(op); errno != 0 {
		return nil, 0, errno
	}
	d.power.RLock()
	if d.kept.lost {
		d.power.RUnlock()
		return nil, 0, syscall.EIO
	}
	return d.power.RUnlock, short, 0
}

// A node is a file or the root directory.
type node struct {
	*fs.LoopbackNode
	d *Disk
}

// A handle is an open file.
type handle struct {
	*fs.LoopbackFile
	direct bool
}

// PassthroughFd prevents the kernel from bypassing this file system for writes.
func (h *handle) PassthroughFd() (int, bool) { return 0, false }

// A listing is an open directory. It leaves Fsyncdir to the node.
type listing struct {
	fs.FileReaddirenter
	fs.FileReleasedirer
	begun func() // called at the first entry
}

func (l *listing) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	l.begun()
	return l.FileReaddirenter.Readdirent(ctx)
}

func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{ops.(*fs.LoopbackNode), n.d}
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (
	*fs.Inode, fs.FileHandle, uint32, syscall.Errno,
) {
	leave, _, errno := n.d.enter(Create)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	defer leave()
	child, f, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags&^unix.O_DIRECT, mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	n.d.kept.created(out.Attr.Ino)
	h := &handle{f.(*fs.LoopbackFile), flags&unix.O_DIRECT != 0}
	if h.direct {
		// Like the kernel: the file exists before O_DIRECT is refused.
		if _, errno := n.d.faults.admit(OpenDirect); errno != 0 {
			_ = h.Release(ctx)
			return nil, nil, 0, errno
		}
	}
	return child, h, fuseFlags, 0
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	leave, _, errno := n.d.enter(Open)
	if errno != 0 {
		return nil, 0, errno
	}
	defer leave()
	n.d.faults.open(filepath.Base(n.Path(n.Root())))
	if n.d.Sequential.Load() && flags&unix.O_ACCMODE != unix.O_RDONLY && flags&unix.O_TRUNC == 0 {
		return nil, 0, syscall.EPERM
	}
	direct := flags&unix.O_DIRECT != 0
	if direct {
		if _, errno := n.d.faults.admit(OpenDirect); errno != 0 {
			return nil, 0, errno
		}
	}
	f, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags&^unix.O_DIRECT)
	if errno != 0 {
		return nil, 0, errno
	}
	return &handle{f.(*fs.LoopbackFile), direct}, fuseFlags, 0
}

func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, fuseFlags, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	begun := sync.OnceFunc(func() { _, _ = n.d.faults.admit(List) })
	return &listing{f.(fs.FileReaddirenter), f.(fs.FileReleasedirer), begun}, fuseFlags, 0
}

func (n *node) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	leave, short, errno := n.d.enter(Write)
	if errno != 0 {
		return 0, errno
	}
	defer leave()
	h := f.(*handle)
	if h.direct {
		if _, errno := n.d.faults.admit(WriteDirect); errno != 0 {
			return 0, errno
		}
	}
	if h.direct && (off%align != 0 || len(data)%align != 0) {
		return 0, syscall.EINVAL
	}
	if n.d.Sequential.Load() {
		var out fuse.AttrOut
		if errno := h.Getattr(ctx, &out); errno != 0 || uint64(off) != out.Size {
			return 0, syscall.ESPIPE
		}
	}
	if short > 0 {
		data = data[:min(short, len(data))]
	}
	return h.Write(ctx, data, off)
}

func (n *node) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	h, isFile := f.(*handle)
	op := SyncDir
	if isFile {
		op = Sync
	}
	leave, _, errno := n.d.enter(op)
	if errno != 0 {
		return errno
	}
	defer leave()
	if !isFile {
		return fs.ToErrno(n.d.kept.syncNames(n.d.Backing))
	}
	return fs.ToErrno(n.d.kept.sync(n.file(), h))
}

// file returns the present path of the file.
func (n *node) file() string { return filepath.Join(n.d.Backing, n.Path(n.Root())) }

func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno {
	leave, _, errno := n.d.enter(Close)
	if errno == 0 {
		leave()
	}
	return errno
}

func (n *node) Allocate(ctx context.Context, f fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	leave, _, errno := n.d.enter(Allocate)
	if errno != 0 {
		return errno
	}
	defer leave()
	return f.(*handle).Allocate(ctx, off, size, mode)
}

func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if _, ok := in.GetSize(); ok {
		leave, _, errno := n.d.enter(Truncate)
		if errno != 0 {
			return errno
		}
		defer leave()
	}
	return n.LoopbackNode.Setattr(ctx, f, in, out)
}

func (n *node) Rename(ctx context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	leave, _, errno := n.d.enter(Rename)
	if errno != 0 {
		return errno
	}
	defer leave()
	return n.LoopbackNode.Rename(ctx, name, to, newName, flags)
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	leave, _, errno := n.d.enter(Remove)
	if errno != 0 {
		return errno
	}
	defer leave()
	return n.LoopbackNode.Unlink(ctx, name)
}
