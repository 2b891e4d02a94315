package capture

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"capd/pcap"
)

// A device is a packet socket and, unless the kernel refused it, its ring.
type device struct {
	form
	name         string
	config       Config
	index        int // of the interface; 0 is all
	blockSize    int
	blocks       int // in the ring; 0 without one
	blockTimeout time.Duration
	taken        atomic.Uint64 // frames in the batches handed out so far
	corrupt      atomic.Uint64
	stopped      atomic.Bool

	mu       sync.Mutex // guards what follows
	fd       int        // -1 when closed
	users    int        // of fd: the open device and its handle
	closed   bool
	attached *handle
	total    Stats

	// What the interface had dropped when frames were let in. It counts those
	// that nobody takes, too: what comes when no more are let in is not for us.
	nicDropped uint64
	shut       bool
}

func open(c Config) (backend, error) {
	d := new(device)
	return d, d.open(c)
}

func (d *device) open(c Config) error {
	link, index, err := lookup(c.Interface)
	if err != nil {
		return err
	}
	if err := has(link, c.LinkType); err != nil {
		return err
	}
	d.name, d.index, d.config = c.Interface, index, c
	d.form = form{link: link, snaplen: c.Snaplen}
	d.blockSize = c.BlockSize
	d.blockTimeout = time.Duration(c.BlockTimeout) * time.Millisecond
	kind := unix.SOCK_RAW
	if link == pcap.LinkTypeLinuxSLL2 {
		kind = unix.SOCK_DGRAM
	}
	// Protocol 0: no frame of another interface slips in before the bind.
	d.fd, err = unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return named("socket", err)
	}
	d.users = 1
	if err := d.configure(c); err != nil {
		unix.Close(d.fd)
		return err
	}
	d.nicDropped = nicDropped(index)
	return nil
}

// configure sets everything and then starts reception.
func (d *device) configure(c Config) error {
	err := d.setRing(c)
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EINVAL) {
		err = d.setSocket(c)
	}
	if err != nil {
		return err
	}
	first := program(c.Direction, d.index, c.Snaplen, c.Filter)
	if c.Gated {
		first = nothing()
	}
	if err := setFilter(d.fd, first); err != nil {
		return named("set filter", err)
	}
	if !c.Gated {
		if err := lockFilter(d.fd); err != nil {
			return err
		}
	}
	if c.Direction == In {
		// The filter does the same, at a higher price: a kernel before 4.20 lacks this.
		_ = unix.SetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	if err := bind(d.fd, unix.ETH_P_ALL, d.index); err != nil {
		return named("bind", err)
	}
	if c.Promiscuous && d.index != 0 {
		// Unlike IFF_PROMISC this ends with the socket, whatever becomes of us.
		mreq := unix.PacketMreq{Ifindex: int32(d.index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(d.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
			return named("set promiscuous mode", err)
		}
	}
	return nil
}

func (d *device) ungate() error {
	now := nicDropped(d.index)
	d.mu.Lock()
	d.nicDropped = now
	d.mu.Unlock()
	return d.admit(d.config)
}

// stampSkew is none: see SO_TIMESTAMPNS in setRing.
func (*device) stampSkew() time.Duration { return 0 }

// has returns an error unless the name is empty or that of the only link type
// that an interface has here.
func has(link pcap.LinkType, name string) error {
	if name == "" {
		return nil
	}
	want, err := pcap.ParseLinkType(name)
	if err == nil && want != link {
		err = noLinkType(want, []pcap.LinkType{link})
	}
	return err
}

// minBlocks is where a ring stops to shrink when memory is short.
const minBlocks = 4

// setRing makes the ring, with less memory than asked for if the kernel has
// less.
func (d *device) setRing(c Config) error {
	if c.NoRing {
		return unix.ENOPROTOOPT
	}
	if err := unix.SetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return named("set packet version", err)
	}
	// An Ethernet frame lies 14 bytes, a cooked one 28 bytes behind its header
	// (tpacket_rcv): with this more, what is put before them always has room.
	if err := unix.SetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_RESERVE, tagLen); err != nil {
		return named("reserve headroom", err)
	}
	// With this the kernel stamps a frame when it arrives, once for all sockets,
	// and not when it comes to this one: two devices agree on a frame's time.
	_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	const frameSize = 2048 // not used by V3, but checked
	blocks, err := shrink(c.RingSize/c.BlockSize, func(blocks int) error {
		return unix.SetsockoptTpacketReq3(d.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size:     uint32(c.BlockSize),
			Block_nr:       uint32(blocks),
			Frame_size:     frameSize,
			Frame_nr:       uint32(c.BlockSize / frameSize * blocks),
			Retire_blk_tov: uint32(c.BlockTimeout),
		})
	})
	if err != nil {
		return named("make ring", err)
	}
	d.blocks = blocks
	return nil
}

// shrink halves the number of blocks until there is memory for them, and
// returns for how many there was.
func shrink(blocks int, try func(int) error) (int, error) {
	for {
		err := try(blocks)
		if err != unix.ENOMEM || blocks <= minBlocks {
			return blocks, err
		}
		blocks = max(blocks/2, minBlocks)
	}
}

