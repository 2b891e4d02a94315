package filter

import (
	"bytes"
	"slices"
	"testing"
)

// A known is an example of a difference from tcpdump that docs/filters.md
// lists.
type known struct {
	name, expr string
	packet     []byte
	ours       string // accepts, rejects, or refuses the expression
	tcpdump    string
	plain      string // tcpdump without its optimiser
}

func TestKnownDifferences(t *testing.T) {
	r := newReference(t)
	arp := slices.Concat(bytes.Repeat([]byte{2}, 12), be16(0x0806), []byte{0x45}, make([]byte, 45))
	ipv4 := slices.Concat(bytes.Repeat([]byte{2}, 12), be16(0x0800), []byte{0x45, 0, 0, 46}, make([]byte, 42))
	const accepts, rejects, refuses = "accepts", "rejects", "refuses"
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
		{"optimizer", "ip or not ip", ipv4[:12], rejects, accepts, rejects},
		{"right-operand", "1 + ip[0] = 0x46", arp, rejects, accepts, accepts},
		{"right-operand", "1 + ip[0] = 0x46", ipv4, accepts, accepts, accepts},
		{"no-mask", "net 0.0.0.0/0", ipv4[:20], accepts, accepts, rejects},
	} {
		verdict := func(run func() (uint32, error)) string {
			switch n, err := run(); {
			case err != nil:
				return refuses
			case n == 0:
				return rejects
			}
			return accepts
		}
		ours := verdict(func() (uint32, error) {
			p, err := Compile(k.expr, Target{LinkType: LinkEthernet})
			if err != nil {
				return 0, err
			}
			return uint32(p.Match(k.packet, len(k.packet), nil)), nil
		})
		theirs := func(optimize bool) string {
			return verdict(func() (uint32, error) {
				code, err := r.compile(k.expr, LinkEthernet, optimize)
				m := machine{packet: k.packet, wirelen: uint32(len(k.packet))}
				return m.run(code), err
			})
		}
		if tcpdump, plain := theirs(true), theirs(false); ours != k.ours || tcpdump != k.tcpdump || plain != k.plain {
			t.Errorf("%s: %q: capd %s, tcpdump %s, without optimiser %s; want %s, %s, %s", k.name, k.expr, ours, tcpdump, plain, k.ours, k.tcpdump, k.plain)
		}
	}
}
