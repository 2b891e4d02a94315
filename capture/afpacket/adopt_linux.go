package afpacket

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"capd/capture/device"
	"capd/pcap"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// indexGone is the index of an interface that was removed, as the kernel reports it.
const indexGone = -1

// Adopt takes over a packet socket that has a ring, from this process or from one that ended. The
// Config is complete.
func Adopt(c device.Config, f *os.File, at device.Position) (*device.Device, error) {
	fd, err := duplicate(f)
	if err != nil {
		return nil, err
	}
	d, err := adopt(c, fd, at)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return d.device(), nil
}

// duplicate returns a copy of the file's descriptor. Unlike File.Fd, it does not change the file.
func duplicate(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	control := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(control, err); err != nil {
		return -1, fmt.Errorf("duplicate: %w", err)
	}
	return fd, nil
}

func adopt(c device.Config, fd int, at device.Position) (*socket, error) {
	b, err := bound(c, fd)
	if err != nil {
		return nil, err
	}
	d := newSocket(c, b.link, b.index)
	d.fd, d.down = fd, b.down
	d.handed.Store(at.Frames)
	d.corrupt.Store(at.Corrupt)
	d.last, d.lent = at.Block, at.Lent
	if d.adopted.Group, d.adopted.Spread, err = group(fd); err != nil {
		return nil, err
	}
	if err := checkRing(d); err != nil {
		return nil, err
	}
	if err := resume(d, b); err != nil {
		return nil, err
	}
	d.gated = d.adopted.Gated
	d.stopped.Store(d.adopted.Stopped)
	d.shut = d.adopted.Stopped
	d.account.Adopt(b.nic)
	return d, nil
}

// A binding is what a socket is bound to.
type binding struct {
	index   int
	links   []pcap.LinkType // of the interface; nil if it is gone
	link    pcap.LinkType
	known   bool // the link type is that of the interface, or configured
	down    bool
	stopped bool
	nic     device.NIC
}

// bound returns what the socket is bound to, and checks that this is what the Config says.
func bound(c device.Config, fd int) (b binding, err error) {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return b, &device.UnfitError{Property: "descriptor", Is: "no socket", Want: "a packet socket"}
	}
	if family != unix.AF_PACKET {
		return b, &device.UnfitError{Property: "descriptor", Is: fmt.Sprintf("a socket of family %d", family), Want: "a packet socket"}
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return b, fmt.Errorf("get type: %w", err)
	}
	name, err := sockname(fd)
	if err != nil {
		return b, err
	}
	switch name.Protocol {
	case bigEndian16(unix.ETH_P_ALL):
	case bigEndian16(noProtocol):
		b.stopped = true
	default:
		return b, device.Unfit("protocol", bigEndian16(name.Protocol), unix.ETH_P_ALL)
	}
	if err := device.Unfit("socket for all interfaces", name.Ifindex == 0, c.Interface == device.Any); err != nil {
		return b, err
	}
	if err := b.look(fd, name.Ifindex); err != nil {
		return b, err
	}
	if b.index == indexGone {
		if err := b.recall(c.LinkType, kind); err != nil {
			return b, err
		}
	} else if b.link, err = choose(b.links, c.LinkType); err != nil {
		return b, err
	}
	want := unix.SOCK_RAW
	if device.Cooked(b.link) != 0 {
		want = unix.SOCK_DGRAM
	}
	return b, device.Unfit("type of socket", kind, want)
}

// look asks for the interface of that index. It may have been removed meanwhile.
func (b *binding) look(fd, index int) error {
	b.index = index
	switch index {
	case 0:
		b.links, b.known = device.AnyLinkTypes(), true
		return nil
	case indexGone:
		return nil
	}
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return fmt.Errorf("ask for interface %d: %w", index, err)
	}
	defer conn.Close()
	link, err := conn.Link.Get(uint32(index))
	if err != nil {
		if now, sockErr := sockname(fd); sockErr == nil && now.Ifindex == indexGone {
			b.index = indexGone
			return nil
		}
		return fmt.Errorf("ask for interface %d: %w", index, err)
	}
	b.links, b.known = device.LinkTypes(link.Type), true
	b.down = link.Flags&unix.IFF_UP == 0
	b.nic = counters(&link)
	return nil
}

// recall finds the link type that an interface which was removed had, as far as that is possible
// without its frames.
func (b *binding) recall(name string, kind int) error {
	switch {
	case kind == unix.SOCK_DGRAM && name == "":
		b.link, b.known = pcap.LinkTypeLinuxSLL2, true
		return nil
	case name != "":
		link, err := pcap.ParseLinkType(name)
		b.link, b.known = link, true
		return err
	}
	b.link = pcap.LinkTypeEthernet
	return nil
}

// sockname returns the interface and protocol that the socket is bound to.
func sockname(fd int) (*unix.SockaddrLinklayer, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("get name of socket: %w", err)
	}
	ll, ok := name.(*unix.SockaddrLinklayer)
	if !ok {
		return nil, errors.New("socket has no link-layer name")
	}
	return ll, nil
}

// group returns the number of the fanout group, and what it spreads frames by.
func group(fd int) (int, device.Spread, error) {
	got, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return 0, 0, fmt.Errorf("get fanout group: %w", err)
	}
	if got == 0 {
		return 0, 0, nil
	}
	number := got&0xffff + 1 // the kernel's first one is 0
	switch kind := got >> 16 & 0xff; kind {
	case unix.PACKET_FANOUT_HASH:
		return number, device.ByFlow, nil
	case unix.PACKET_FANOUT_CPU:
		return number, device.ByCPU, nil
	default:
		return 0, 0, &device.UnfitError{Property: "fanout", Is: fmt.Sprintf("of kind %d", kind), Want: "by flow or by processor"}
	}
}

