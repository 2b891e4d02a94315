package capture

import (
	"testing"

	"capd/pcap"
)

func TestLinkType(t *testing.T) {
	for hardware, want := range map[uint16]pcap.LinkType{
		1: pcap.LinkTypeEthernet, 772: pcap.LinkTypeEthernet,
		0xfffe: pcap.LinkTypeRaw, 519: pcap.LinkTypeRaw,
		803: pcap.LinkTypeRadiotap, 801: pcap.LinkTypeIEEE80211,
		512: pcap.LinkTypeLinuxSLL2, 0xffff: pcap.LinkTypeLinuxSLL2,
	} {
		if got := linkType(hardware); got != want {
			t.Errorf("hardware type %d: link type %d, want %d", hardware, got, want)
		}
	}
}

func TestProgram(t *testing.T) {
	accept := Instruction{Code: bpfReturn, K: 1 << 20}
	reject := Instruction{Code: bpfReturn}
	for _, c := range []struct {
		name      string
		direction Direction
		ifindex   int
		snaplen   int
		user      []Instruction
		want      int // instructions
		keep      uint32
	}{
		{"all, whole", Both, 2, DefaultSnaplen, nil, 0, 0},
		{"all, cut", Both, 2, 96, nil, 1, 96},
		{"room for a tag", Both, 2, 1, nil, 1, 12},
		{"in", In, 2, DefaultSnaplen, nil, 4, DefaultSnaplen},
		{"loopback", Both, 1, DefaultSnaplen, nil, 4, DefaultSnaplen},
		{"any", Both, 0, DefaultSnaplen, nil, 6, DefaultSnaplen},
		{"filter alone", Both, 2, 96, []Instruction{accept}, 1, 96},
		{"filter after prefix", Out, 2, 96, []Instruction{accept}, 5, 96},
		{"filter that rejects", Both, 2, 96, []Instruction{reject}, 1, 0},
	} {
		p := program(c.direction, c.ifindex, c.snaplen, c.user)
		if len(p) != c.want {
			t.Errorf("%s: %d instructions, want %d", c.name, len(p), c.want)
			continue
		}
		if c.want > 0 && p[c.want-1] != (Instruction{Code: bpfReturn, K: c.keep}) {
			t.Errorf("%s: ends with %+v, want to keep %d", c.name, p[c.want-1], c.keep)
		}
	}
}
