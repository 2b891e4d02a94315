package bpf

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"capd/capture/device"
	"capd/filter"

	"golang.org/x/net/bpf"
)

// A fakeKernel simulates the BPF part of one of the four kernels, following its bpf.c. It fails the
// test if it is used in a way that is not allowed.
type fakeKernel struct {
	t testing.TB
	abi

	inUse    int   // numbered nodes that other programs have open
	nodes    int   // number of nodes; macOS makes more
	openErr  error // for the first node that is not in use
	most     int   // largest buffer in bytes
	memory   int   // allocations above this fail, where the kernel does not wait; 0: no limit
	programs int   // programs of more instructions find no memory; 0: no limit
	promisc  error
	setIfErr error
	oldDir   bool              // the direction ioctl is missing
	oldLock  bool              // the lock ioctl is missing
	oldSetF  bool              // the ioctl that sets a filter without discarding the buffers is missing
	failing  string            // name of an ioctl that fails with EPERM
	version  uint16            // minor version of the filter machine
	dlts     []uint32          // of every interface, the default first
	utun     []uint32          // of the interface utun0 instead
	prefix   map[uint32][]byte // bytes before each frame, by DLT
	lag      time.Duration     // between the devices' times for one frame, if each device reads the clock
	hdrlen   int
	quirk    bool          // reads without data return at once
	tick     time.Duration // of the clock; 0: a nanosecond

	mu    sync.Mutex
	links map[string]linkState
	open_ map[int]*fakeNode
	held  []*fakeNode // those of which other processes may have descriptors
	paths []string    // paths that were opened or tried
	reads atomic.Int64
}

// A fakeNode corresponds to struct bpf_d.
type fakeNode struct {
	name                    string // of the interface; empty before the device is bound
	gone, locked, immediate bool
	dead                    bool // OpenBSD has revoked the descriptor
	done                    bool // OpenBSD: a frame came in immediate mode
	dlt                     uint32
	length                  int
	timeout                 time.Duration
	nanos                   bool
	program                 []device.Instruction
	filter                  filter.Program   // the same
	hide                    device.Direction // direction that is hidden; 0: none
	store, hold             []byte
	recv, drops             uint64
	reading                 bool
	interrupts              int
	readErr                 error
	wake                    chan struct{}
	log                     []string

	elsewhere *os.File // the end for reading of a pipe, whose other end stands for descriptors of other processes; nil: there are none
}

func newKernel(t testing.TB, a abi) *fakeKernel {
	return &fakeKernel{
		t: t, abi: a, nodes: 4, version: 1, most: 1 << 16, dlts: []uint32{1}, hdrlen: headers(a.os)[0],
		links: map[string]linkState{
			"en0": {index: 4, up: true}, "en1": {index: 5, up: true}, "lo0": {index: 1, up: true, loopback: true},
		},
		open_: map[int]*fakeNode{},
	}
}

func (k *fakeKernel) open(path string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.paths = append(k.paths, path)
	var unit int
	if _, err := fmt.Sscanf(path, "/dev/bpf%d", &unit); k.numbered != (err == nil) {
		k.t.Errorf("%s opens %s", k.os, path)
	}
	if k.numbered && unit == k.nodes-1 && k.nodes < 256 {
		k.nodes++
	}
	switch {
	case unit >= k.nodes:
		return -1, syscall.ENOENT
	case unit < k.inUse:
		return -1, syscall.EBUSY
	case k.openErr != nil:
		return -1, k.openErr
	}
	fd := 100 + len(k.open_)
	k.open_[fd] = &fakeNode{length: 4096, wake: make(chan struct{}, 1)}
	return fd, nil
}

func (k *fakeKernel) close(fd int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.open_[fd]
	if fd == noDevice {
		return nil
	}
	if n == nil {
		k.t.Errorf("close of %d, which is not open", fd)
		return syscall.EBADF
	}
	if n.reading {
		k.t.Error("closed during a read")
	}
	k.open_[fd] = nil
	return nil
}

// isOpen reports whether any descriptor is open.
func (k *fakeKernel) isOpen() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.open_ {
		if n != nil {
			return true
		}
	}
	return false
}

