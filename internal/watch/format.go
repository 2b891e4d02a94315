package watch

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf16"
	"unicode/utf8"

	"capd/internal/decode"
	"capd/internal/text"
	"capd/pcap"
)

// A formatter makes the lines of packets, or the objects.
type formatter struct {
	style   Style
	colour  bool
	snaplen int // bytes of a packet to decode

	malformed, failed atomic.Uint64 // packets that are, and for which the decoder is to blame

	buf      []byte // what is not printed yet
	clock    clock
	flows    *decode.Flows // nil: sequence numbers are absolute
	decoders map[pcap.LinkType]*decode.Decoder
	looked   pcap.Packet // the packet as far as it is decoded
}

func newFormatter(o *Options, colour bool, notice func(string, ...any)) *formatter {
	f := &formatter{style: o.Style, colour: colour, snaplen: o.Snaplen, decoders: make(map[pcap.LinkType]*decode.Decoder)}
	f.clock = clock{style: &o.Style, notice: notice}
	if !o.Style.Absolute && !o.Style.JSON {
		f.flows = decode.NewFlows()
	}
	return f
}

// oddities are lines on what could not be decoded.
func (l *formatter) oddities() string {
	var b strings.Builder
	if n := l.malformed.Load(); n > 0 {
		fmt.Fprintf(&b, "%s malformed: shown as far as it makes sense\n", text.Count(n, "packet"))
	}
	if n := l.failed.Load(); n > 0 {
		fmt.Fprintf(&b, "%d of them for a mistake of capd: please report it with the packets\n", n)
	}
	return b.String()
}

func (l *formatter) decoder(link pcap.LinkType) *decode.Decoder {
	d := l.decoders[link]
	if d == nil {
		d = decode.New(link, decode.Options{Names: l.style.Names, Layers: l.style.Verbose, Flows: l.flows})
		l.decoders[link] = d
	}
	return d
}

// add appends a packet to the buffer.
func (l *formatter) add(o *origin, pkt *pcap.Packet) error {
	l.looked = *pkt
	pkt = &l.looked
	pkt.Data = pkt.Data[:min(len(pkt.Data), l.snaplen)]
	d := l.decoder(o.link)
	before := d.Panics()
	f := d.Decode(pkt)
	l.failed.Add(d.Panics() - before)
	if f.Malformed != "" {
		l.malformed.Add(1)
	}
	if l.style.JSON {
		return l.addJSON(o, pkt, f)
	}
	if t := l.begin(tintTime); l.style.Stamp != StampNone {
		l.buf = l.clock.append(l.buf, pkt)
		l.reset(t)
		l.buf = append(l.buf, ' ')
	}
	if o.label != "" {
		l.coloured(tintName, o.label)
		l.buf = append(l.buf, ' ')
	}
	if d := direction(pkt.Flags); d != "" {
		l.buf = append(append(l.buf, d...), ' ')
	}
	t := l.begin(tintOf(f))
	if l.style.Link {
		l.buf = d.AppendLink(l.buf)
	}
	l.buf = f.AppendLine(l.buf)
	l.reset(t)
	l.buf = append(l.buf, '\n')
	if l.style.Verbose {
		l.buf = f.AppendLayers(l.buf)
	}
	if l.style.Hex {
		l.buf = decode.AppendHex(l.buf, pkt.Data)
	}
	if l.style.ASCII {
		l.buf = d.AppendASCII(l.buf)
	}
	return nil
}

// direction is how the system met the packet, as tcpdump -i any has it: sent, received, and if received for all, for many or for
// another host; empty if it is unknown.
func direction(f pcap.Flags) string {
	const ways, casts = pcap.FlagInbound | pcap.FlagOutbound, pcap.FlagPromiscuous | pcap.FlagBroadcast
	switch {
	case f&ways == pcap.FlagOutbound:
		return "Out"
	case f&ways != pcap.FlagInbound:
		return ""
	case f&casts == pcap.FlagBroadcast:
		return "B"
	case f&casts == pcap.FlagMulticast:
		return "M"
	case f&casts == pcap.FlagPromiscuous:
		return "P"
	}
	return "In"
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

func (l *formatter) begin(t tint) tint {
	if !l.colour || t == tintNone {
		return tintNone
	}
	l.buf = append(append(append(l.buf, "\x1b["...), t...), 'm')
	return t
}

func (l *formatter) reset(begun tint) {
	if begun != tintNone {
		l.buf = append(l.buf, "\x1b[0m"...)
	}
}

func (l *formatter) coloured(t tint, text string) {
	t = l.begin(t)
	l.buf = append(l.buf, text...)
	l.reset(t)
}

// A packetJSON is the beginning of the object of a packet; the members of
// decode.Frame follow.
type packetJSON struct {
	Time      string `json:"time,omitempty"` // empty: unknown
	Interface string `json:"interface,omitempty"`
	LinkType  string `json:"link_type"`
	Data      string `json:"data,omitempty"` // in hexadecimal
}

func (l *formatter) addJSON(o *origin, pkt *pcap.Packet, f *decode.Frame) error {
	head := packetJSON{Interface: o.name, LinkType: o.link.String()}
	if pkt.HasTime() {
		head.Time = pkt.Time().UTC().Format("2006-01-02T15:04:05.000000000Z07:00")
	}
	if l.style.Hex {
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
	l.buf = appendASCII(l.buf, first[:len(first)-1])
	l.buf = append(l.buf, ',')
	l.buf = append(appendASCII(l.buf, rest[1:]), '\n')
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
