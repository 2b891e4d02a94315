package filter

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// A known is an example of a difference to tcpdump that docs/filters.md lists.
type known struct {
	name, expr string
	packet     frame
	ours       string // what capd does: accepts, rejects, or refuses the expression
	tcpdump    string
	plain      string // what tcpdump does without its optimizer
}

const accepts, rejects, refuses = "accepts", "rejects", "refuses"

// check compares the results with the documented ones.
func (k known) check(t *testing.T, r reference) {
	t.Helper()
	verdict := func(code []bpf.RawInstruction, err error) string {
		switch {
		case err != nil:
			return refuses
		case k.packet.passes(code):
			return accepts
		}
		return rejects
	}
	var code []bpf.RawInstruction
	p, err := Compile(k.expr, Target{LinkType: LinkEthernet, Live: r.live != nil})
	if err == nil {
		code = p.Instructions
	}
	ours, tcpdump, plain := verdict(code, err), verdict(r.compile(k.expr, LinkEthernet, true)), verdict(r.compile(k.expr, LinkEthernet, false))
	if ours != k.ours || tcpdump != k.tcpdump || plain != k.plain {
		t.Errorf("%s: %q: capd %s, tcpdump %s, without optimiser %s; want %s, %s, %s", k.name, k.expr, ours, tcpdump, plain, k.ours, k.tcpdump, k.plain)
	}
}

// datagram is an Ethernet frame of IPv4 with equal ports.
func datagram(proto byte, src []byte, port int) frame {
	b := slices.Concat(bytes.Repeat([]byte{2}, 12), be16(0x0800),
		[]byte{0x45, 0, 0, 46, 0, 0, 0, 0, 64, proto, 0, 0}, src, []byte{10, 1, 2, 3}, be16(port), be16(port), make([]byte, 22))
	return frame{b, len(b), nil}
}

func TestKnownDifferences(t *testing.T) {
	r := newReference(t)
	whole := func(b []byte) frame { return frame{b, len(b), nil} }
	arp := whole(slices.Concat(bytes.Repeat([]byte{2}, 12), be16(0x0806), []byte{0x45}, make([]byte, 45)))
	ipv4 := whole(slices.Concat(bytes.Repeat([]byte{2}, 12), be16(0x0800), []byte{0x45, 0, 0, 46}, make([]byte, 42)))
	for _, k := range []known{
		{"protochain", "ip protochain 6", ipv4, refuses, rejects, rejects},
		{"modulo-order", "ip[0] % 4 + 1 = 4", ipv4, refuses, accepts, accepts}, // 69 % (4 + 1)
		{"far-offset", "ip[-1] = 0", ipv4, refuses, accepts, rejects},
		{"after-geneve", "geneve or ip", ipv4, refuses, rejects, rejects},
		{"ip-broadcast", "ip broadcast", ipv4, refuses, accepts, accepts}, // 0.0.0.0
		{"decnet-hosts", "decnet host 10.15", ipv4, refuses, rejects, rejects},
		{"byte", "byte 14 = 0x45", ipv4, refuses, accepts, accepts},
		{"never", "ip and arp", ipv4, rejects, refuses, rejects},
		{"constant-operand", "ip[0] / ip[0] = 1", ipv4, accepts, refuses, refuses},
		{"constant-operand", "1 << ip[40] = 1", ipv4, accepts, refuses, refuses},
		{"optimizer", "ip or not ip", whole(ipv4.data[:12]), rejects, accepts, rejects},
		{"optimizer-fault", "ip host 192.168.1.1 and 10.0.0.2 or 192.168.1.1 or 1.2.3.4", datagram(17, []byte{1, 2, 3, 4}, 0), accepts, rejects, accepts},
		{"optimizer-fault", "udp[8] & 0 = 0 and port 53", datagram(17, []byte{1, 2, 3, 4}, 53), accepts, rejects, accepts},
		{"right-operand", "1 + ip[0] = 0x46", arp, rejects, accepts, accepts},
		{"right-operand", "1 + ip[0] = 0x46", ipv4, accepts, accepts, accepts},
		{"no-mask", "net 0.0.0.0/0", whole(ipv4.data[:20]), accepts, accepts, rejects},
	} {
		k.check(t, r)
	}
}
