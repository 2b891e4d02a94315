// Package decode says what a frame holds, for people and for scripts: one line,
// a line for each layer, or an object.
//
// What it reads was written by strangers. So no layer is read past its end, the
// number of layers is bounded, what is shown passes through printable, and a
// panic costs one frame.
//
// gopacket's layers (v1.1.19) are not used. They panic on packets of GRE, ESP,
// MPLS, SCTP, PPPoE and OSPF that were cut short, and one of sFlow can make them
// ask for 16 GiB, which no recover survives. They give up a header of which the
// end is missing, where half of it is worth showing. And their tables would cost
// every start of capd half a megabyte of memory.
package decode

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"unicode/utf8"

	"capd/pcap"
)

const (
	maxLayers  = 32      // headers of one frame that are decoded
	maxTunnels = 8       // of them, those that hold another packet
	maxInfo    = 1024    // bytes of Frame.Info
	maxItems   = 32      // of any list: options, addresses, answers
	maxShown   = 1 << 16 // bytes of all fields of Frame.Layers
)

// Options say how frames are shown.
type Options struct {
	Names  bool // well-known names of ports instead of numbers; nobody is asked for names of hosts
	Layers bool // Decode fills Frame.Layers
}

// A Decoder decodes the frames of one link type, one at a time, for one
// goroutine. It keeps nothing of a frame but what the last Frame shows.
type Decoder struct {
	link   pcap.LinkType
	opts   Options
	panics uint64
	stack  []byte // of the last panic

	packet  pcap.Packet // of the last Decode, for AppendLayers
	frame   Frame
	info    []byte
	verbose bool // layers are collected
	shown   int  // bytes of their fields
	tunnels int
	pseudo  pseudo
}

// New returns a decoder of frames of the link type. One that it does not know
// is shown as its length.
func New(link pcap.LinkType, o Options) *Decoder {
	d := &Decoder{link: link, opts: o}
	d.frame.d = d
	return d
}

// Panics is the number of frames on which the decoder failed. Each was shown
// as far as it was decoded.
func (d *Decoder) Panics() uint64 { return d.panics }

// Stack is where the last of the panics was, or nil.
func (d *Decoder) Stack() []byte { return d.stack }

// Decode decodes a packet. The Frame and what it points to are valid until the
// next Decode, and as long as the packet's data is.
func (d *Decoder) Decode(p *pcap.Packet) *Frame {
	d.packet = *p
	d.run(d.opts.Layers)
	return &d.frame
}

func (d *Decoder) run(verbose bool) {
	d.frame.reset()
	d.verbose, d.shown, d.tunnels, d.info, d.pseudo = verbose, 0, 0, d.info[:0], pseudo{}
	f := &d.frame
	f.Captured, f.Length = len(d.packet.Data), max(int(d.packet.Length), len(d.packet.Data))
	f.Direction = direction(d.packet.Flags)
	d.guarded(func(x data) { d.linkLayer(d.link, x) }, data{d.packet.Data, f.Length})
	d.info = bounded(d.info, maxInfo)
	f.Info = string(d.info)
	if f.Protocol == "" && len(f.Path) > 0 {
		f.Protocol = f.Path[len(f.Path)-1]
	}
}

// bounded cuts a text to about n bytes, between two characters.
func bounded(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	for !utf8.RuneStart(b[n]) {
		n--
	}
	return append(b[:n], "..."...)
}

// guarded decodes, and survives a mistake of this package.
func (d *Decoder) guarded(decode func(data), x data) {
	defer func() {
		if r := recover(); r != nil {
			d.panics++
			d.stack = debug.Stack()
			d.frame.Malformed = "the decoder failed"
		}
	}()
	decode(x)
}

func direction(f pcap.Flags) string {
	switch f & 3 {
	case pcap.FlagInbound:
		return "in"
	case pcap.FlagOutbound:
		return "out"
	}
	return ""
}

// enter begins a layer. It is false where there are too many.
func (d *Decoder) enter(name string) bool {
	f := &d.frame
	if len(f.Path) >= maxLayers {
		d.bad("more than %d layers", maxLayers)
		return false
	}
	f.Path = append(f.Path, name)
	if d.verbose {
		f.Layers = append(f.Layers, Layer{Name: name})
	}
	return true
}

// tunnel begins a packet in a packet. What the frame tells of addresses and of
// transport is from here on that of the inner one.
func (d *Decoder) tunnel(name string, id *uint32) bool {
	f := &d.frame
	if d.tunnels++; d.tunnels > maxTunnels {
		d.bad("more than %d packets in each other", maxTunnels)
		return false
	}
	f.Tunnels = append(f.Tunnels, Tunnel{name, f.Src, f.Dst, id})
	f.Src, f.Dst, f.SrcPort, f.DstPort = netip.Addr{}, netip.Addr{}, 0, 0
	f.IP, f.TCP, f.UDP, f.ARP = nil, nil, nil, nil
	d.pseudo = pseudo{}
	return true
}

// say adds to the line, separated from what is there by a comma.
func (d *Decoder) say(format string, args ...any) {
	if len(d.info) > 0 {
		d.info = append(d.info, ", "...)
	}
	d.more(format, args...)
}

// more adds to the line.
func (d *Decoder) more(format string, args ...any) {
	if len(d.info) <= maxInfo {
		d.info = fmt.Appendf(d.info, format, args...)
	}
}

// ports tells the ports of a transport.
func (d *Decoder) ports(src, dst uint16) {
	d.frame.SrcPort, d.frame.DstPort = src, dst
	if d.verbose { // else the arguments would be allocated for nothing
		d.field("source port", "%d", src)
		d.field("destination port", "%d", dst)
	}
}

// field adds a field to the layer at hand. Where many packets pass, callers ask
// first whether layers are wanted: to hand over the values costs memory.
func (d *Decoder) field(name, format string, args ...any) {
	if !d.verbose || len(d.frame.Layers) == 0 {
		return
	}
	l := &d.frame.Layers[len(d.frame.Layers)-1]
	if len(l.Fields) < maxFields && d.shown < maxShown {
		x := Field{name, fmt.Sprintf(format, args...)}
		d.shown += len(x.Name) + len(x.Value)
		l.Fields = append(l.Fields, x)
	}
}

// ended says whether a header ended before its time, and notes it: the frame
// was cut when it was captured, or a length in it is wrong, or there is more of
// it elsewhere.
func (d *Decoder) ended(c *cursor) bool {
	if !c.short {
		return false
	}
	f := &d.frame
	name := "frame"
	if len(f.Path) > 0 {
		name = f.Path[len(f.Path)-1]
	}
	switch {
	case c.lacking <= c.n:
		f.Truncated = true
		d.say("[truncated %s]", name)
	case f.TCP != nil || d.pseudo.fragment:
		d.say("[continues]") // in the next segment or fragment
	default:
		d.bad("%s ends early", name)
	}
	return true
}
