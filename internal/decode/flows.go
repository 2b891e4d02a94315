package decode

import "net/netip"

// maxFlows is how many TCP connections are known at least, if there were as many.
const maxFlows = 1 << 15

// Flows remember where the sequence numbers of TCP connections began, so that
// those of later packets are shown relative to that, as tcpdump does: a
// connection's first packet with ACK, and each SYN with ACK, has absolute numbers.
// Several decoders of one goroutine may share them.
//
// The connections are in two maps. When the younger one is full it becomes the
// older one, and what that had is forgotten. So the memory is bounded, and what
// is forgotten has had no packet while maxFlows other connections had one.
type Flows struct {
	young, old map[flowKey]flow
}

// A flowKey names a connection in both directions: a is the lower end.
type flowKey struct{ a, b netip.AddrPort }

// A flow has the number before the first byte of each end.
type flow struct{ a, b uint32 }

// NewFlows returns flows of which none is known.
func NewFlows() *Flows { return &Flows{young: make(map[flowKey]flow)} }

// base returns from where the numbers of a packet's sender and those of its
// receiver are counted. It is 0, 0 for the packet from which they are counted.
// acked is what the receiver is told to have sent, which also counts for a packet
// that is the first.
func (f *Flows) base(src, dst netip.AddrPort, t *TCP) (sent, received, acked uint32) {
	const syn, ack = 2, 16
	if f == nil || t.Bits&ack == 0 {
		return 0, 0, 0
	}
	k, turned := flowKey{src, dst}, src.Compare(dst) > 0
	if turned {
		k = flowKey{dst, src}
	}
	known, ok := f.find(k)
	if first := !ok || t.Bits&syn != 0; first {
		known = flow{t.Seq, t.Ack - 1}
		if turned {
			known.a, known.b = known.b, known.a
		}
		f.put(k, known)
		return 0, 0, t.Ack - 1
	}
	if turned {
		known.a, known.b = known.b, known.a
	}
	return known.a, known.b, known.b
}

func (f *Flows) find(k flowKey) (flow, bool) {
	if known, ok := f.young[k]; ok {
		return known, true
	}
	known, ok := f.old[k]
	if ok {
		f.put(k, known)
	}
	return known, ok
}

func (f *Flows) put(k flowKey, known flow) {
	if _, ok := f.young[k]; !ok && len(f.young) >= maxFlows {
		f.young, f.old = f.old, f.young
		if f.young == nil {
			f.young = make(map[flowKey]flow)
		}
		clear(f.young)
	}
	f.young[k] = known
}