func (k *fakeKernel) link(name string) (linkState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.links[name]
	if !ok {
		return s, device.ErrNoInterface
	}
	return s, nil
}

// name returns the name of the ioctl, or "" if this system lacks it.
func (k *fakeKernel) name(code uint32) string {
	names := map[uint32]string{
		biocVersion: "version", biocGetLen: "get length", biocSetLen: "set length", biocSetFilter: "set filter",
		biocPromisc: "promiscuous", biocGetDLT: "get dlt", biocImmediate: "immediate",
		k.setIf: "set interface", k.timeout: "timeout", k.stats: "stats", k.setDLT: "set dlt", k.abi.dlts: "list dlts",
		getIf(k.setIf): "get interface", k.lock: "lock", k.stamp: "stamp", k.direction: "direction", k.seeSent: "see sent", k.newFilter: "change filter",
	}
	delete(names, 0)
	return names[code]
}

// ioctl checks the size of the argument, the order of calls, and the lock.
func (k *fakeKernel) ioctl(fd int, code uint32, arg []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.open_[fd]
	if fd == noDevice {
		return syscall.ENOTTY
	}
	if n == nil {
		k.t.Errorf("ioctl %#x of %d, which is not open", code, fd)
		return syscall.EBADF
	}
	name := k.name(code)
	if name == "" || len(arg) != int(code>>16&0x1fff) {
		k.t.Errorf("%s: ioctl %#x %q with %d bytes", k.os, code, name, len(arg))
		return syscall.EINVAL
	}
	n.log = append(n.log, name)
	if n.dead {
		return syscall.EBADF
	}
	if name == k.failing {
		return syscall.EPERM
	}
	if n.locked && !slices.Contains([]string{"get interface", "get length", "get dlt", "list dlts", "stats", "version", "lock", "timeout", "immediate"}, name) {
		k.t.Errorf("%s: %s of a locked device", k.os, name)
		return syscall.EPERM
	}
	switch name {
	case "set length", "direction", "see sent", "stamp":
		return k.before(n, name, arg)
	case "set filter", "change filter":
		return k.setFilter(n, name, arg)
	case "set interface":
		return k.attach(n, arg)
	}
	return k.after(n, name, arg)
}

// before handles the ioctls that must be called before frames are delivered.
func (k *fakeKernel) before(n *fakeNode, name string, arg []byte) error {
	if n.name != "" {
		k.t.Errorf("%s: %s after the interface", k.os, name)
		return syscall.EINVAL
	}
	switch name {
	case "set length":
		n.length = min(max(int(host.Uint32(arg)), 32), k.most)
		host.PutUint32(arg, uint32(n.length))
	case "stamp":
		n.nanos = host.Uint32(arg) == freebsdNanotime
	case "see sent":
		n.hide = device.Out
	case "direction":
		if k.oldDir {
			return syscall.EINVAL
		}
		n.hide = device.Out
		if host.Uint32(arg) == k.out {
			n.hide = device.In
		}
	}
	return nil
}

// setFilter corresponds to bpf_setf. It fails the test if frames are discarded.
func (k *fakeKernel) setFilter(n *fakeNode, name string, arg []byte) error {
	if name == "change filter" && k.oldSetF {
		return syscall.EINVAL
	}
	program := slices.Clone(pointed[device.Instruction](arg))
	switch {
	case !valid(k.os, program):
		return syscall.EINVAL
	case k.programs > 0 && len(program) > k.programs:
		return syscall.ENOMEM
	}
	n.program, n.filter.Instructions = program, nil
	for _, i := range n.program {
		n.filter.Instructions = append(n.filter.Instructions, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	if name == "set filter" {
		if len(n.store)+len(n.hold) > 0 {
			k.t.Errorf("%s: %s throws frames away", k.os, name)
		}
		n.reset()
	}
	return nil
}

// reset corresponds to reset_d.
func (n *fakeNode) reset() { n.recv, n.drops, n.store, n.hold = 0, 0, nil, nil }

// lets reports whether the filter accepts some frame.
func (n *fakeNode) lets() bool {
	return slices.ContainsFunc(n.program, func(i device.Instruction) bool { return i.Code == device.OpReturn && i.K > 0 })
}

// pointed returns the list to which the argument of a list ioctl points.
func pointed[T any](arg []byte) []T {
	var p unsafe.Pointer
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&p)), 8), arg[len(arg)-8:])
	list := unsafe.Slice((*T)(p), int(host.Uint32(arg)))
	runtime.KeepAlive(arg)
	return list
}

