package afpacket

import (
	"testing"

	"capd/capture/device"
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
	accept := device.Instruction{Code: device.OpReturn, K: 1 << 20}
	reject := device.Instruction{Code: device.OpReturn}
	for _, c := range []struct {
		name      string
		direction device.Direction
		ifindex   int
		snaplen   int
		user      []device.Instruction
		want      int // instructions
		keep      uint32
	}{
		{"all, whole", device.Both, 2, device.DefaultSnaplen, nil, 0, 0},
		{"all, cut", device.Both, 2, 96, nil, 1, 96},
		{"room for a tag", device.Both, 2, 1, nil, 1, 12},
		{"in", device.In, 2, device.DefaultSnaplen, nil, 4, device.DefaultSnaplen},
		{"loopback", device.Both, 1, device.DefaultSnaplen, nil, 4, device.DefaultSnaplen},
		{"any", device.Both, 0, device.DefaultSnaplen, nil, 6, device.DefaultSnaplen},
		{"filter alone", device.Both, 2, 96, []device.Instruction{accept}, 1, 96},
		{"filter after prefix", device.Out, 2, 96, []device.Instruction{accept}, 5, 96},
		{"filter that rejects", device.Both, 2, 96, []device.Instruction{reject}, 1, 0},
	} {
		p := program(c.direction, c.ifindex, c.snaplen, c.user)
		if len(p) != c.want {
			t.Errorf("%s: %d instructions, want %d", c.name, len(p), c.want)
			continue
		}
		if c.want > 0 && p[c.want-1] != (device.Instruction{Code: device.OpReturn, K: c.keep}) {
			t.Errorf("%s: ends with %+v, want to keep %d", c.name, p[c.want-1], c.keep)
		}
	}
}
