package nflog

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"capd/capture/device"
	"capd/internal/hint"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// A socket is a netlink socket to which the kernel sends a group's packets.
type socket struct {
	config  device.Config
	group   uint16
	stopped atomic.Bool

	mu       sync.Mutex // guards the fields below
	fd       int        // -1 when closed; the reader may use it without the lock
	reader   *reader    // nil if there is none
	received uint64     // packets that were read
	dropped  uint64     // packets whose numbers are missing
	number   uint32     // of the packet read last
	any      bool       // there was one
}

// Open opens a group. The Config is complete.
func Open(c device.Config) (*device.Device, error) {
	group, ok := device.LogGroup(c.Interface)
	c, err := c.Compiled(device.LinkTypeNFLOG)
	switch {
	case !ok:
		return nil, device.ErrNoInterface
	case err != nil:
		return nil, err
	case len(c.Filter) > 0 || c.Direction != device.Both:
		return nil, errors.New("the rules that log say which packets: filter and direction are not for them")
	}
	if c.LinkType != "" {
		const only = device.LinkTypeNFLOG
		if want, err := pcap.ParseLinkType(c.LinkType); err != nil || want != only {
			return nil, device.NoLinkType(want, []pcap.LinkType{only})
		}
	}
	s := &socket{config: c, group: group}
	if s.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, c.RingSize) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, c.RingSize)
	}
	if !c.Gated {
		if err := s.Admit(); err != nil {
			unix.Close(s.fd)
			return nil, err
		}
	}
	return device.New(s, device.Info{Name: c.Interface, LinkType: device.LinkTypeNFLOG, Mode: device.ModeSocket}), nil
}

// Admit takes the group, which no other program may have.
func (s *socket) Admit() error {
	if err := unix.Send(s.fd, configure(s.group, commandBind, s.config.Snaplen, s.config.BlockTimeout), 0); err != nil {
		return fmt.Errorf("bind to group: %w", err)
	}
	// An error is there at once. Success has no answer, and packets may be there already.
	answer := make([]byte, headerLen+4)
	n, _, err := unix.Recvfrom(s.fd, answer, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || n < len(answer) || host.Uint16(answer[4:]) != typeError {
		return nil
	}
	_, _, _ = unix.Recvfrom(s.fd, answer, unix.MSG_DONTWAIT) // it is no packet
	switch errno := unix.Errno(-int32(host.Uint32(answer[headerLen:]))); errno {
	case 0:
		return nil
	case unix.EPERM: // two reasons have one number
		if err = errTaken; !mayBind() {
			err = errPrivilege
		}
	case unix.EBUSY:
		err = errTaken
	default:
		err = errno
	}
	return fmt.Errorf("bind to group %d: %w", s.group, err)
}

// Reasons why a group can't be had.
var (
	errTaken     = errors.New("another program has it")
	errPrivilege = hint.New("operation not permitted", "it takes the capability CAP_NET_ADMIN: sudo capd run ...", "or AmbientCapabilities=CAP_NET_ADMIN in a systemd unit with User=")
)

// mayBind reports whether the thread has CAP_NET_ADMIN.
func mayBind() bool {
	var data [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// Attach returns a reader.
func (s *socket) Attach() (device.Reader, error) {
	r := &reader{socket: s}
	var err error
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader = r
	return r, nil
}

// Stop gives the group up. What was logged before is in the socket then.
func (s *socket) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return device.ErrClosed
	}
	if err := unix.Send(s.fd, configure(s.group, commandUnbind, 0, 0), 0); err != nil {
		return fmt.Errorf("unbind from group: %w", err)
	}
	s.stopped.Store(true)
	if s.reader != nil {
		s.reader.wakeUp()
	}
	return nil
}

// Stats returns the counters.
func (s *socket) Stats() (device.Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return device.Stats{Received: s.received + s.dropped, Dropped: s.dropped}, nil
}

// count counts a packet, and those before it that did not come.
func (s *socket) count(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received++
	if !m.numbered {
		return
	}
	if s.any {
		s.dropped += uint64(m.number - s.number - 1)
	}
	s.number, s.any = m.number, true
}

// Refresh does nothing: a group has no counters of its own.
func (*socket) Refresh() {}

// Close closes the socket, and so gives the group up.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fd := s.fd
	s.fd = -1
	return unix.Close(fd)
}

// detach removes the reader.
func (s *socket) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader = nil
}

// Layout returns what is known of the packets' times.
func (r *reader) Layout() device.Layout {
	return device.Layout{Resolution: time.Microsecond, Clock: "system clock, in the kernel; where the rule has no time, when the packet was read"}
}