func (k *fakeKernel) attach(n *fakeNode, arg []byte) error {
	name := string(arg[:slices.Index(arg, 0)])
	_, there := k.links[name]
	switch {
	case !there:
		return syscall.ENXIO
	case k.setIfErr != nil:
		return k.setIfErr
	case k.memory > 0 && n.length > k.memory && k.shortage() != nil:
		return k.shortage()
	}
	n.name, n.dlt = name, k.linkTypes(name)[0]
	n.reset()
	return nil
}

// after handles the other ioctls. Most of them need an interface.
func (k *fakeKernel) after(n *fakeNode, name string, arg []byte) error {
	if (n.name == "" || n.gone) && slices.Contains([]string{"get interface", "promiscuous", "get dlt", "set dlt", "list dlts"}, name) {
		return syscall.EINVAL
	}
	switch name {
	case "version":
		host.PutUint16(arg, 1)
		host.PutUint16(arg[2:], k.version)
	case "get interface":
		copy(arg, n.name)
	case "get length":
		host.PutUint32(arg, uint32(n.length))
	case "get dlt":
		host.PutUint32(arg, n.dlt)
	case "set dlt":
		if n.lets() {
			k.t.Errorf("%s: %s while frames pass that are not of it", k.os, name)
		}
		if !slices.Contains(k.linkTypes(n.name), host.Uint32(arg)) {
			return syscall.EINVAL
		}
		n.dlt = host.Uint32(arg)
		n.reset()
	case "list dlts":
		host.PutUint32(arg, uint32(copy(pointed[uint32](arg), k.linkTypes(n.name))))
	case "timeout":
		n.timeout = time.Duration(host.Uint64(arg))*time.Second + time.Duration(host.Uint64(arg[8:]))*time.Microsecond
	case "immediate":
		n.immediate = host.Uint32(arg) != 0
	case "promiscuous":
		return k.promisc
	case "lock":
		if k.oldLock {
			return syscall.EINVAL
		}
		n.locked = true
	case "stats":
		if len(arg) == sizeStat {
			host.PutUint32(arg, uint32(n.recv))
			host.PutUint32(arg[4:], uint32(n.drops))
		} else {
			host.PutUint64(arg, n.recv)
			host.PutUint64(arg[8:], n.drops)
		}
	}
	return nil
}

// change modifies the only open device.
func (k *fakeKernel) change(f func(n *fakeNode)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k.only())
}

// only returns the only open node, or the one opened last.
func (k *fakeKernel) only() *fakeNode {
	all := k.opened()
	if len(all) == 0 {
		k.t.Fatal("no device is open")
	}
	return all[0]
}

