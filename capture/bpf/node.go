package bpf

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"capd/capture/device"
	"capd/pcap"
)

// A sys is the part of the operating system that the BPF backend uses. Errors are syscall.Errno,
// except those of link, which may be ErrNoInterface.
type sys interface {
	open(path string) (fd int, err error) // for reading
	ioctl(fd int, code uint32, arg []byte) error
	read(fd int, buf []byte) (int, error)
	close(fd int) error
	link(name string) (linkState, error)
	share(fd int) (*os.File, error) // a duplicate, for another process
	take(f *os.File) (fd int, err error)
}

// A linkState is the state of an interface.
type linkState struct {
	index    int
	up       bool
	loopback bool
}

// A node is an open BPF device.
type node struct {
	abi
	sys sys
	fd  int
}

// maxNodes is the number of numbered devices. The kernel makes the next one when the last one is opened.
const maxNodes = 256

// openNode opens a BPF device that is not in use.
func openNode(s sys, a abi) (node, error) {
	if !a.numbered {
		return openPath(s, a, "/dev/bpf")
	}
	for i := range maxNodes {
		n, err := openPath(s, a, "/dev/bpf"+strconv.Itoa(i))
		if !errors.Is(err, syscall.EBUSY) {
			return n, err
		}
	}
	return node{}, fmt.Errorf("all %d BPF devices are in use: %w: end a program that has one; \"lsof /dev/bpf*\" lists them", maxNodes, syscall.EBUSY)
}

func openPath(s sys, a abi, path string) (node, error) {
	fd, err := s.open(path)
	if err != nil {
		err = cause(path, err)
		switch {
		case errors.Is(err, device.ErrPermission):
			err = fmt.Errorf("%w: %s", err, a.access)
		case errors.Is(err, syscall.ENOENT) && a.missing != "":
			err = fmt.Errorf("%w: %s", err, a.missing)
		}
		return node{}, err
	}
	return node{abi: a, sys: s, fd: fd}, nil
}

// cause adds the operation that failed, and maps the error to one of package device if there is
// one.
func cause(what string, err error) error {
	switch err {
	case syscall.EPERM, syscall.EACCES:
		err = device.ErrPermission
	case syscall.ENETDOWN:
		err = device.ErrDown
	}
	return fmt.Errorf("%s: %w", what, err)
}

// set passes a number to the kernel.
func (n *node) set(code, value uint32) error {
	arg := make([]byte, sizeUint)
	host.PutUint32(arg, value)
	return n.sys.ioctl(n.fd, code, arg)
}

// get gets a number from the kernel.
func (n *node) get(code uint32) (uint32, error) {
	arg := make([]byte, sizeUint)
	err := n.sys.ioctl(n.fd, code, arg)
	return host.Uint32(arg), err
}

// list passes a counted list of len items to the kernel, and returns the count after the call. The
// struct consists of the count and, at its end, the pointer.
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

// checkVersion makes sure that the kernel runs filters of version 1.1, the only one so far
// (net/bpf.h).
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

// setNanoseconds selects timestamps in nanoseconds if the kernel supports them.
func (n *node) setNanoseconds() {
	if n.stamp != 0 && n.set(n.stamp, freebsdNanotime) == nil {
		n.record.tick = 1
	}
}

// setFilter sets the filter and discards the buffers.
func (n *node) setFilter(program []device.Instruction) error {
	_, err := n.list(biocSetFilter, unsafe.Pointer(&program[0]), len(program))
	switch err {
	case nil:
		return nil
	case syscall.EINVAL:
		return cause(fmt.Sprintf("set filter: the kernel rejects its program of %d instructions", len(program)), err)
	}
	return cause("set filter", err)
}

