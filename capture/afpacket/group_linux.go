package afpacket

import (
	"errors"
	"fmt"

	"capd/capture/device"

	"golang.org/x/sys/unix"
)

// OpenGroup opens n devices with a filter that accepts nothing, joins them to a fanout group and
// then admits frames, so that no frame is delivered twice. The Config is complete.
func OpenGroup(c device.Config, n int, s device.Spread) ([]*device.Device, error) {
	silent := c
	silent.Gated = true
	var sockets []*socket
	err := func() error {
		for i := range n {
			d, err := open(silent.Member(i))
			if err != nil {
				return fmt.Errorf("open %s: %w", c.Interface, err)
			}
			sockets = append(sockets, d)
		}
		if err := join(sockets, s); err != nil || c.Gated {
			return err
		}
		for _, d := range sockets {
			if err := d.Admit(); err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		for _, d := range sockets {
			_ = d.Close()
		}
		return nil, err
	}
	all := make([]*device.Device, n)
	for i, d := range sockets {
		all[i] = d.device()
	}
	return all, nil
}

// join makes a fanout group of the devices. The kernel chooses its number, so that it can't be
// another program's group.
func join(all []*socket, s device.Spread) error {
	kind := unix.PACKET_FANOUT_HASH
	if s == device.ByCPU {
		kind = unix.PACKET_FANOUT_CPU
	}
	kind |= unix.PACKET_FANOUT_FLAG_ROLLOVER
	id, first := 0, unix.PACKET_FANOUT_FLAG_UNIQUEID
	for _, d := range all {
		fd := d.fd
		err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, id|(kind|first)<<16)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENETDOWN) {
			return errors.Join(device.ErrDown, named("join fanout group", err))
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