// setSocket prepares for reading frame by frame.
func (d *device) setSocket(c Config) error {
	// All best effort: without them there are drops sooner, no VLAN tags and
	// less exact times.
	if unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, c.RingSize) != nil {
		_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, c.RingSize)
	}
	_ = unix.SetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	return nil
}

// setFilter attaches the program, or puts it in the place of the one before.
func setFilter(fd int, program []Instruction) error {
	if len(program) == 0 {
		return nil
	}
	raw := make([]unix.SockFilter, len(program))
	for i, in := range program {
		raw[i] = unix.SockFilter(in)
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]})
	if err == unix.ENOMEM {
		return fmt.Errorf("%d instructions need more memory than net.core.optmem_max: %w", len(raw), err)
	}
	return err
}

// lockFilter forbids to change the filter, whoever has the socket. Those of a
// fanout group stay without: they end with a filter that takes nothing.
func lockFilter(fd int) error {
	group, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err == nil && group == 0 {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1)
	}
	if err != nil {
		return named("lock filter", err)
	}
	return nil
}

func bind(fd int, protocol uint16, index int) error {
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian16(protocol), Ifindex: index})
}

// bigEndian16 returns the number whose bytes in memory are v's in network order.
func bigEndian16(v uint16) uint16 {
	return host.Uint16([]byte{byte(v >> 8), byte(v)})
}

// lookup finds the interface's index and the link type to capture it with.
func lookup(name string) (pcap.LinkType, int, error) {
	if name == Any {
		return pcap.LinkTypeLinuxSLL2, 0, nil
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil { // The name is too long to be one.
		return 0, 0, ErrNoInterface
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, named("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, 0, named("get index", err)
	}
	index := int(ifr.Uint32())
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return 0, 0, named("get hardware type", err)
	}
	return linkType(ifr.Uint16()), index, nil
}

// named says what failed, with our own error where there is one for it.
func named(what string, err error) error {
	switch err {
	case unix.EPERM, unix.EACCES:
		err = ErrPermission
	case unix.ENODEV, unix.ENXIO:
		return ErrNoInterface
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (d *device) ifindex() int { return d.index }

func (d *device) ringSize() int { return d.blocks * d.blockSize }

// use counts one more user of the socket, if it is still open.
func (d *device) use(h *handle) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return ErrClosed
	case d.attached != nil:
		return ErrAttached
	}
	d.attached = h
	d.users++
	return nil
}

// drop counts one user less; the last one closes the socket.
func (d *device) drop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dropLocked()
}

func (d *device) dropLocked() error {
	d.users--
	if d.users > 0 {
		return nil
	}
	fd := d.fd
	_ = d.readStats() // what was read before stays
	d.fd = -1
	return unix.Close(fd)
}

func (d *device) close() error {
	d.mu.Lock()
	h := d.attached
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	if h != nil {
		_ = h.close()
	}
	return d.drop()
}

// stopReception makes the kernel put no further frame into the ring.
func (d *device) stopReception() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return ErrClosed
	}
	d.shut = true
	// A length, not a type: no frame has this protocol. Unlike a new filter it
	// is allowed under SO_LOCK_FILTER. Bind waits for frames on their way in.
	const noProtocol = 0x05ff
	err := bind(d.fd, noProtocol, d.index)
	switch err {
	case unix.ENODEV:
		return nil // The interface is gone: nothing comes any more.
	case unix.EINVAL:
		return setFilter(d.fd, nothing()) // One of a group can't be bound again.
	}
	return err
}

// readStats adds the kernel's counters, which start again at 0 by that, to the
// total. The caller holds mu.
func (d *device) readStats() error {
	if d.fd < 0 {
		return nil
	}
	s, err := unix.GetsockoptTpacketStatsV3(d.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return fmt.Errorf("get statistics: %w", err)
	}
	d.total.Received += uint64(s.Packets) // drops included
	d.total.Dropped += uint64(s.Drops)
	d.total.Freezes += uint64(s.Freeze_q_cnt)
	return nil
}

// counters returns the counters of the socket.
func (d *device) counters() (Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.readStats()
	s := d.total
	s.Corrupt = d.corrupt.Load()
	s.RingBlocks = d.blocks
	return s, err
}

// refresh brings the interface's own counter up to date. One that is gone, and
// so has none, leaves it as it was.
func (d *device) refresh() {
	now := nicDropped(d.index)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.shut && now > d.nicDropped {
		d.total.NICDropped = max(d.total.NICDropped, now-d.nicDropped)
	}
}

// drained says whether every frame that the kernel received has been handed out.
func (d *device) drained() bool {
	s, err := d.counters()
	return err == nil && d.taken.Load() >= s.Received-s.Dropped
}

// gone says whether the interface was removed: the kernel unbinds the socket.
func (d *device) gone() bool {
	sa, err := unix.Getsockname(d.fd)
	ll, ok := sa.(*unix.SockaddrLinklayer)
	return err == nil && ok && d.index != 0 && ll.Ifindex != d.index
}
