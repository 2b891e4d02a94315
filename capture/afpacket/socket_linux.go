package afpacket

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"capd/capture/device"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// A socket is a packet socket with its ring, if the kernel supports one.
type socket struct {
	form
	config  device.Config
	index   int           // of the interface; 0 means all
	blocks  int           // number of blocks in the ring; 0 without a ring
	handed  atomic.Uint64 // frames in the batches returned so far
	corrupt atomic.Uint64
	stopped atomic.Bool
	adopted device.Adopted

	mu      sync.Mutex // guards the fields below
	fd      int        // -1 when closed; the reader may use it without the lock
	reader  *reader    // nil if there is none
	gated   bool
	shut    bool // what the interface counts is not for this socket any more
	account *device.Account
	resumption
}

// A resumption is what the next reader has to know.
type resumption struct {
	mapped []byte   // the ring, of which the first reader has not yet taken over the mapping
	last   uint64   // number of the block that the reader before returned last
	lent   []uint64 // numbers of blocks before it that were not given back
	down   bool     // the interface was down when the socket was adopted, and Next has not said so yet
}

// Open opens a device. The Config is complete.
func Open(c device.Config) (*device.Device, error) {
	s, err := open(c)
	if err != nil {
		return nil, err
	}
	return s.device(), nil
}

// device returns a device with the socket as its backend.
func (d *socket) device() *device.Device {
	i := device.Info{Name: d.config.Interface, Index: d.index, LinkType: d.link, Mode: device.ModeSocket, Adopted: d.adopted}
	if d.blocks > 0 {
		i.Mode, i.RingSize = device.ModeRing, d.blocks*d.config.BlockSize
	}
	// Skew and warnings are left empty: the kernel takes one timestamp of a frame for all sockets
	// (see SO_TIMESTAMPNS in setRing), and everything that Linux can refuse is an error.
	return device.New(d, i)
}

func open(c device.Config) (*socket, error) {
	links, index, err := lookup(c.Interface)
	if err != nil {
		return nil, err
	}
	link, err := choose(links, c.LinkType)
	if err != nil {
		return nil, err
	}
	if c, err = c.Compiled(link); err != nil {
		return nil, err
	}
	d := newSocket(c, link, index)
	d.gated = c.Gated
	kind := unix.SOCK_RAW
	if device.Cooked(link) != 0 {
		kind = unix.SOCK_DGRAM
	}
	// Protocol 0 receives nothing: no frame of another interface arrives before the bind.
	// The socket blocks, so that Go's runtime does not poll the duplicates of File; no call here may
	// wait.
	d.fd, err = unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, named("socket", err)
	}
	if err := d.configure(c); err != nil {
		unix.Close(d.fd)
		return nil, err
	}
	d.account.Open(nicCounters(index))
	return d, nil
}

// newSocket returns a socket without a descriptor.
func newSocket(c device.Config, link pcap.LinkType, index int) *socket {
	d := &socket{form: form{link: link, snaplen: c.Snaplen}, config: c, index: index, account: c.Account}
	if d.account == nil {
		d.account = new(device.Account)
	}
	if link == pcap.LinkTypeMixed { // the descriptor is set before the first batch, and stays while one is held
		d.origins = newOrigins(func(index uint32) (string, []byte) { return whois(d.fd, index) })
	}
	return d
}

