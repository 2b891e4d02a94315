package decode

import (
	"encoding/json"
	"strings"
	"testing"

	"capd/pcap"
)

func packetOf(b raw) *pcap.Packet { return &pcap.Packet{Data: b, Length: uint32(len(b))} }

// TestObjects looks for what must be in the object of a sample, and for what
// must not.
func TestObjects(t *testing.T) {
	const outer = `"src":"192.0.2.1","dst":"198.51.100.2"`
	cases := map[string]struct {
		has  []string
		lack []string
	}{
		"zero macs":     {has: []string{`"src_mac":"00:00:00:00:00:00","dst_mac":"00:00:00:00:00:00"`}},
		"zero macs arp": {has: []string{`"src_mac":"00:00:00:00:00:00"`, `"target_mac":"00:00:00:00:00:00"`}},
		"link ppi 802.11": {
			has: []string{`"dst_mac":"02:00:00:00:00:01"`}, lack: []string{"src_mac"}, // an acknowledgment has no other
		},
		"gre of the unknown":       {has: []string{outer}, lack: []string{"tunnels"}},
		"gre keepalive":            {has: []string{outer}, lack: []string{"tunnels"}},
		"vxlan gpe of the unknown": {has: []string{outer, `"dst_port":4790`}},
		"geneve of the unknown":    {has: []string{outer, `"dst_port":6081`}},
		"erspan iii":               {has: []string{`"path":["ethernet","ipv4","gre","erspan","ethernet","ipv4","udp"]`}},
		"erspan iii egress ip":     {has: []string{`"path":["ethernet","ipv4","gre","erspan","ipv4","udp"]`}},
		"rip password":             {has: []string{`secret\\x1b`}, lack: []string{"115.101.99.114"}},
		"gquic 43":                 {has: []string{`"protocol":"gquic"`, `"server_name":"www.example.org"`}},
		"gquic 46":                 {has: []string{`"protocol":"gquic"`, `"server_name":"www.example.org"`}},
		"dns at 443":               {has: []string{`"protocol":"dns"`, `"questions":[{"name":"a.example","type":"A"}]`}},
		"dns over tcp first segment": {
			has: []string{`"counts":[1,3,0,0]`, `"answers":[{"name":"a.example","type":"A","ttl":300,"data":"192.0.2.1"},{`, `[continues]`}, lack: []string{"malformed", "truncated"},
		},
		"dns over tcp authorities later": {has: []string{`[continues]`}, lack: []string{"malformed", "truncated"}},
		"dns over tcp later segment":     {has: []string{`"protocol":"tcp"`}, lack: []string{`"dns"`, "malformed"}},
		"link nflog ipv4":                {has: []string{`"path":["nflog","ipv4","udp"]`}},
		"link can":                       {has: []string{`"protocol":"can"`, `id 0x123`}},
	}
	for _, s := range corpus() {
		want, ok := cases[s.name]
		if !ok {
			continue
		}
		delete(cases, s.name)
		b, err := json.Marshal(New(s.link, Options{}).Decode(&s.Packet))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want.has {
			if !strings.Contains(string(b), part) {
				t.Errorf("%s: no %s in %s", s.name, part, b)
			}
		}
		for _, part := range want.lack {
			if strings.Contains(string(b), part) {
				t.Errorf("%s: %s in %s", s.name, part, b)
			}
		}
	}
	for name := range cases {
		t.Errorf("no sample %s", name)
	}
}

// TestZeroClient keeps an address of zeroes that DHCP gives as the client's.
func TestZeroClient(t *testing.T) {
	m := cat(raw{1, 1, 6, 0}, be32(7), zeros(4+16+16+64+128))
	b := eth(0x0800, udp4(68, 67, m))
	f := New(1, Options{}).Decode(packetOf(b))
	if f.DHCP == nil || f.DHCP.ClientMAC == nil || *f.DHCP.ClientMAC != (MAC{}) {
		t.Errorf("%+v", f.DHCP)
	}
}

// TestQUICIsNotDNS: what follows a handshake at 443 is QUIC, whatever its bytes.
func TestQUICIsNotDNS(t *testing.T) {
	for _, s := range corpus() {
		if !strings.HasPrefix(s.name, "quic ") {
			continue
		}
		if f := New(s.link, Options{}).Decode(&s.Packet); f.Protocol != "quic" {
			t.Errorf("%s: %s", s.name, f.Protocol)
		}
	}
}
