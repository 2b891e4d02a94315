package capture

import (
	"errors"

	"golang.org/x/sys/unix"
)

// openGroup opens the devices with a filter that takes nothing, joins them and
// then lets frames in: no frame comes twice.
func openGroup(c Config, n int, s Spread) ([]*Device, error) {
	silent := c
	silent.Gated = true
	var all []*Device
	fail := func(err error) ([]*Device, error) {
		for _, d := range all {
			_ = d.Close()
		}
		return nil, err
	}
	for range n {
		d, err := Open(silent)
		if err != nil {
			return fail(err)
		}
		all = append(all, d)
	}
	if err := join(all, s); err != nil {
		return fail(err)
	}
	if c.Gated {
		return all, nil
	}
	for _, d := range all {
		if err := d.ungate(); err != nil {
			return fail(err)
		}
	}
	return all, nil
}

// join makes a fanout group of the devices, with a number that the kernel
// chooses: no other program's group is joined by accident.
func join(all []*Device, s Spread) error {
	kind := unix.PACKET_FANOUT_HASH
	if s == ByCPU {
		kind = unix.PACKET_FANOUT_CPU
	}
	kind |= unix.PACKET_FANOUT_FLAG_ROLLOVER
	id, first := 0, unix.PACKET_FANOUT_FLAG_UNIQUEID
	for _, d := range all {
		fd := d.backend.(*device).fd
		err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, id|(kind|first)<<16)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENETDOWN) {
			return errors.Join(ErrDown, named("join fanout group", err))
		}
		if err != nil {
			return named("join fanout group", err)
		}
		if first != 0 {
			got, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
			if err != nil {
				return named("get fanout group", err)
			}
			id, first = got&0xffff, 0
		}
	}
	return nil
}

// admit replaces the filter that takes nothing.
func (d *device) admit(c Config) error {
	p := program(c.Direction, d.index, c.Snaplen, c.Filter)
	err := setFilter(d.fd, p)
	if len(p) == 0 {
		err = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	}
	if err != nil {
		return named("set filter", err)
	}
	return lockFilter(d.fd)
}
