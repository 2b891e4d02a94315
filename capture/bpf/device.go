package bpf

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// A source is a BPF device bound to an interface. A goroutine reads it, from the first Attach on,
// because a read may block longer than the timeout of Next. Next waits for that goroutine.
type source struct {
	node
	setup
	index int
	queue

	mu      sync.Mutex // guards the fields below
	users   int        // of the descriptor: the open device and the reading goroutine
	reading bool       // the reading goroutine was started
	closed  bool
	account *device.Account
	drops
}

// A setup holds the parameters of a device that is set up.
type setup struct {
	name    string
	link    pcap.LinkType
	snaplen int
	length  int                  // length of a read buffer in bytes
	wait    time.Duration        // longest time that a read takes
	program []device.Instruction // the filter, until it is installed by Admit
	open    time.Time            // when frames were admitted
	warns   []string
}

// A queue connects the reading goroutine with the one that calls Next.
type queue struct {
	free    chan *buffer  // buffers that are not in use
	full    chan filled   // buffers that were read; closed after the last one
	end     error         // why reading ended; set before full is closed
	quit    chan struct{} // closed by Close
	stopped atomic.Bool
	leaves  atomic.Bool   // Suspend was called
	taken   atomic.Uint64 // frames in the batches returned so far
	corrupt atomic.Uint64
}

// drops counts the frames that the kernel dropped.
type drops struct {
	dropped uint64
	last    uint64 // the kernel's counter when it was last read
	over    bool   // reception has ended: later increments of the counter are ignored
}

// A filled is a buffer that was read, or an event.
type filled struct {
	*buffer
	event error
}

// buffers is how many read buffers there are: one is read into while the other one is written to
// disk. While both are held, frames wait in the kernel's own buffers.
const buffers = 2

// longestWait is the longest time that a read may block. Stop takes up to twice as long, and the
// descriptor may stay open for that time after Close.
const longestWait = 250 * time.Millisecond

// openOn opens a device. The Config is complete.
func openOn(s sys, a abi, c device.Config) (*source, error) {
	if c.Interface == device.Any {
		return nil, errNotAny()
	}
	state, err := s.link(c.Interface)
	if err != nil {
		return nil, err
	}
	n, err := openNode(s, a)
	if err != nil {
		return nil, err
	}
	d := newSource(n, state.index, c)
	err = d.configure(c, state.loopback)
	if err == nil && !c.Gated {
		err = d.admit()
	}
	if err != nil {
		_ = s.close(n.fd)
		return nil, err
	}
	d.account.Counted(0, uint32(d.record.tick))
	return d, nil
}

func newSource(n node, index int, c device.Config) *source {
	d := &source{node: n, index: index, users: 1, account: c.Account}
	if d.account == nil {
		d.account = new(device.Account)
	}
	d.free, d.full = make(chan *buffer, buffers), make(chan filled, buffers+1)
	d.quit = make(chan struct{})
	return d
}

// device returns a device with the source as its backend.
func (d *source) device() *device.Device {
	return device.New(d, device.Info{
		Name: d.name, Index: d.index, LinkType: d.link, Mode: device.ModeBPF,
		RingSize: kernelBuffers * d.length, Skew: d.skew, Warnings: d.warns,
	})
}

// errNotAny is the error for the interface Any, which BPF devices do not support.
func errNotAny() error {
	return fmt.Errorf("a BPF device reads one interface; a glob, such as 'en*', takes many: %w", errors.ErrUnsupported)
}

// configure sets the device up behind a filter that accepts nothing. No frame can be delivered
// before admit, so every frame has the link type for which its filter was compiled.
func (d *source) configure(c device.Config, loopback bool) error {
	if err := d.checkVersion(); err != nil {
		return err
	}
	d.setNanoseconds()
	if err := d.setFilter(device.Nothing()); err != nil {
		return err
	}
	if err := d.setDirection(c.Direction); err != nil {
		return err
	}
	if loopback && c.Direction != device.Both && d.lo0 != device.Both && d.lo0 != c.Direction {
		d.warns = append(d.warns, fmt.Sprintf("the system gives all frames of %s the other direction: none is recorded (direction = \"both\" records them)", c.Interface))
	}
	var err error
	if d.length, err = d.setInterface(c.Interface, min(c.RingSize/kernelBuffers, mostBuffer)); err != nil {
		return err
	}
	link, err := d.setLinkType(c.LinkType)
	if err != nil {
		return err
	}
	d.name, d.link, d.snaplen = c.Interface, link, c.Snaplen
	if d.program, err = d.prepare(c, link); err != nil {
		return err
	}
	d.wait = readTimeout(c.BlockTimeout)
	if err := d.setTimeout(d.wait); err != nil {
		return err
	}
	// In immediate mode, every frame would need a read of its own.
	if err := d.set(biocImmediate, 0); err != nil {
		return cause("set buffered mode", err)
	}
	if c.Promiscuous {
		d.setPromiscuous()
	}
	return nil
}

