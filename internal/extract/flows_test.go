package extract

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"capd/flow"
	"capd/pcap"
)

// TestParseFlow: flows as people write them.
func TestParseFlow(t *testing.T) {
	for s, want := range map[string]string{
		"10.1.2.3:40000 10.9.8.7:443 tcp":     "",
		"10.1.2.3  10.9.8.7":                  "",
		"[2001:db8::1]:53 2001:db8::2 UDP":    "",
		"[2001:db8::1] 2001:db8::2 17":        "",
		"10.1.2.3":                            "two ends",
		"10.1.2.3 10.9.8.7 tcp udp":           "two ends",
		"10.1.2.3 10.9.8.7 tpc":               "no protocol",
		"10.1.2.3 10.9.8.7 256":               "no protocol",
		"10.1.2.3:65536 10.9.8.7":             "no end of a flow",
		"10.1.2.3 example.com":                "no end of a flow",
		"fe80::1%eth0 fe80::2":                "no end of a flow",
		"10.1.2.3 2001:db8::2":                "one end is of IPv4",
		"10.1.2.3:443 10.9.8.7:0 sctp":        "",
		"2001:db8::1:443 2001:db8::2 tcp":     "", // an address, by the rules of IPv6
		"2001:db8:0:0:0:0:0:1:443 ::1 tcp":    "no end of a flow",
		"10.1.2.3:40000 10.9.8.7:443/tcp tcp": "no end of a flow",
	} {
		f, err := ParseFlow(s)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", s, f, err)
		}
		if err == nil && f.String() != strings.Join(strings.Fields(s), " ") {
			t.Errorf("%q is printed as %q", s, f.String())
		}
	}
	for s, ok := range map[string]bool{"1:LQU9qZlK+B5F3KDmev6m5PMibrg=": true, "2:LQU9qZlK+B5F3KDmev6m5PMibrg=": false, "1:LQU9": false, "": false} {
		if f, err := ParseCommunityID(s); (err == nil) != ok || ok && (!f.IsID() || f.String() != s) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// ethernet4 is a frame of UDP, or of what is within.
func ethernet4(src, dst string, proto byte, body ...byte) []byte {
	head := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, proto, 0, 0}
	return slices.Concat(head, netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice(), body)
}

