// Package decode says what a frame holds, for people and for scripts: one line,
// a line for each layer, or an object.
//
// Each protocol is a function that takes its bytes and a sink. Through the sink
// it names itself, fills in the Frame and adds fields to its layer. What it
// carries it hands on by a number, such as an Ethernet type or a port, to the
// tables of tables.go: no protocol knows which others there are.
//
// gopacket's layers are not used here. On more than a third of the samples they
// end before headers that this package names, they give up a header of which the
// end is missing, where half of it is worth showing, and the line would still
// have to be written. Most frames cost no memory here (TestNoAllocations); names
// and options do. gopacket is the oracle of the tests where both speak.
//
// The bytes come from strangers. So no layer is read past its end, the
// number of layers is bounded, what is shown passes through printable, and a
// panic costs one frame.
package decode

import (
	"runtime/debug"
	"slices"
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

	Flows *Flows // for relative sequence numbers of TCP in the line; nil: they are absolute
}

// A Decoder decodes the frames of one link type, one at a time, for one
// goroutine. It keeps nothing of a frame but what the last Frame shows, and what
// Flows do.
type Decoder struct {
	link   pcap.LinkType
	opts   Options
	panics uint64
	stack  []byte // of the last panic

	packet pcap.Packet // of the last Decode, for AppendLayers
	frame  Frame
	sink   sink
}

// New returns a decoder of frames of the link type. One that it does not know
// is shown as its length.
func New(link pcap.LinkType, o Options) *Decoder {
	d := &Decoder{link: link, opts: o}
	d.frame.names, d.frame.again = o.Names, d.again
	d.sink.frame, d.sink.protocols = &d.frame, allProtocols()
	d.sink.flows = o.Flows
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
	f, s := &d.frame, &d.sink
	f.reset()
	s.reset(verbose, d.packet.Flags)
	f.Captured, f.Length = len(d.packet.Data), max(int(d.packet.Length), len(d.packet.Data))
	f.Direction = direction(d.packet.Flags)
	d.guarded(func(s *sink, x data) { linkLayer(s, d.link, x) }, data{d.packet.Data, f.Length})
	s.info = bounded(s.info, maxInfo)
	f.Info = s.info
	if f.Protocol == "" && len(f.Path) > 0 {
		f.Protocol = f.Path[len(f.Path)-1]
	}
}

// again decodes the last packet once more, with its layers. The line stays as it
// is, and a connection is not met twice.
func (d *Decoder) again() {
	info := slices.Clone(d.frame.Info)
	d.sink.flows = nil
	d.run(true)
	d.sink.flows, d.frame.Info = d.opts.Flows, info
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
func (d *Decoder) guarded(decode protocol, x data) {
	defer func() {
		if r := recover(); r != nil {
			d.panics++
			d.stack = debug.Stack()
			d.frame.Malformed = "the decoder failed"
		}
	}()
	decode(&d.sink, x)
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