// configure sets all options and then starts reception.
func (d *socket) configure(c device.Config) error {
	err := d.setRing(c)
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EINVAL) {
		err = d.setSocket(c)
	}
	if err != nil {
		return err
	}
	if err := setFilter(d.fd, wanted(d)); err != nil {
		return named("set filter", err)
	}
	if c.Gated {
		// The program was attached before, so that one that the kernel refuses is an error of Open and
		// not of Admit. While one program replaces another, the kernel counts the memory of both against
		// net.core.optmem_max: this replacement needs as much as the one by Admit.
		if err := setFilter(d.fd, device.Nothing()); err != nil {
			return named("set filter", err)
		}
	} else {
		if err := lockFilter(d.fd); err != nil {
			return err
		}
	}
	if c.Direction == device.In {
		// The filter does the same at a higher cost, for kernels before 4.20, which lack this
		// option.
		_ = unix.SetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	if err := bind(d.fd, unix.ETH_P_ALL, d.index); err != nil {
		return named("bind", err)
	}
	if c.Promiscuous && d.index != 0 {
		// Unlike IFF_PROMISC, this ends with the socket, even if the process crashes.
		mreq := unix.PacketMreq{Ifindex: int32(d.index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(d.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
			return named("set promiscuous mode", err)
		}
	}
	return nil
}

// Admit admits frames, which the gate has dropped so far.
func (d *socket) Admit() error {
	now := nicCounters(d.index)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.gated {
		return nil
	}
	d.account.Admit(now)
	// Replace the gate, a filter that accepts nothing.
	p := wanted(d)
	err := setFilter(d.fd, p)
	if len(p) == 0 {
		err = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	}
	if err != nil {
		return named("set filter", err)
	}
	d.gated = false
	return lockFilter(d.fd)
}

// wanted returns the filter for the kernel.
func wanted(d *socket) []device.Instruction {
	keep := d.config.Snaplen
	if d.link == pcap.LinkTypeMixed {
		// Of some frames the kernel's header is replaced by another one.
		const longest = 128 // LL_MAX_HEADER, the most that a header usually has
		keep = min(keep+longest, device.DefaultSnaplen)
	}
	return program(d.config.Direction, d.index, keep, d.config.Filter)
}

// choose returns the link type of the name, or the first one for none.
func choose(links []pcap.LinkType, name string) (pcap.LinkType, error) {
	if name == "" {
		return links[0], nil
	}
	want, err := pcap.ParseLinkType(name)
	if err == nil && !slices.Contains(links, want) {
		err = device.NoLinkType(want, links)
	}
	return want, err
}

// minBlocks is the number of blocks below which a ring does not shrink when memory is short.
const minBlocks = 4

// setRing creates the ring. If the kernel lacks memory, the ring is smaller than requested.
func (d *socket) setRing(c device.Config) error {
	if c.NoRing {
		return unix.ENOPROTOOPT
	}
	if err := unix.SetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return named("set packet version", err)
	}
	// An Ethernet frame starts 14 bytes, a cooked frame 28 bytes after the frame's header
	// (tpacket_rcv). With this many more, there is room for everything that is put before a frame.
	if err := unix.SetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_RESERVE, reserved); err != nil {
		return named("reserve headroom", err)
	}
	// This makes the kernel take the timestamp when a frame arrives, once for all sockets, instead
	// of when it reaches this socket: two devices then agree on a frame's time.
	_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	const frameSize = 2048 // not used by TPACKET_V3, but checked
	blocks, err := shrink(c.RingSize/c.BlockSize, func(blocks int) error {
		return unix.SetsockoptTpacketReq3(d.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size:     uint32(c.BlockSize),
			Block_nr:       uint32(blocks),
			Frame_size:     frameSize,
			Frame_nr:       uint32(c.BlockSize / frameSize * blocks),
			Retire_blk_tov: uint32(c.BlockTimeout),
			Sizeof_priv:    privateOf(c.BlockSize),
		})
	})
	if err != nil {
		return named("make ring", err)
	}
	d.blocks = blocks
	return nil
}

// privateOf returns how much of each block is for user space: nothing of small ones, of which it would be
// a large part.
func privateOf(blockSize int) uint32 {
	if blockSize < 16*lead {
		return 0
	}
	return private
}

// shrink halves the number of blocks until try succeeds, and returns that number.
func shrink(blocks int, try func(int) error) (int, error) {
	for {
		err := try(blocks)
		if err != unix.ENOMEM || blocks <= minBlocks {
			return blocks, err
		}
		blocks = max(blocks/2, minBlocks)
	}
}

// setSocket prepares a socket without a ring.
func (d *socket) setSocket(c device.Config) error {
	// Errors are ignored: without these options, frames are dropped earlier, VLAN tags are missing
	// and times are less exact.
	if unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, c.RingSize) != nil {
		_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, c.RingSize)
	}
	_ = unix.SetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	return nil
}

// setFilter attaches the program, or replaces the attached one.
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

// lockFilter forbids every process with the descriptor to change the filter. Sockets of a fanout
// group stay unlocked, because their reception is ended by attaching a filter that accepts nothing.
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

// bigEndian16 returns the number whose bytes in memory are those of v in network order.
func bigEndian16(v uint16) uint16 {
	return host.Uint16([]byte{byte(v >> 8), byte(v)})
}

