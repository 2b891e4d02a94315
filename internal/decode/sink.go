package decode

import (
	"fmt"
	"net/netip"
	"strconv"

	"capd/pcap"
)

// A sink is all that a protocol function knows besides its bytes: the frame that
// it fills in, the line and the layers that it writes, and the tables through
// which it hands on what it carries.
type sink struct {
	frame     *Frame
	room      frameParts // the frame's pointers point here
	protocols *protocols
	flows     *Flows // nil: sequence numbers are shown as they are on the wire

	info    []byte // becomes Frame.Info
	verbose bool   // layers are wanted
	shown   int    // bytes of their fields

	flags   pcap.Flags // of the packet
	tunnels int
	ids     [maxTunnels]uint32 // of the tunnels
	pseudo  pseudo             // of the IP header that was read last
}

// frameParts are kept from frame to frame, so that they cost no memory.
type frameParts struct {
	srcMAC, dstMAC, clientMAC MAC

	ip   IP
	arp  ARP
	tcp  TCP
	udp  UDP
	icmp ICMP
	dns  DNS
	dhcp DHCP
	tls  TLS
	http HTTP
}

// keep puts a value into its room and returns the pointer for the frame.
func keep[T any](room *T, v T) *T {
	*room = v
	return room
}

// reset begins a frame. The memory of the line and of the parts stays.
func (s *sink) reset(verbose bool, flags pcap.Flags) {
	s.info, s.verbose, s.shown = s.info[:0], verbose, 0
	s.flags, s.tunnels, s.pseudo = flags, 0, pseudo{}
}

// enter begins a layer. It is false where there are too many.
func (s *sink) enter(name string) bool {
	f := s.frame
	if len(f.Path) >= maxLayers {
		s.bad("more than %d layers", maxLayers)
		return false
	}
	f.Path = append(f.Path, name)
	if s.verbose {
		f.Layers = append(f.Layers, Layer{Name: name})
	}
	return true
}

// tunnel begins a packet in a packet. What the frame says of addresses and of
// transport is from here on that of the inner one.
func (s *sink) tunnel(name string, id *uint32) bool {
	f := s.frame
	if s.tunnels++; s.tunnels > maxTunnels {
		s.bad("more than %d packets in each other", maxTunnels)
		return false
	}
	var kept *uint32
	if id != nil { // a copy, so that those of the callers need not be allocated
		kept = keep(&s.ids[s.tunnels-1], *id)
	}
	f.Tunnels = append(f.Tunnels, Tunnel{name, f.Src, f.Dst, kept})
	f.Src, f.Dst, f.SrcPort, f.DstPort = netip.Addr{}, netip.Addr{}, 0, 0
	f.IP, f.TCP, f.UDP, f.ARP = nil, nil, nil, nil
	s.pseudo = pseudo{}
	return true
}

// say adds to the line, separated from what is there by a comma.
func (s *sink) say(format string, args ...any) {
	s.info = separated(s.info)
	s.more(format, args...)
}

func separated(info []byte) []byte {
	if len(info) > 0 {
		info = append(info, ", "...)
	}
	return info
}

// more adds to the line.
func (s *sink) more(format string, args ...any) {
	if len(s.info) <= maxInfo {
		s.info = fmt.Appendf(s.info, format, args...)
	}
}

// sayText adds texts to the line, sayNumber a word and a number, both as say
// does, and moreNumber as more does. They cost no memory, where the arguments of
// a format are allocated.
func (s *sink) sayText(parts ...string) {
	s.info = separated(s.info)
	if len(s.info) > maxInfo {
		return
	}
	for _, part := range parts {
		s.info = append(s.info, part...)
	}
}

func (s *sink) sayNumber(word string, n uint64) {
	s.info = separated(s.info)
	s.moreNumber(word, n)
}

func (s *sink) moreNumber(word string, n uint64) {
	if len(s.info) <= maxInfo {
		s.info = strconv.AppendUint(append(s.info, word...), n, 10)
	}
}

// ports sets the ports of a transport.
func (s *sink) ports(src, dst uint16) {
	s.frame.SrcPort, s.frame.DstPort = src, dst
	if s.verbose { // else the arguments would be allocated for nothing
		s.field("source port", "%d", src)
		s.field("destination port", "%d", dst)
	}
}

// field adds a field to the layer at hand. Where many packets pass, callers ask
// first whether layers are wanted: to hand over the values costs memory.
func (s *sink) field(name, format string, args ...any) {
	if !s.verbose || len(s.frame.Layers) == 0 {
		return
	}
	l := &s.frame.Layers[len(s.frame.Layers)-1]
	if len(l.Fields) < maxFields && s.shown < maxShown {
		x := Field{name, fmt.Sprintf(format, args...)}
		s.shown += len(x.Name) + len(x.Value)
		l.Fields = append(l.Fields, x)
	}
}

// bad notes what is wrong with the frame.
func (s *sink) bad(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.frame.Malformed == "" {
		s.frame.Malformed = text
	}
	s.say("[malformed: %s]", text)
}

// ended says whether a header ended before its time, and notes it: the frame
// was cut when it was captured, or a length in it is wrong, or the rest is in
// another frame.
func (s *sink) ended(c *cursor) bool {
	if !c.short {
		return false
	}
	f := s.frame
	name := "frame"
	if len(f.Path) > 0 {
		name = f.Path[len(f.Path)-1]
	}
	switch {
	case c.lacking <= c.n:
		f.Truncated = true
		s.say("[truncated %s]", name)
	case f.TCP != nil || s.pseudo.fragment:
		s.say("[continues]") // in the next segment or fragment
	default:
		s.bad("%s ends early", name)
	}
	return true
}
