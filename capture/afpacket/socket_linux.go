package afpacket

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"capd/capture/device"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// A socket is a packet socket and, unless the kernel refused it, its ring.
type socket struct {
	form
	config  device.Config
	index   int           // of the interface; 0 is all
	blocks  int           // in the ring; 0 without one
	handed  atomic.Uint64 // frames in the batches handed out so far
	corrupt atomic.Uint64
	stopped atomic.Bool

	mu     sync.Mutex // guards what follows
	fd     int        // -1 when closed; a reader may use it without the lock
	reader *reader    // nil without one
	total  device.Stats

	// What the interface had dropped when frames were let in. It counts those
	// that nobody takes, too: what comes when no more are let in is not for us.
	nicDropped uint64
	shut       bool
}

// Open opens a device. The Config is complete.
func Open(c device.Config) (*device.Device, error) {
	s, err := open(c)
	if err != nil {
		return nil, err
	}
	return s.device(), nil
}

// device returns the device that the socket is the backend of.
func (d *socket) device() *device.Device {
	i := device.Info{Name: d.config.Interface, Index: d.index, LinkType: d.link, Mode: device.ModeSocket}
	if d.blocks > 0 {
		i.Mode, i.RingSize = device.ModeRing, d.blocks*d.config.BlockSize
	}
	// The kernel stamps a frame once for all (see SO_TIMESTAMPNS in setRing), so
	// that there is no skew; and what Linux refuses is an error, no warning.
	return device.New(d, i)
}

func open(c device.Config) (*socket, error) {
	link, index, err := lookup(c.Interface)
	if err != nil {
		return nil, err
	}
	if err := has(link, c.LinkType); err != nil {
		return nil, err
	}
	d := &socket{form: form{link: link, snaplen: c.Snaplen}, config: c, index: index}
	kind := unix.SOCK_RAW
	if link == pcap.LinkTypeLinuxSLL2 {
		kind = unix.SOCK_DGRAM
	}
	// Protocol 0: no frame of another interface slips in before the bind.
	d.fd, err = unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, named("socket", err)
	}
	if err := d.configure(c); err != nil {
		unix.Close(d.fd)
		return nil, err
	}
	d.nicDropped = nicDropped(index)
	return d, nil
}

// configure sets everything and then starts reception.
func (d *socket) configure(c device.Config) error {
	err := d.setRing(c)
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EINVAL) {
		err = d.setSocket(c)
	}
	if err != nil {
		return err
	}
	first := program(c.Direction, d.index, c.Snaplen, c.Filter)
	if c.Gated {
		first = device.Nothing()
	}
	if err := setFilter(d.fd, first); err != nil {
		return named("set filter", err)
	}
	if !c.Gated {
		if err := lockFilter(d.fd); err != nil {
			return err
		}
	}
	if c.Direction == device.In {
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

// Admit lets frames in that the gate has kept out.
func (d *socket) Admit() error {
	now := nicDropped(d.index)
	d.mu.Lock()
	d.nicDropped = now
	d.mu.Unlock()
	// The filter of the gate, which takes nothing, goes.
	p := program(d.config.Direction, d.index, d.config.Snaplen, d.config.Filter)
	err := setFilter(d.fd, p)
	if len(p) == 0 {
		err = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	}
	if err != nil {
		return named("set filter", err)
	}
	return lockFilter(d.fd)
}

// has returns an error unless the name is empty or that of the only link type
// that an interface has here.
func has(link pcap.LinkType, name string) error {
	if name == "" {
		return nil
	}
	want, err := pcap.ParseLinkType(name)
	if err == nil && want != link {
		err = device.NoLinkType(want, []pcap.LinkType{link})
	}
	return err
}

// minBlocks is where a ring stops to shrink when memory is short.
const minBlocks = 4

// setRing makes the ring, with less memory than asked for if the kernel has
// less.
func (d *socket) setRing(c device.Config) error {
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
func (d *socket) setSocket(c device.Config) error {
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
func setFilter(fd int, program []device.Instruction) error {
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

// lockFilter forbids every process that has the socket to change the filter.
// Sockets of a fanout group stay unlocked, because a filter that takes nothing
// is what ends their reception.
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
	if name == device.Any {
		return pcap.LinkTypeLinuxSLL2, 0, nil
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil { // The name is too long to be one.
		return 0, 0, device.ErrNoInterface
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
		err = device.ErrPermission
	case unix.ENODEV, unix.ENXIO:
		return device.ErrNoInterface
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Attach maps the ring.
func (d *socket) Attach() (device.Reader, error) {
	r, err := newReader(d)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reader = r
	return r, nil
}

// detach is the reader's end.
func (d *socket) detach() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reader = nil
}

// Close closes the socket. The counters stay as they are then.
func (d *socket) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fd := d.fd
	_ = d.readStats() // what was read before stays
	d.fd = -1
	return unix.Close(fd)
}

// Stop ends reception, and makes a Next under way look at what is left.
func (d *socket) Stop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.stopReception(); err != nil {
		return err
	}
	d.stopped.Store(true)
	if d.reader != nil {
		d.reader.wakeUp()
	}
	return nil
}

// stopReception makes the kernel put no further frame into the ring. The caller
// holds mu.
func (d *socket) stopReception() error {
	if d.fd < 0 {
		return device.ErrClosed
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
		return setFilter(d.fd, device.Nothing()) // One of a group can't be bound again.
	}
	return err
}

// readStats adds the kernel's counters, which start again at 0 by that, to the
// total. The caller holds mu.
func (d *socket) readStats() error {
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

// Stats returns the counters of the socket.
func (d *socket) Stats() (device.Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.readStats()
	s := d.total
	s.Corrupt = d.corrupt.Load()
	s.RingBlocks = d.blocks
	if d.reader != nil && d.reader.ring != nil {
		s.FilledBlock = d.reader.ring.filled()
	}
	return s, err
}

// Refresh brings the interface's own counter up to date. One that is gone, and
// so has none, leaves it as it was.
func (d *socket) Refresh() {
	now := nicDropped(d.index)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.shut && now > d.nicDropped {
		d.total.NICDropped = max(d.total.NICDropped, now-d.nicDropped)
	}
}

// drained says whether every frame that the kernel received has been handed out.
func (d *socket) drained() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.readStats()
	return err == nil && d.handed.Load() >= d.total.Received-d.total.Dropped
}

// gone says whether the interface was removed: the kernel unbinds the socket.
func (d *socket) gone() bool {
	sa, err := unix.Getsockname(d.fd)
	ll, ok := sa.(*unix.SockaddrLinklayer)
	return err == nil && ok && d.index != 0 && ll.Ifindex != d.index
}