// TestTakeFlow: a flow is taken in both directions and in tunnels; ports count where they are named; a frame that is cut before
// what tells is not decided; and a row says the same as its frames.
func TestTakeFlow(t *testing.T) {
	udp := []byte{0, 53, 0x9c, 0x40, 0, 8, 0, 0}
	there, back := ethernet4("10.0.0.1", "10.0.0.2", 17, udp...), ethernet4("10.0.0.2", "10.0.0.1", 17, 0x9c, 0x40, 0, 53, 0, 8, 0, 0)
	tunnel := ethernet4("192.0.2.1", "192.0.2.2", 4, there[14:]...)
	fragment := slices.Clone(there)
	fragment[21] = 5
	ping, pong := ethernet4("10.0.0.1", "10.0.0.2", 1, 8, 0), ethernet4("10.0.0.2", "10.0.0.1", 1, 0, 0)
	of := func(frame []byte) string {
		var f flow.Frame
		f.Parse(pcap.LinkTypeEthernet, frame)
		return flow.CommunityID(&f.Layers[f.N-1].Key, 0)
	}
	for _, c := range []struct {
		what  string
		frame []byte
		flow  string
		is    bool
		cut   bool
	}{
		{"both ports", there, "10.0.0.1:53 10.0.0.2:40000", true, false},
		{"exchanged", there, "10.0.0.2:40000 10.0.0.1:53 udp", true, false},
		{"back", back, "10.0.0.1:53 10.0.0.2:40000 udp", true, false},
		{"ports of the other end", there, "10.0.0.2:53 10.0.0.1:40000", false, false},
		{"one port", there, "10.0.0.1 10.0.0.2:40000", true, false},
		{"addresses", there, "10.0.0.1 10.0.0.2", true, false},
		{"another protocol", there, "10.0.0.1 10.0.0.2 tcp", false, false},
		{"another address", there, "10.0.0.1 10.0.0.3", false, false},
		{"in a tunnel", tunnel, "10.0.0.1:53 10.0.0.2:40000 udp", true, false},
		{"the tunnel", tunnel, "192.0.2.1 192.0.2.2", true, false},
		{"a later fragment", fragment, "10.0.0.1 10.0.0.2 udp", true, false},
		{"a port of a later fragment", fragment, "10.0.0.1:53 10.0.0.2", false, false},
		{"cut before ports", there[:34], "10.0.0.1:53 10.0.0.2", false, true},
		{"cut before addresses", there[:20], "10.0.0.1 10.0.0.2", false, true},
		{"cut behind addresses", there[:34], "10.0.0.1 10.0.0.2", true, false},
		{"by Community ID", there, of(there), true, false},
		{"by Community ID, back", back, of(there), true, false},
		{"by Community ID, in a tunnel", tunnel, of(there), true, false},
		{"by another Community ID", there, of(ethernet4("10.0.0.1", "10.0.0.3", 17, udp...)), false, false},
		{"cut, by Community ID", there[:34], of(there), false, true},
		{"a later fragment of a whole flow", fragment, "whole 10.0.0.1:53 10.0.0.2:40000 udp", true, false},
		{"a later fragment, back", fragment, "whole 10.0.0.2:1 10.0.0.1:2 udp", true, false},
		{"a later fragment of another protocol", fragment, "whole 10.0.0.1:53 10.0.0.2:40000 tcp", false, false},
		{"another port of a whole flow", there, "whole 10.0.0.1:54 10.0.0.2:40000 udp", false, false},
		{"echo", ping, "echo 10.0.0.1 10.0.0.2 icmp", true, false},
		{"its answer", pong, "echo 10.0.0.1 10.0.0.2 icmp", true, false},
		{"an answer to the answer", pong, "echo 10.0.0.2 10.0.0.1 icmp", false, false},
		{"echo, of the answer", ping, "reply 10.0.0.2 10.0.0.1 icmp", true, false},
		{"another message", ethernet4("10.0.0.1", "10.0.0.2", 1, 3, 1), "echo 10.0.0.1 10.0.0.2 icmp", false, false},
		{"unreachable", ethernet4("10.0.0.1", "10.0.0.2", 1, 3, 3), "unreachable 10.0.0.1 10.0.0.2 icmp", true, false},
		{"unreachable, another code", ethernet4("10.0.0.1", "10.0.0.2", 1, 3, 1), "unreachable 10.0.0.1 10.0.0.2 icmp", false, false},
		{"echo in a tunnel", ethernet4("192.0.2.1", "192.0.2.2", 4, ping[14:]...), "echo 10.0.0.1 10.0.0.2 icmp", true, false},
	} {
		kind, text, _ := strings.Cut(c.flow, " ")
		message, isMessage := map[string][2]uint8{"echo": {8, 0}, "reply": {0, 0}, "unreachable": {3, 3}}[kind]
		if !isMessage && kind != "whole" {
			text = c.flow
		}
		f, err := ParseFlow(text)
		switch {
		case isMessage:
			f = f.Message(message[0], message[1])
		case kind == "whole":
			f = f.Whole()
		}
		if strings.HasPrefix(c.flow, "1:") {
			f, err = ParseCommunityID(c.flow)
		}
		if err != nil {
			t.Fatal(err)
		}
		ask := chooser{flows: Flows{f}.Set()}
		p := &pcap.Packet{Data: c.frame, Length: 100}
		if is, cut := ask.take(pcap.LinkTypeEthernet, p); is != c.is || cut != c.cut {
			t.Errorf("%s: %v, undecided %v", c.what, is, cut)
		}
		p.Length = uint32(len(c.frame))
		if is, cut := ask.take(pcap.LinkTypeEthernet, p); is != c.is || cut {
			t.Errorf("%s, whole: %v, undecided %v", c.what, is, cut)
		}
		may := false
		b := flow.NewBuilder(func(r *flow.Row) error {
			may = may || Flows{f}.Set().mayTake(r)
			return nil
		})
		p.Length = 100
		if err := b.Add(24, b.Interface("eth0", pcap.LinkTypeEthernet), p); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Finish(1000); err != nil {
			t.Fatal(err)
		}
		if may != (c.is || c.cut) {
			t.Errorf("%s: a row of it may have it: %v", c.what, may)
		}
	}
}
