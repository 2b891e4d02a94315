package watch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"capd/internal/terminal"
	"capd/internal/text"
	"capd/pcap"
)

// An origin is where packets come from.
type origin struct {
	name  string // of the interface; empty if it is not known
	label string // the same, fit for a terminal
	saved string // the name of the interface's block where packets are saved
	link  pcap.LinkType
}

func newOrigin(name string, link pcap.LinkType) *origin {
	o := &origin{name: name, label: text.Name(name), saved: name, link: link}
	if strings.Contains(o.label, " ") && o.label == name {
		o.label = strconv.Quote(name)
	}
	return o
}

// printAt is how many bytes are printed together at the most, but for those of
// one packet.
const printAt = 64 << 10

// A printer shows packets of one or more feeds, a group of whole lines at a
// time. While its reader takes none, they wait.
type printer struct {
	out    io.Writer
	limit  uint64        // packets to show; 0: all
	silent bool          // they are saved only
	done   chan struct{} // closed when no more are shown

	shown atomic.Uint64
	aside atomic.Bool // nothing more is to be shown

	mu    sync.Mutex // guards what follows
	err   error      // why no more are shown
	saver *saver     // nil: packets are not saved
	*formatter
}

// Why a printer is done.
var (
	errAllShown   = errors.New("all are shown")
	errReaderGone = errors.New("nobody reads")
)

func newPrinter(out io.Writer, o *Options, notice func(string, ...any)) *printer {
	_, isTerminal := terminal.Is(out)
	return &printer{
		out: out, limit: o.Count, silent: o.Write == "-" || o.Serve != nil, done: make(chan struct{}),
		formatter: newFormatter(o, isTerminal && os.Getenv("NO_COLOR") == "", notice),
	}
}

// show shows a packet, at the latest at the next flush. The record is that of a
// pcapng file, if the packet came from one. The error says that it was not shown, and
// that no other will be.
func (p *printer) show(o *origin, pkt *pcap.Packet, record []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	if p.aside.Load() {
		return errAllShown
	}
	if !p.silent {
		if err := p.add(o, pkt); err != nil {
			p.end(err)
			return err
		}
	}
	if p.saver != nil {
		p.saver.add(o, pkt, record)
	}
	last := p.shown.Add(1) == p.limit
	if last || len(p.buf) >= printAt || p.saver.unwritten() >= printAt {
		p.write()
	}
	if last {
		p.end(errAllShown)
	}
	return nil
}

// flush prints what is shown and not printed yet.
func (p *printer) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write()
	return p.err
}

func (p *printer) write() {
	if p.err == nil && p.saver.unwritten() > 0 {
		if err := p.saver.flush(); err != nil {
			p.end(ended(err, "write "+p.saver.name))
		}
	}
	if p.err == nil && len(p.buf) > 0 {
		_, err := p.out.Write(p.buf)
		p.buf = p.buf[:0]
		if err != nil {
			p.end(ended(err, "print packets"))
		}
	}
}

// gone reports whether an error says that nobody reads any more.
func gone(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) }

func ended(err error, what string) error {
	if gone(err) {
		return errReaderGone
	}
	return fmt.Errorf("%s: %w", what, err)
}

// finish ends the file that is saved to, if there is one and nothing hangs: what is
// not printed is saved before. last writes what is behind the packets.
func (p *printer) finish(failure error, last func(*saver)) error {
	if p.saver == nil || !p.mu.TryLock() {
		return nil
	}
	defer p.mu.Unlock()
	if p.err == nil || errors.Is(p.err, errAllShown) {
		last(p.saver)
	}
	err := p.saver.end(failure != nil)
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		return nil
	}
	return fmt.Errorf("write %s: %w", p.saver.name, err)
}

// save does with the saver what is no packet's, if packets are saved.
func (p *printer) save(do func(*saver)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.saver != nil && p.err == nil && !p.aside.Load() {
		do(p.saver)
	}
}

func (p *printer) end(err error) {
	if p.err == nil {
		p.err = err
		close(p.done)
	}
}

// why returns what went wrong, if anything did. It does not wait for a reader.
func (p *printer) why() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	if errors.Is(p.err, errAllShown) {
		return nil
	}
	return p.err
}

// leave ends the showing without waiting for a reader that does not read.
func (p *printer) leave() { p.aside.Store(true) }
