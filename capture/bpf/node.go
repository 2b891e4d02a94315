package bpf

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"capd/capture/device"
	"capd/pcap"
)

// A sys is what the BPF backend needs of the operating system. Its errors are
// syscall.Errno, but for link's, which may be ErrNoInterface.
type sys interface {
	open(path string) (fd int, err error) // for reading
	ioctl(fd int, code uint32, arg []byte) error
	read(fd int, buf []byte) (int, error)
	close(fd int) error
	link(name string) (linkState, error)
}

// A linkState is what the system says of an interface.
type linkState struct {
	index int
	up    bool
}

// A node is an open BPF device.
type node struct {
	abi
	sys sys
	fd  int
}

// maxNodes is where the search for a free numbered device ends, as in libpcap.
const maxNodes = 256

// openNode opens a BPF device that nobody else uses.
func openNode(s sys, a abi) (node, error) {
	if !a.numbered {
		return openPath(s, a, "/dev/bpf")
	}
	for i := range maxNodes {
		n, err := openPath(s, a, "/dev/bpf"+strconv.Itoa(i))
		if i > 0 && errors.Is(err, syscall.ENOENT) {
			return node{}, allInUse(i)
		}
		if !errors.Is(err, syscall.EBUSY) {
			return n, err
		}
	}
	return node{}, allInUse(maxNodes)
}

// allInUse is the error when no device is left: each has one user.
func allInUse(n int) error {
	return fmt.Errorf("all %d BPF devices are in use: %w: end a program that has one; \"lsof /dev/bpf*\" lists them", n, syscall.EBUSY)
}

func openPath(s sys, a abi, path string) (node, error) {
	fd, err := s.open(path)
	if err != nil {
		err = cause(path, err)
		if errors.Is(err, device.ErrPermission) {
			err = fmt.Errorf("%w: %s", err, a.access)
		}
		return node{}, err
	}
	return node{abi: a, sys: s, fd: fd}, nil
}

// cause says what failed, with our own error where there is one for it.
func cause(what string, err error) error {
	switch err {
	case syscall.EPERM, syscall.EACCES:
		err = device.ErrPermission
	case syscall.ENETDOWN:
		err = device.ErrDown
	}
	return fmt.Errorf("%s: %w", what, err)
}

// set gives the kernel a number.
func (n *node) set(code, value uint32) error {
	arg := make([]byte, sizeUint)
	host.PutUint32(arg, value)
	return n.sys.ioctl(n.fd, code, arg)
}

// get asks the kernel for a number.
func (n *node) get(code uint32) (uint32, error) {
	arg := make([]byte, sizeUint)
	err := n.sys.ioctl(n.fd, code, arg)
	return host.Uint32(arg), err
}

// list gives the kernel a counted list of len items, and returns how many
// there are after the call. A struct with the count has the pointer at its end.
func (n *node) list(code uint32, first unsafe.Pointer, items int) (int, error) {
	var pin runtime.Pinner
	pin.Pin(first)
	defer pin.Unpin()
	arg := make([]byte, ioctlSize(code))
	host.PutUint32(arg, uint32(items))
	host.PutUint64(arg[len(arg)-8:], uint64(uintptr(first)))
	err := n.sys.ioctl(n.fd, code, arg)
	return int(min(host.Uint32(arg), uint32(items))), err
}

// checkVersion makes sure that the kernel runs the filters we make: the
// version of net/bpf.h is 1.1 since there is one.
func (n *node) checkVersion() error {
	arg := make([]byte, sizeVersion)
	if err := n.sys.ioctl(n.fd, biocVersion, arg); err != nil {
		return cause("get filter version", err)
	}
	if major, minor := host.Uint16(arg), host.Uint16(arg[2:]); major != 1 || minor < 1 {
		return fmt.Errorf("filter version %d.%d is not 1.1", major, minor)
	}
	return nil
}

// setNanoseconds makes timestamps exact where the kernel can.
func (n *node) setNanoseconds() {
	if n.stamp != 0 && n.set(n.stamp, freebsdNanotime) == nil {
		n.record.tick = 1
	}
}

// setFilter throws away what the buffers have.
func (n *node) setFilter(program []device.Instruction) error {
	_, err := n.list(biocSetFilter, unsafe.Pointer(&program[0]), len(program))
	if err != nil {
		return cause("set filter", err)
	}
	return nil
}

// changeFilter keeps what the buffers have, and is not known to every kernel.
func (n *node) changeFilter(program []device.Instruction) error {
	if n.newFilter == 0 {
		return errors.ErrUnsupported
	}
	_, err := n.list(n.newFilter, unsafe.Pointer(&program[0]), len(program))
	return err
}

// setDirection hides the frames of the other direction. Without it both are
// seen.
func (n *node) setDirection(d device.Direction) error {
	var err error
	switch d {
	case device.In:
		err = n.set(n.direction, n.in)
		if err == syscall.EINVAL && n.seeSent != 0 {
			err = n.set(n.seeSent, 0)
		}
	case device.Out:
		err = n.set(n.direction, n.out)
	}
	if err != nil {
		return cause("set direction", err)
	}
	return nil
}

