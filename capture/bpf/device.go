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

// A source is a BPF device bound to an interface. From the first Attach on a
// goroutine reads it, because the kernel decides how long a read waits: Next
// waits for that goroutine, for no longer than its timeout.
type source struct {
	node
	setup
	index int
	queue

	mu      sync.Mutex // guards what follows
	users   int        // of the descriptor: the open device and the goroutine that reads
	reading bool       // that goroutine was started
	closed  bool
	drops
}

// A setup is how a device was set up.
type setup struct {
	name    string
	link    pcap.LinkType
	snaplen int
	length  int                  // bytes of a read
	wait    time.Duration        // that a read takes at most
	program []device.Instruction // the filter, until frames are admitted by it
	warns   []string
}

// A queue goes from the goroutine that reads to the one that calls Next.
type queue struct {
	free    chan *buffer  // buffers that nobody uses
	full    chan filled   // what was read; closed after the last
	end     error         // set before that: why it was the last
	quit    chan struct{} // closed by Close
	stopped atomic.Bool
	taken   atomic.Uint64 // frames read from the batches handed out so far
	corrupt atomic.Uint64
}

// Drops are the frames that the kernel dropped.
type drops struct {
	dropped uint64
	last    uint64 // the kernel's counter when it was read last
	over    bool   // reception has ended: what the counter gains from now on is not ours
}

// A filled is a buffer that the kernel filled, or an event.
type filled struct {
	*buffer
	event error
}

// buffers is how many read buffers there are: one to read into while the
// other is written to disk. While both are held, frames wait in the kernel's own.
const buffers = 2

// longestWait is the most that a read may wait. The end of a Stop takes as long
// twice, and after Close the descriptor stays open as long.
const longestWait = 250 * time.Millisecond

// openOn opens a device on a system. The Config is complete.
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
	d := &source{node: n, index: state.index, users: 1}
	err = d.configure(c)
	if err == nil && !c.Gated {
		err = d.admit()
	}
	if err != nil {
		_ = s.close(n.fd)
		return nil, err
	}
	d.free, d.full = make(chan *buffer, buffers), make(chan filled, buffers+1)
	d.quit = make(chan struct{})
	return d, nil
}

// device returns the device that the source is the backend of.
func (d *source) device() *device.Device {
	return device.New(d, device.Info{
		Name: d.name, Index: d.index, LinkType: d.link, Mode: device.ModeBPF,
		RingSize: kernelBuffers * d.length, Skew: d.skew, Warnings: d.warns,
	})
}

// errNotAny is for Any, which no BPF device is.
func errNotAny() error {
	return fmt.Errorf("a BPF device reads one interface; a glob, such as 'en*', takes many: %w", errors.ErrUnsupported)
}

// configure sets up everything behind a filter that takes nothing, so that no
// frame enters before admit: none of another link type than its filter is for.
func (d *source) configure(c device.Config) error {
	if err := d.checkVersion(); err != nil {
		return err
	}
	d.setNanoseconds()
	if err := d.setFilter(device.Nothing()); err != nil {
		return err
	}
	d.program = device.Cut(c.Snaplen, c.Filter)
	if err := d.setDirection(c.Direction); err != nil {
		return err
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
	d.wait = readTimeout(c.BlockTimeout)
	if err := d.setTimeout(d.wait); err != nil {
		return err
	}
	// In immediate mode every frame would be a read of its own.
	if err := d.set(biocImmediate, 0); err != nil {
		return cause("set buffered mode", err)
	}
	if c.Promiscuous {
		d.setPromiscuous()
	}
	return nil
}

// setLinkType chooses the link type of that name; with no name, the kernel's
// choice.
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

// setPromiscuous takes also frames for other hosts, and warns where they do not
// come: without them is better than nothing.
func (d *source) setPromiscuous() {
	if err := d.sys.ioctl(d.fd, biocPromisc, nil); err != nil { // many Wi-Fi drivers
		d.warns = append(d.warns, fmt.Sprintf("promiscuous mode refused: %v; frames for other hosts are not recorded (promiscuous = false does not ask for them)", err))
	}
	if d.link == pcap.LinkTypeEthernet && slices.ContainsFunc(d.listed(d.linkTypes()), wireless) {
		d.warns = append(d.warns, "a Wi-Fi interface: frames of other stations are recorded in monitor mode only; "+d.monitor)
	}
}

// admit lets frames in, once, and forbids further changes.
func (d *source) admit() error {
	if d.program == nil {
		return nil
	}
	// The buffers are empty, so that it does not matter if they are emptied.
	if d.changeFilter(d.program) != nil {
		if err := d.setFilter(d.program); err != nil {
			return err
		}
	}
	d.program = nil
	return d.setLock()
}

// readTimeout returns how long a read may wait: as long as a block may stay
// open, in the steps of 10 ms that XNU's clock makes. 0 would be for ever.
func readTimeout(ms int) time.Duration {
	const step = 10 * time.Millisecond
	d := time.Duration(ms) * time.Millisecond
	return min((d+step-1)/step*step, longestWait)
}

// Admit lets frames in and begins to read them: the kernel's buffers are small,
// and it may take a while until there is a handle.
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

// Attach begins to read, if that is not done.
func (d *source) Attach() (device.Reader, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.startReading()
	return &reader{source: d, done: make(chan struct{})}, nil
}

// startReading starts the goroutine that reads, if that is not done. The caller holds mu.
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

// drop counts one user less of the descriptor. The last one closes it: never
// while a read is under way, which on NetBSD would block both.
func (d *source) drop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users--
	if d.users > 0 {
		return nil
	}
	_ = d.sample() // the last counters, if the device still has them
	fd := d.fd
	d.fd = -1
	return d.sys.close(fd)
}

// Close ends reading. The descriptor is closed when the read under way ends.
func (d *source) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	close(d.quit)
	return d.drop()
}

// Stop makes the goroutine that reads end with what the kernel has. A few frames
// that come while it reads that may follow, since a locked device's filter can't
// be changed; where there is no lock none does.
func (d *source) Stop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 || d.closed {
		return device.ErrClosed
	}
	d.stopped.Store(true)
	if d.lock == 0 {
		_ = d.changeFilter(device.Nothing()) // else as on the others
	}
	return nil
}

// Refresh does nothing: on no BPF system is the interface's counter read.
func (*source) Refresh() {}

// sample adds what the kernel dropped since the last time to the total, which
// so survives that most count with 32 bits. The caller holds mu.
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
	return nil
}

// Stats returns the counters. The kernel counts what it saw before its filter,
// so Received is summed up here: what was read and what was dropped behind
// the filter. What waits in the kernel is added when it is read.
func (d *source) Stats() (device.Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.sample()
	s := device.Stats{Dropped: d.dropped, Corrupt: d.corrupt.Load(), RingBlocks: buffers, FilledBlock: len(d.full)}
	s.Received = d.taken.Load() + s.Dropped + s.Corrupt
	return s, err
}
