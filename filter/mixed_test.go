package filter

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

var mixedTypes = map[uint16]LinkType{1: LinkEthernet, 772: LinkEthernet, 519: LinkRaw, 0xfffe: LinkRaw, 803: 127}

// TestMixed compares programs for the frames of all interfaces with those for each link layer alone.
func TestMixed(t *testing.T) {
	all := samples(t)
	for _, expr := range []string{"ip", "not ip", "inbound", "outbound and udp", "ifindex 2", "len > 100", "tcp[13] & 2 != 0", "ip[ip[0] & 0xf] = 1", "vlan 100 and ip", "ether host 2:0:0:0:0:1 or arp"} {
		all = append(all, sample{LinkEthernet, expr})
	}
	compiled := 0
	for _, s := range all {
		if s.link != LinkEthernet {
			continue
		}
		p, err := CompileMixed(s.expr, mixedTypes)
		if err != nil {
			t.Logf("%q: %v", s.expr, err)
			continue
		}
		compiled++
		for hardware, link := range map[uint16]LinkType{1: LinkEthernet, 772: LinkEthernet, 0xfffe: LinkRaw, 803: LinkSLL2, 512: LinkSLL2} {
			compareMixed(t, p, s.expr, hardware, link)
		}
	}
	if compiled < len(all)/3 {
		t.Errorf("only %d of %d expressions compile", compiled, len(all))
	}
	t.Logf("%d of %d expressions", compiled, len(all))
}

// compareMixed compares the program's results for frames of the hardware type with those of a program for the link type.
func compareMixed(t *testing.T, p *Program, expr string, hardware uint16, link LinkType) {
	t.Helper()
	alone, err := Compile(expr, Target{LinkType: link, Live: true, mixed: true})
	if err != nil {
		t.Errorf("%q compiles for all interfaces, but for %s: %v", expr, link, err)
		return
	}
	for i, f := range corpus(link) {
		meta := &Meta{PacketType: uint8(i % 5), Ifindex: uint32(i % 4)}
		data, want := f.data, 0
		if link == LinkSLL2 {
			var header int
			if meta, header = cookedMeta(link, f.data); meta == nil {
				continue
			}
			meta.Hatype = hardware
			data, f.wirelen = f.data[header:], f.wirelen-header
			want = alone.Match(data, f.wirelen, meta)
			if strings.Contains(expr, "len") || strings.Contains(expr, "less") || strings.Contains(expr, "greater") {
				continue // the link layer's header counts
			}
			meta.Network = i % 30 // what the link layer's header has
			data = slices.Concat(make([]byte, meta.Network), data)
			f.wirelen += meta.Network
		} else {
			meta.Hatype = hardware
			want = alone.Match(data, f.wirelen, meta)
		}
		if got := p.Match(data, f.wirelen, meta); got != want {
			t.Errorf("%q, hardware type %d, packet %x: got %d, want %d\n%s", expr, hardware, data, got, want, p)
			return
		}
	}
}

// TestMixedForeign: what only Ethernet has is false for frames of others.
func TestMixedForeign(t *testing.T) {
	for _, expr := range []string{"vlan", "vlan 5 and ip", "ether host 2:0:0:0:0:1", "mpls", "llc", "broadcast", "multicast", "ether multicast"} {
		p, err := CompileMixed(expr, mixedTypes)
		inverse, inverseErr := CompileMixed("not ("+expr+")", mixedTypes)
		if err != nil || inverseErr != nil {
			t.Errorf("%q: %v, %v", expr, err, inverseErr)
			continue
		}
		for _, hardware := range []uint16{0xfffe, 512, 803} {
			meta := &Meta{Hatype: hardware, Protocol: 0x0800}
			data := make([]byte, 100)
			data[0] = 0x45
			if p.Match(data, 100, meta) != 0 || inverse.Match(data, 100, meta) == 0 {
				t.Errorf("%q matches a frame of hardware type %d", expr, hardware)
			}
		}
	}
}

// TestMixedRefused: what can't be compiled exactly for each link layer is an error.
func TestMixedRefused(t *testing.T) {
	for expr, want := range map[string]string{
		"host example.com": "", "ether[0] & 1 = 1": "does not see", "ip[ip[0:4]] = 1": "not possible for frames of all interfaces",
		"ip[len - 1] = 0": "not possible for frames of all interfaces",
	} {
		if _, err := CompileMixed(expr, mixedTypes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", expr, err, want)
		}
	}
	p, err := CompileMixed("", mixedTypes)
	if err != nil || !p.AlwaysMatches() || p.NeverMatches() {
		t.Errorf("the empty expression: %v", err)
	}
	if p, err = CompileMixed("ip and arp", mixedTypes); err != nil || !p.NeverMatches() || p.AlwaysMatches() {
		t.Errorf("what never matches: %v", err)
	}
}

// cookedMeta returns what a cooked header says as a socket's metadata, and the header's length; nil if the packet has none.
func cookedMeta(link LinkType, b []byte) (meta *Meta, header int) {
	switch {
	case link == LinkSLL2 && len(b) >= sll2Len:
		return &Meta{
			Protocol:   binary.BigEndian.Uint16(b),
			Ifindex:    binary.BigEndian.Uint32(b[4:]),
			Hatype:     binary.BigEndian.Uint16(b[8:]),
			PacketType: b[10],
		}, sll2Len
	case link == LinkSLL && len(b) >= sllLen && b[0] == 0: // a packet type is never larger
		return &Meta{
			PacketType: b[1],
			Hatype:     binary.BigEndian.Uint16(b[2:]),
			Protocol:   binary.BigEndian.Uint16(b[14:]),
		}, sllLen
	}
	return nil, 0
}