// Lengths of a read buffer in bytes. The kernel has two of it for a device,
// and cuts in silence what is over its own limit; over 64 MiB some have
// panicked.
const (
	kernelBuffers = 2
	mostBuffer    = 32 << 20
	leastBuffer   = 64 << 10
)

// nameLen is the longest name of an interface: IFNAMSIZ less the zero.
const nameLen = 15

// setInterface attaches the device to the interface, with the largest buffer
// up to length that the kernel has memory for. It returns the length that it
// took, which is what a read must ask for.
func (n *node) setInterface(name string, length int) (int, error) {
	for {
		if err := n.set(biocSetLen, uint32(length)); err != nil {
			return 0, cause("set buffer length", err)
		}
		err := n.bind(name)
		if (errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)) && length > leastBuffer {
			length /= 2
			continue
		}
		if err != nil {
			return 0, err
		}
		got, err := n.get(biocGetLen)
		if err != nil {
			return 0, cause("get buffer length", err)
		}
		return int(got), nil
	}
}

// bind attaches the device to the interface, and to no other any more.
func (n *node) bind(name string) error {
	ifreq := make([]byte, ioctlSize(n.setIf))
	if len(name) > nameLen {
		return device.ErrNoInterface
	}
	copy(ifreq, name)
	err := n.sys.ioctl(n.fd, n.setIf, ifreq)
	switch err {
	case nil:
		return nil
	case syscall.ENXIO:
		return fmt.Errorf("%w that BPF can read", device.ErrNoInterface)
	}
	return cause("set interface", err)
}

// choose makes the frames to come be of the link type of that name, and returns
// it. It throws away what the buffers have.
func (n *node) choose(name string) (pcap.LinkType, error) {
	want, err := pcap.ParseLinkType(name)
	if err != nil {
		return 0, err
	}
	now, err := n.get(biocGetDLT)
	if err != nil {
		return 0, cause("get link type", err)
	}
	offered := n.linkTypes()
	if len(offered) == 0 {
		offered = []uint32{now}
	}
	for _, dlt := range offered {
		if t, ok := n.linkTypeOf(dlt); t != want || !ok && dlt > math.MaxUint16 {
			continue
		}
		if dlt != now {
			if err := n.set(n.setDLT, dlt); err != nil {
				return 0, cause("set link type "+want.String(), err)
			}
		}
		return want, nil
	}
	return 0, device.NoLinkType(want, n.listed(offered))
}

// listed returns the link types that stand for the DLTs, each once.
func (a *abi) listed(dlts []uint32) []pcap.LinkType {
	var all []pcap.LinkType
	for _, dlt := range dlts {
		if t, known := a.linkTypeOf(dlt); (known || dlt <= math.MaxUint16) && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all
}

// linkType returns the link type of the frames to come. Of an interface that
// has several it is the kernel's choice, if there is a number for that.
func (n *node) linkType() (t pcap.LinkType, known bool, err error) {
	dlt, err := n.get(biocGetDLT)
	if err != nil {
		return 0, false, cause("get link type", err)
	}
	if t, known = n.linkTypeOf(dlt); known {
		return t, true, nil
	}
	for _, other := range n.linkTypes() {
		if t, known := n.linkTypeOf(other); known && n.set(n.setDLT, other) == nil {
			return t, true, nil
		}
	}
	if dlt > math.MaxUint16 {
		return 0, false, fmt.Errorf("link type: no capture file has a number for DLT %d", dlt)
	}
	return t, false, nil
}

// linkTypes returns the DLTs that the interface offers; nil if it does not say.
func (n *node) linkTypes() []uint32 {
	all := make([]uint32, 64) // a wireless interface, the richest, has 5
	count, err := n.list(n.dlts, unsafe.Pointer(&all[0]), len(all))
	if err != nil {
		return nil
	}
	return all[:count]
}

// setTimeout sets after how long a read returns what there is, or nothing.
func (n *node) setTimeout(d time.Duration) error {
	arg := make([]byte, sizeTimeval)
	host.PutUint64(arg, uint64(d/time.Second))
	host.PutUint64(arg[8:], uint64(d%time.Second/time.Microsecond))
	if err := n.sys.ioctl(n.fd, n.timeout, arg); err != nil {
		return cause("set read timeout", err)
	}
	return nil
}

// setLock forbids all further changes but those that end a capture, so that no
// process that gets the descriptor can bind it to another interface.
func (n *node) setLock() error {
	if n.lock == 0 {
		return nil
	}
	err := n.sys.ioctl(n.fd, n.lock, nil)
	if err != nil && err != syscall.EINVAL { // EINVAL: a kernel that has no lock yet
		return cause("lock", err)
	}
	return nil
}

// counters returns what the kernel has counted: frames seen, filtered or not,
// and dropped. wide says whether they have 64 bits.
func (n *node) counters() (seen, dropped uint64, wide bool, err error) {
	arg := make([]byte, ioctlSize(n.stats))
	err = n.sys.ioctl(n.fd, n.stats, arg)
	if len(arg) == sizeStat {
		return uint64(host.Uint32(arg)), uint64(host.Uint32(arg[4:])), false, err
	}
	return host.Uint64(arg), host.Uint64(arg[8:]), true, err
}