// setLinkType selects the link type of that name, or the kernel's default if name is empty.
func (d *source) setLinkType(name string) (pcap.LinkType, error) {
	if name != "" {
		return d.choose(name)
	}
	link, known, err := d.linkType()
	if err == nil && !known {
		d.warns = append(d.warns, fmt.Sprintf("the interface's link type DLT %d is not on the list of link types; recorded as it is", link))
	}
	return link, err
}

// setPromiscuous enables frames for other hosts. If that fails it only adds a warning: a recording
// without them is better than none.
func (d *source) setPromiscuous() {
	if err := d.sys.ioctl(d.fd, biocPromisc, nil); err != nil { // many Wi-Fi drivers refuse
		d.warns = append(d.warns, fmt.Sprintf("promiscuous mode refused: %v; frames for other hosts are not recorded (promiscuous = false does not ask for them)", err))
	}
	if d.link == pcap.LinkTypeEthernet && slices.ContainsFunc(d.listed(d.linkTypes()), wireless) {
		d.warns = append(d.warns, "a Wi-Fi interface: frames of other stations are recorded in monitor mode only; "+d.monitor)
	}
}

// admit admits frames, once, and forbids further changes.
func (d *source) admit() error {
	if d.program == nil {
		return nil
	}
	// The buffers are empty, so a filter that discards them is acceptable.
	if d.changeFilter(d.program) != nil {
		if err := d.setFilter(d.program); err != nil {
			return err
		}
	}
	d.program, d.open = nil, time.Now()
	return d.setLock()
}

// readTimeout returns how long a read may block: as long as a block may stay open, rounded to the
// 10 ms of XNU's clock. 0 would block forever.
func readTimeout(ms int) time.Duration {
	const step = 10 * time.Millisecond
	d := time.Duration(ms) * time.Millisecond
	return min((d+step-1)/step*step, longestWait)
}

// Admit admits frames and starts reading them: the kernel's buffers are small, and a handle may be
// attached much later.
func (d *source) Admit() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return device.ErrClosed
	}
	if err := d.admit(); err != nil {
		return err
	}
	d.startReading()
	return nil
}

// Attach starts reading, unless that was done before.
func (d *source) Attach() (device.Reader, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.startReading()
	return &reader{source: d, done: make(chan struct{})}, nil
}

// startReading starts the reading goroutine, unless it was started before. The caller holds mu.
func (d *source) startReading() {
	if d.reading {
		return
	}
	d.reading = true
	d.users++
	for range buffers {
		d.free <- newBuffer(d)
	}
	go d.run()
}

// drop removes one user of the descriptor. The last one closes it, which never happens during a
// read: on NetBSD that would block both.
func (d *source) drop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users--
	if d.users > 0 {
		return nil
	}
	_ = d.sample() // the last counters, if the device still exists
	fd := d.fd
	d.fd = -1
	return d.sys.close(fd)
}

// Close ends reading. The descriptor is closed when the running read returns.
func (d *source) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	close(d.quit)
	return d.drop()
}

// Stop makes the reading goroutine end with the frames that the kernel has. On systems where the
// device is locked, its filter can't be changed, so that a few frames that arrive meanwhile may
// follow.
func (d *source) Stop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 || d.closed {
		return device.ErrClosed
	}
	d.stopped.Store(true)
	if d.lock == 0 {
		_ = d.changeFilter(device.Nothing()) // if this fails, Stop works as on the other systems
	}
	return nil
}

// Refresh does nothing: no BPF backend reads the interface's own counter.
func (*source) Refresh() {}

// sample adds the drops since the last call to the total. Most kernels count with 32 bits, which
// would wrap otherwise. The caller holds mu.
func (d *source) sample() error {
	if d.fd < 0 || d.over {
		return nil
	}
	_, now, wide, err := d.counters()
	if err != nil {
		return fmt.Errorf("get statistics: %w", err)
	}
	if wide {
		d.dropped += now - d.last
	} else {
		d.dropped += uint64(uint32(now) - uint32(d.last))
	}
	d.last = now
	d.account.Counted(now, uint32(d.record.tick))
	return nil
}

// Stats returns the counters. The kernel's own counter of received frames includes those that the
// filter rejects, so Received is the sum of frames read and frames dropped behind the filter.
// Frames that wait in the kernel are added when they are read.
func (d *source) Stats() (device.Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.sample()
	s := device.Stats{Dropped: d.dropped, Corrupt: d.corrupt.Load(), RingBlocks: buffers, FilledBlock: len(d.full)}
	s.Received = d.taken.Load() + s.Dropped + s.Corrupt
	return s, err
}