// prepare returns the filter's program for the link type that the device has, after the kernel has checked
// it: once another recorder has given way, it is too late for a refusal.
func (n *node) prepare(c device.Config, link pcap.LinkType) ([]device.Instruction, error) {
	c, err := c.Compiled(link)
	if err != nil {
		return nil, err
	}
	program := device.Cut(c.Snaplen, c.Filter)
	return program, n.setFilter(closed(program))
}

// closed returns the program with all frames rejected. The kernel accepts it if it accepts the program.
func closed(program []device.Instruction) []device.Instruction {
	const class = 0x07
	gate := slices.Clone(program)
	for i := range gate {
		if gate[i].Code&class == device.OpReturn {
			gate[i] = device.Instruction{Code: device.OpReturn}
		}
	}
	return gate
}

// changeFilter sets the filter and keeps the buffers. Not every kernel supports it.
func (n *node) changeFilter(program []device.Instruction) error {
	if n.newFilter == 0 {
		return errors.ErrUnsupported
	}
	_, err := n.list(n.newFilter, unsafe.Pointer(&program[0]), len(program))
	return err
}

// setDirection hides the frames of the other direction. By default both are delivered.
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

// Lengths of a read buffer in bytes. The kernel has two such buffers for a device, and silently
// reduces lengths over its own limit; some kernels have panicked with more than 64 MiB.
const (
	kernelBuffers = 2
	mostBuffer    = 32 << 20
	leastBuffer   = 64 << 10
)

// nameLen is the length of the longest interface name: IFNAMSIZ without the zero.
const nameLen = 15

// setInterface binds the device to the interface, with the largest buffer up to length for which
// the kernel has memory. It returns the length of the buffer, which every read must use.
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

// bind binds the device to the interface. It can't be bound again.
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

// choose selects the link type of that name for further frames, and returns it. It discards the
// buffers.
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

// listed returns the link types for the DLTs, without duplicates.
func (a *abi) listed(dlts []uint32) []pcap.LinkType {
	var all []pcap.LinkType
	for _, dlt := range dlts {
		if t, known := a.linkTypeOf(dlt); (known || dlt <= math.MaxUint16) && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all
}

// linkType returns the link type of further frames. If the interface has several, it is the
// kernel's default, provided that capture files have a number for it.
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

// linkTypes returns the DLTs that the interface offers, or nil if they can't be listed.
func (n *node) linkTypes() []uint32 {
	all := make([]uint32, 64) // wireless interfaces, which have the most, offer 5
	count, err := n.list(n.dlts, unsafe.Pointer(&all[0]), len(all))
	if err != nil {
		return nil
	}
	return all[:count]
}

// setTimeout sets how long a read blocks before it returns the frames that there are, or none.
func (n *node) setTimeout(d time.Duration) error {
	arg := make([]byte, sizeTimeval)
	host.PutUint64(arg, uint64(d/time.Second))
	host.PutUint64(arg[8:], uint64(d%time.Second/time.Microsecond))
	if err := n.sys.ioctl(n.fd, n.timeout, arg); err != nil {
		return cause("set read timeout", err)
	}
	return nil
}

// setLock forbids all further changes except those that end a capture, so that a process that gets
// the descriptor can't bind it to another interface.
func (n *node) setLock() error {
	if n.lock == 0 {
		return nil
	}
	err := n.sys.ioctl(n.fd, n.lock, nil)
	if err != nil && err != syscall.EINVAL { // EINVAL: an older kernel without the lock
		return cause("lock", err)
	}
	return nil
}

// counters returns the kernel's counters of frames seen, before the filter, and dropped. wide
// reports whether they have 64 bits.
func (n *node) counters() (seen, dropped uint64, wide bool, err error) {
	arg := make([]byte, ioctlSize(n.stats))
	err = n.sys.ioctl(n.fd, n.stats, arg)
	if len(arg) == sizeStat {
		return uint64(host.Uint32(arg)), uint64(host.Uint32(arg[4:])), false, err
	}
	return host.Uint64(arg), host.Uint64(arg[8:]), true, err
}
