package watch

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unicode/utf16"
	"unicode/utf8"

	"capd/internal/decode"
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
	out     io.Writer
	colour  bool
	style   Style
	limit   uint64        // packets to show; 0: all
	snaplen int           // bytes of a packet to decode
	done    chan struct{} // closed when no more are shown

	shown, malformed, failed atomic.Uint64
	aside                    atomic.Bool // nothing more is to be shown

	mu       sync.Mutex
	err      error // why no more are shown
	buf      []byte
	saver    *saver // nil: packets are not saved
	silent   bool   // they are saved only
	clock    clock
	flows    *decode.Flows // nil: sequence numbers are absolute
	decoders map[pcap.LinkType]*decode.Decoder
	looked   pcap.Packet // the packet as far as it is decoded
}

// Why a printer is done.
var (
	errAllShown   = errors.New("all are shown")
	errReaderGone = errors.New("nobody reads")
)

func newPrinter(out io.Writer, o *Options, notice func(string, ...any)) *printer {
	_, isTerminal := terminal.Is(out)
	p := &printer{
		out: out, style: o.Style, limit: o.Count, snaplen: o.Snaplen, colour: isTerminal && os.Getenv("NO_COLOR") == "",
		done: make(chan struct{}), silent: o.Write == "-", decoders: make(map[pcap.LinkType]*decode.Decoder),
	}
	p.clock = clock{style: &p.style, notice: notice}
	if !o.Style.Absolute && !o.Style.JSON {
		p.flows = decode.NewFlows()
	}
	return p
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

func ended(err error, what string) error {
	if errors.Is(err, syscall.EPIPE) {
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

// oddities are lines on what could not be decoded.
func (p *printer) oddities() string {
	var b strings.Builder
	if n := p.malformed.Load(); n > 0 {
		fmt.Fprintf(&b, "%s malformed: shown as far as it makes sense\n", text.Count(n, "packet"))
	}
	if n := p.failed.Load(); n > 0 {
		fmt.Fprintf(&b, "%d of them for a mistake of capd: please report it with the packets\n", n)
	}
	return b.String()
}

// leave ends the showing without waiting for a reader that does not read.
func (p *printer) leave() { p.aside.Store(true) }

func (p *printer) decoder(link pcap.LinkType) *decode.Decoder {
	d := p.decoders[link]
	if d == nil {
		d = decode.New(link, decode.Options{Names: p.style.Names, Layers: p.style.Verbose, Flows: p.flows})
		p.decoders[link] = d
	}
	return d
}

// add appends a packet to the buffer.
func (p *printer) add(o *origin, pkt *pcap.Packet) error {
	p.looked = *pkt
	pkt = &p.looked
	pkt.Data = pkt.Data[:min(len(pkt.Data), p.snaplen)]
	d := p.decoder(o.link)
	before := d.Panics()
	f := d.Decode(pkt)
	p.failed.Add(d.Panics() - before)
	if f.Malformed != "" {
		p.malformed.Add(1)
	}
	if p.style.JSON {
		return p.addJSON(o, pkt, f)
	}
	if t := p.begin(tintTime); p.style.Stamp != StampNone {
		p.buf = p.clock.append(p.buf, pkt)
		p.reset(t)
		p.buf = append(p.buf, ' ')
	}
	if o.label != "" {
		p.coloured(tintName, o.label)
		p.buf = append(p.buf, ' ')
	}
	t := p.begin(tintOf(f))
	if p.style.Link {
		p.buf = d.AppendLink(p.buf)
	}
	p.buf = f.AppendLine(p.buf)
	p.reset(t)
	p.buf = append(p.buf, '\n')
	if p.style.Verbose {
		p.buf = f.AppendLayers(p.buf)
	}
	if p.style.Hex {
		p.buf = decode.AppendHex(p.buf, pkt.Data)
	}
	if p.style.ASCII {
		p.buf = d.AppendASCII(p.buf)
	}
	return nil
}

// A tint is the parameter of an escape sequence for a colour (ECMA-48, 8.3.117).
type tint string

const (
	tintNone tint = ""
	tintTime tint = "2"  // faint
	tintName tint = "36" // cyan
	tintBad  tint = "31" // red
	tintOpen tint = "32" // green
	tintAsk  tint = "33" // yellow
	tintNote tint = "35" // magenta
)

// tintOf is the colour of a line: what went wrong, connections that begin or
// end, who asks for names and addresses, and messages of the network itself.
func tintOf(f *decode.Frame) tint {
	const fin, syn, rst = 1, 2, 4
	switch {
	case f.Malformed != "", f.TCP != nil && f.TCP.Bits&rst != 0:
		return tintBad
	case f.TCP != nil && f.TCP.Bits&(syn|fin) != 0:
		return tintOpen
	case f.ARP != nil, f.DNS != nil, f.DHCP != nil:
		return tintAsk
	case f.ICMP != nil:
		return tintNote
	}
	return tintNone
}

func (p *printer) begin(t tint) tint {
	if !p.colour || t == tintNone {
		return tintNone
	}
	p.buf = append(append(append(p.buf, "\x1b["...), t...), 'm')
	return t
}

func (p *printer) reset(begun tint) {
	if begun != tintNone {
		p.buf = append(p.buf, "\x1b[0m"...)
	}
}

func (p *printer) coloured(t tint, text string) {
	t = p.begin(t)
	p.buf = append(p.buf, text...)
	p.reset(t)
}

// A packetJSON is the beginning of the object of a packet; the members of
// decode.Frame follow.
type packetJSON struct {
	Time      string `json:"time,omitempty"` // empty: unknown
	Interface string `json:"interface,omitempty"`
	LinkType  string `json:"link_type"`
	Data      string `json:"data,omitempty"` // in hexadecimal
}

func (p *printer) addJSON(o *origin, pkt *pcap.Packet, f *decode.Frame) error {
	head := packetJSON{Interface: o.name, LinkType: o.link.String()}
	if pkt.HasTime() {
		head.Time = pkt.Time().UTC().Format("2006-01-02T15:04:05.000000000Z07:00")
	}
	if p.style.Hex {
		head.Data = hex.EncodeToString(pkt.Data)
	}
	first, err := json.Marshal(&head)
	if err != nil {
		return fmt.Errorf("encode packet: %w", err)
	}
	rest, err := f.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encode packet: %w", err)
	}
	p.buf = appendASCII(p.buf, first[:len(first)-1])
	p.buf = append(p.buf, ',')
	p.buf = append(appendASCII(p.buf, rest[1:]), '\n')
	return nil
}

// appendASCII appends JSON text with \u escapes for what is beyond ASCII: among
// that are characters that move a terminal's cursor or turn the direction of
// writing.
func appendASCII(dst, text []byte) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		switch {
		case r < 0x7f:
			dst = append(dst, byte(r))
		case r > 0xffff:
			a, b := utf16.EncodeRune(r)
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, a, b)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
	}
	return dst
}