// lookup finds the interface's index and the link types to capture it with.
func lookup(name string) ([]pcap.LinkType, int, error) {
	if name == device.Any {
		return device.AnyLinkTypes(), 0, nil
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil { // the name is longer than that of an ifreq
		link, err := byAltName(name)
		if err != nil {
			return nil, 0, err
		}
		return device.LinkTypes(link.Type), int(link.Index), nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, named("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return nil, 0, named("get index", err)
	}
	index := int(ifr.Uint32())
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return nil, 0, named("get hardware type", err)
	}
	return device.LinkTypes(ifr.Uint16()), index, nil
}

// whois returns the name and the address of the interface with the index; "" if there is none.
func whois(fd int, index uint32) (name string, address []byte) {
	const nameLen, unionLen, family, addressLen = unix.IFNAMSIZ, 24, 2, 6 // struct ifreq, and struct sockaddr in it
	var r [nameLen + unionLen]byte
	ask := func(what uintptr) bool {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(&r)))
		return errno == 0
	}
	host.PutUint32(r[nameLen:], index)
	if !ask(unix.SIOCGIFNAME) {
		return "", nil
	}
	name = unix.ByteSliceToString(r[:nameLen])
	if ask(unix.SIOCGIFHWADDR) {
		address = bytes.Clone(r[nameLen+family:][:addressLen])
	}
	return name, address
}

// named adds the operation that failed, and maps the error to one of package device if there is
// one.
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

// detach removes the reader.
func (d *socket) detach() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reader != nil && d.reader.ring != nil {
		d.last = d.reader.ring.last
	}
	d.reader = nil
}

// File returns a duplicate of the descriptor.
func (d *socket) File() (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.blocks == 0 {
		return nil, fmt.Errorf("no ring: %w", errors.ErrUnsupported)
	}
	fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate: %w", err)
	}
	return os.NewFile(uintptr(fd), "ring of "+d.config.Interface), nil
}

// Close closes the socket. The counters keep their last values.
func (d *socket) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fd := d.fd
	_ = d.readStats() // on an error the counters read before remain
	d.fd = -1
	if d.mapped != nil {
		_ = unix.Munmap(d.mapped)
		d.mapped = nil
	}
	return unix.Close(fd)
}

// Stop ends reception, and makes a running Next return what is left.
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

// stopReception makes the kernel stop adding frames to the ring. The caller holds mu.
func (d *socket) stopReception() error {
	if d.fd < 0 {
		return device.ErrClosed
	}
	d.shut = true
	if d.index == indexGone {
		return nil
	}
	// Unlike a new filter, a new bind is allowed under SO_LOCK_FILTER. It waits for frames that are
	// being delivered.
	err := bind(d.fd, noProtocol, d.index)
	switch err {
	case unix.ENODEV:
		return nil // the interface is gone: nothing more is received
	case unix.EINVAL:
		return setFilter(d.fd, stopProgram()) // a socket of a fanout group can't be bound again
	}
	return err
}

// noProtocol is what a stopped socket is bound to. Values up to 1500 are lengths, not types, so that
// no frame has this protocol.
const noProtocol = 0x05ff

// readStats adds the kernel's counters to the account. The caller holds mu.
func (d *socket) readStats() error {
	if d.fd < 0 {
		return nil
	}
	return d.account.Count(func() (received, dropped, freezes uint64, err error) {
		s, err := unix.GetsockoptTpacketStatsV3(d.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("get statistics: %w", err)
		}
		return uint64(s.Packets), uint64(s.Drops), uint64(s.Freeze_q_cnt), nil // packets include drops
	})
}

// Stats returns the counters of the socket.
func (d *socket) Stats() (device.Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.readStats()
	s := d.account.Stats(d.handed.Load())
	s.Corrupt = d.corrupt.Load()
	s.RingBlocks = d.blocks
	if d.reader != nil && d.reader.ring != nil {
		s.FilledBlock = d.reader.ring.filled()
	}
	return s, err
}

// Refresh brings the interface's own counters up to date. One that is gone, and
// so has none, leaves them as they were.
func (d *socket) Refresh() {
	now := nicCounters(d.index)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.shut {
		d.account.Refresh(now)
	}
}

// drained reports whether every frame that the kernel received has been returned.
func (d *socket) drained() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.readStats()
	return err == nil && d.account.Drained(d.handed.Load())
}