// checkRing compares the ring with the Config, and sets its number of blocks.
func checkRing(d *socket) error {
	version, err := unix.GetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_VERSION)
	if err != nil {
		return fmt.Errorf("get packet version: %w", err)
	}
	if err := device.Unfit("packet version", version, unix.TPACKET_V3); err != nil {
		return err
	}
	is, err := diagnose(d.fd)
	if err != nil {
		return err
	}
	want := geometry{
		blockSize: uint32(d.config.BlockSize), blocks: is.ring.blocks, timeout: uint32(d.config.BlockTimeout),
		private: privateOf(d.config.BlockSize),
	}
	promiscuous := d.index != indexGone && d.config.Promiscuous && d.index != 0
	err = errors.Join(
		device.Unfit("block size", is.ring.blockSize, want.blockSize),
		device.Unfit("block timeout", is.ring.timeout, want.timeout),
		device.Unfit("private area of blocks", is.ring.private, want.private),
		device.Unfit("headroom", is.reserve, reserved),
		device.Unfit("promiscuous mode", slices.Contains(is.promiscuous, uint32(d.index)), promiscuous),
	)
	if full := d.config.RingSize / d.config.BlockSize; full > 0 && !shrunk(full, int(is.ring.blocks)) {
		err = errors.Join(err, device.Unfit("blocks in the ring", int(is.ring.blocks), full))
	}
	d.blocks = int(is.ring.blocks)
	return err
}

// shrunk reports whether a ring that was to have full blocks may have got that many.
func shrunk(full, blocks int) bool {
	got, err := shrink(full, func(n int) error {
		if n > blocks {
			return unix.ENOMEM
		}
		return nil
	})
	return err == nil && got == blocks
}

// diagnose asks the kernel about the socket. It only answers about all packet sockets at once.
func diagnose(fd int) (diagnosis, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return diagnosis{}, fmt.Errorf("get inode of socket: %w", err)
	}
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return diagnosis{}, fmt.Errorf("ask for packet sockets: %w", err)
	}
	defer conn.Close()
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
		Data:   diagQuestion(),
	})
	if err != nil {
		return diagnosis{}, fmt.Errorf("ask for packet sockets: %w", err)
	}
	for _, a := range answers {
		if d, err := parseDiag(a.Data); err == nil && uint64(d.inode) == st.Ino {
			return d, nil
		}
	}
	return diagnosis{}, &device.UnfitError{Property: "network namespace", Is: "another", Want: "that of this process"}
}

// checkGate compares the filter and the direction with the Config, finds out whether the socket is
// gated or stopped, and locks the filter of one that is neither: the process may have ended before
// it did that.
func checkGate(d *socket, stopped bool) error {
	c := d.config
	ignores, err := unix.GetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING)
	if err == nil {
		if err := device.Unfit("ignoring sent frames", ignores != 0, c.Direction == device.In); err != nil {
			return err
		}
	}
	is, err := getFilter(d.fd)
	if err != nil {
		return err
	}
	d.adopted.Stopped = stopped
	switch {
	case slices.Equal(is, stopProgram()):
		d.adopted.Stopped = true
	case slices.Equal(is, wanted(d)):
		return lockFilter(d.fd)
	case slices.Equal(is, device.Nothing()) && c.Gated:
		d.adopted.Gated = true
	case slices.Equal(is, device.Nothing()):
		return &device.UnfitError{Property: "filter", Is: "a gate that accepts nothing", Want: "that of the configuration"}
	default:
		return &device.UnfitError{Property: "filter", Is: fmt.Sprintf("another one, of %d instructions", len(is)), Want: "that of the configuration"}
	}
	return nil
}

// getFilter returns the attached filter, or nil.
func getFilter(fd int) ([]device.Instruction, error) {
	raw := make([]unix.SockFilter, 4096) // BPF_MAXINSNS
	n := uint32(len(raw))                // in instructions
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_GET_FILTER,
		uintptr(unsafe.Pointer(&raw[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("get filter: %w", errno)
	}
	var all []device.Instruction
	for _, in := range raw[:min(int(n), len(raw))] {
		all = append(all, device.Instruction(in))
	}
	return all, nil
}

// resume gives back the blocks that were recorded and finds those that are missing, unless the socket
// is not as the Config says. If the link type of an interface that was removed is not known, its frames
// tell it. The filter that the socket should have depends on it.
func resume(d *socket, b binding) (err error) {
	mem, err := mapRing(d)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = unix.Munmap(mem)
		} else {
			d.mapped = mem // to map a large ring takes milliseconds, in which nobody reads it
		}
	}()
	r := newRing(mem, d.config.BlockSize, d.last, d.form, nil, nil)
	if !r.ordered() {
		return &device.UnfitError{Property: "order of blocks", Is: "unknown", Want: "that of their numbers"}
	}
	if newest := r.newest(); d.last > newest {
		return &device.UnfitError{Property: "block recorded last", Is: fmt.Sprint(d.last), Want: fmt.Sprintf("at most %d, the newest in the ring", newest)}
	}
	if kind, ok := r.hardware(); ok && !b.known {
		d.link = linkType(kind)
	}
	if d.config, err = d.config.Compiled(d.link); err != nil {
		return err
	}
	if err := checkGate(d, b.stopped); err != nil {
		return err
	}
	r.giveBack(d.last, d.lent...)
	d.adopted.Missing = r.missing
	return nil
}