// opened returns the open nodes, the newest first, which is the order of the kernels' lists.
func (k *fakeKernel) opened() []*fakeNode {
	var all []*fakeNode
	for _, fd := range slices.Backward(slices.Sorted(maps.Keys(k.open_))) {
		if n := k.open_[fd]; n != nil && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	for _, n := range k.held {
		if !slices.Contains(all, n) && n.isElsewhere() {
			all = append(all, n)
		}
	}
	return all
}

// receive delivers frames to en0, like bpf_tap.
func (k *fakeKernel) receive(d device.Direction, frames ...[]byte) { k.tap("en0", d, frames...) }

// tap delivers the frames to all devices bound to the interface. All devices get the same time,
// unless each reads the clock.
func (k *fakeKernel) tap(name string, d device.Direction, frames ...[]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one := k.loopbackDirection(); name == "lo0" && one != device.Both {
		d = one
	}
	for _, frame := range frames {
		now := time.Now()
		if k.tick > 0 {
			now = now.Truncate(k.tick)
		}
		for _, n := range k.opened() {
			if n.name != name || n.gone {
				continue
			}
			hidden := n.hide == d && d != device.Both
			if !hidden || k.os == "openbsd" {
				n.recv++
			}
			frame := append(slices.Clip(k.prefix[n.dlt]), frame...)
			if keep := n.filter.Match(frame, len(frame), nil); keep > 0 && !hidden {
				k.catch(n, frame, keep, now)
				if k.skew > 0 {
					now = now.Add(k.lag)
				}
			}
		}
	}
}

// catch corresponds to catchpacket.
func (k *fakeKernel) catch(n *fakeNode, frame []byte, keep int, now time.Time) {
	l, frac := k.record, uint64(now.Nanosecond())
	if !n.nanos {
		frac /= 1000
	}
	r := rec{data: frame[:min(len(frame), keep)], datalen: uint32(len(frame)), sec: uint64(now.Unix()), frac: frac}
	grown := l.put(n.store, k.hdrlen, r)
	if len(grown) > n.length {
		if n.hold != nil {
			n.drops++
			return
		}
		n.rotate()
		n.signal()
		grown = l.put(nil, k.hdrlen, r)
	}
	n.store = grown
	if n.immediate {
		n.done = true
		n.signal()
	}
}

// rotate corresponds to ROTATE_BUFFERS.
func (n *fakeNode) rotate() { n.hold, n.store, n.done = n.store, nil, false }

func (n *fakeNode) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// room reports whether every device of the interface has a buffer for frames.
func (k *fakeKernel) room(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !slices.ContainsFunc(k.opened(), func(n *fakeNode) bool {
		return n.name == name && n.hold != nil && len(n.store) > n.length/2
	})
}

// remove removes the interface. On NetBSD that wakes no reader. OpenBSD revokes the descriptors that are not
// being read.
func (k *fakeKernel) remove(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.links, name)
	for _, n := range k.opened() {
		if n.name != name {
			continue
		}
		n.gone, n.dead = true, k.os == "openbsd" && !n.reading
		if k.os != "netbsd" {
			n.signal()
		}
	}
}

// setUp switches the interface up or down, which BPF does not notice.
func (k *fakeKernel) setUp(name string, up bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.links[name]
	s.up = up
	k.links[name] = s
}

// read corresponds to bpfread.
func (k *fakeKernel) read(fd int, buf []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads.Add(1)
	n := k.open_[fd]
	if n == nil || n.reading {
		k.t.Errorf("read of %d, which is not open, or being read", fd)
		return 0, syscall.EBADF
	}
	if len(buf) != n.length {
		k.t.Errorf("read of %d bytes, not %d", len(buf), n.length)
		return 0, syscall.EINVAL
	}
	if n.dead {
		return 0, syscall.EIO
	}
	n.reading = true
	defer func() { n.reading, n.dead = false, n.gone && k.os == "openbsd" }()
	if n.hold == nil {
		if done, err := k.sleep(n); done {
			return 0, err
		}
	}
	got := copy(buf, n.hold)
	n.hold = nil
	return got, nil
}

// sleep waits until there is a hold buffer. It reports whether the read ends without one.
func (k *fakeKernel) sleep(n *fakeNode) (done bool, err error) {
	deadline := time.NewTimer(n.timeout)
	defer deadline.Stop()
	for n.hold == nil {
		switch {
		case n.immediate && len(n.store) > 0 && (n.done || k.os != "openbsd"), n.gone && k.os == "openbsd" && len(n.store) > 0:
			n.rotate()
			return false, nil
		case n.gone && k.os == "openbsd":
			return true, syscall.EIO
		case n.gone && k.os != "netbsd":
			return true, syscall.ENXIO
		case n.interrupts > 0:
			n.interrupts--
			return true, syscall.EINTR
		case n.readErr != nil:
			return true, n.readErr
		case k.quirk && len(n.store) == 0:
			return true, nil
		}
		k.mu.Unlock()
		expired := false
		select {
		case <-n.wake:
		case <-deadline.C:
			expired = true
		}
		k.mu.Lock()
		if expired && n.hold == nil {
			n.rotate()
			return len(n.hold) == 0, nil
		}
	}
	return false, nil
}
