package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// A device, with the frames in the kernel's two buffers and its counters, belongs to the descriptor, of
// which another process may have a duplicate. What a read has copied is in the memory of the process that
// read it: that one records it before it gives the descriptor away.

// File returns a duplicate of the descriptor.
func (d *source) File() (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return nil, device.ErrClosed
	}
	return d.sys.share(d.fd)
}

// Suspend makes the reading goroutine end after the read that is under way, which takes as long as the
// read timeout at most.
func (d *source) Suspend() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 || d.closed {
		return device.ErrClosed
	}
	d.leaves.Store(true)
	return nil
}

// adoptOn takes over a device that another process has set up by the Config, which is complete. The
// kernels do not tell the filter and the direction of a device: they are taken to be those of the Config.
func adoptOn(s sys, a abi, c device.Config, f *os.File) (*source, error) {
	if c.Interface == device.Any {
		return nil, errNotAny()
	}
	dropped, unit, ok := uint64(0), uint32(0), false
	if c.Account != nil {
		dropped, unit, ok = c.Account.LastCounted()
	}
	if !ok || c.Gated {
		return nil, fmt.Errorf("a BPF device without its counters, or behind a gate, can't be taken over: %w", errors.ErrUnsupported)
	}
	state, err := s.link(c.Interface)
	if err != nil {
		return nil, err
	}
	fd, err := s.take(f)
	if err != nil {
		return nil, fmt.Errorf("duplicate: %w", err)
	}
	d := newSource(node{abi: a, sys: s, fd: fd}, state.index, c)
	d.record.tick = uint64(unit)
	d.last = dropped
	if err := recognise(d, c); err != nil {
		_ = s.close(fd)
		return nil, err
	}
	d.name, d.snaplen, d.wait, d.open = c.Interface, c.Snaplen, readTimeout(c.BlockTimeout), time.Now()
	return d, nil
}

// recognise finds out the buffer's length and the link type, and checks that the device is bound to the interface.
func recognise(d *source, c device.Config) error {
	length, err := d.get(biocGetLen)
	if err == syscall.EBADF || gone(err) { // OpenBSD revokes the descriptor
		return fmt.Errorf("%w any more", device.ErrNoInterface)
	}
	if err != nil {
		return &device.UnfitError{Property: "descriptor", Is: fmt.Sprintf("no BPF device (%v)", err), Want: "a BPF device"}
	}
	d.length = int(length)
	name, err := boundTo(d)
	if err != nil {
		return err
	}
	if err := device.Unfit("interface", name, c.Interface); err != nil {
		return err
	}
	dlt, err := d.get(biocGetDLT)
	if err == syscall.EINVAL || gone(err) {
		return fmt.Errorf("%w any more", device.ErrNoInterface)
	}
	if err != nil {
		return cause("get link type", err)
	}
	d.link, _ = d.linkTypeOf(dlt)
	if c.LinkType == "" {
		return nil
	}
	want, err := pcap.ParseLinkType(c.LinkType)
	if err != nil {
		return err
	}
	return device.Unfit("link type", d.link, want)
}

// boundTo returns the name of the device's interface.
func boundTo(d *source) (string, error) {
	code := getIf(d.setIf)
	ifreq := make([]byte, ioctlSize(code))
	switch err := d.sys.ioctl(d.fd, code, ifreq); {
	case err == syscall.EINVAL || err == syscall.EBADF || gone(err):
		return "", fmt.Errorf("%w any more", device.ErrNoInterface)
	case err != nil:
		return "", cause("get interface", err)
	}
	name, _, _ := bytes.Cut(ifreq[:nameLen+1], []byte{0})
	return string(name), nil
}
