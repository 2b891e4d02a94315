package decode

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"capd/pcap"
)

// segment is a TCP segment from one end of a conversation to the other.
func segment(six, turned bool, from, to, seq, ack, flags int, options, payload raw) raw {
	a, b := addrA, addrB
	if six {
		a, b = addrA6, addrB6
	}
	if turned {
		a, b, from, to = b, a, to, from
	}
	body := cat(be16(from, to), be32(seq, ack), be16((5+len(options)/4)<<12|flags, 1000, 0, 0), options, payload)
	if six {
		return eth(0x86dd, cat(be32(6<<28), be16(len(body)), raw{6, 64}, a, b, body))
	}
	head := cat(raw{0x45, 0}, be16(20+len(body)), zeros(4), raw{64, 6, 0, 0}, a, b)
	copy(head[10:], slowSum(head))
	return eth(0x0800, cat(head, body))
}

// conversations are packets of TCP connections that begin and end anyhow, some
// again with the same ports.
func conversations() []sample {
	const fin, syn, rst, push, ack = 1, 2, 4, 8, 16
	r := rand.New(rand.NewPCG(9, 10))
	var all []sample
	type talk struct {
		six      bool
		from, to int
		next     [2]uint32
	}
	talks := make([]talk, 12)
	for i := range talks {
		talks[i] = talk{i%3 == 0, 2000 + i, []int{443, 5000, 2000 + i}[r.IntN(3)], [2]uint32{r.Uint32(), r.Uint32()}}
	}
	for range 600 {
		t := &talks[r.IntN(len(talks))]
		way := r.IntN(2)
		flags := []int{ack, ack, ack | push, ack | fin, syn, syn | ack, rst, rst | ack, 0, push, ack}[r.IntN(11)]
		if flags&syn != 0 {
			t.next[way] = r.Uint32() % 5 * (1 << 30) // a new connection, also with 0
		}
		var options raw
		if r.IntN(4) == 0 {
			edge := int(t.next[1-way])
			options = cat(raw{1, 1, 5, 18}, be32(edge-200, edge-100, edge-50, edge))
		}
		payload := zeros(r.IntN(3) * 10)
		b := segment(t.six, way == 1, t.from, t.to, int(t.next[way]), int(t.next[1-way]), flags, options, payload)
		all = append(all, sample{"conversation", pcap.LinkTypeEthernet, pcap.Packet{Data: b, Length: uint32(len(b))}})
		t.next[way] += uint32(len(payload))
	}
	return all
}

// numbers are what a line says of sequence numbers, ours and tcpdump's alike.
var numbers = regexp.MustCompile(`\b(seq \d+(:\d+)?|ack \d+|\{\d+:\d+\})`)

func linesOf(t *testing.T, program string, all []sample, args ...string) []string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("needs "+program+": ", err)
	}
	file := filepath.Join(t.TempDir(), "in.pcapng")
	if err := os.WriteFile(file, pcapng(all), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, append(args, "-n", "-r", file)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`\n(\t|    )`).ReplaceAllString(string(out), " ") // what goes on in another line
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != len(all) {
		t.Fatalf("%s: %d lines for %d packets", program, len(lines), len(all))
	}
	return lines
}

// ethernetTCP are the packets of the corpus that are plain TCP, but for one without an IP length, which tcpdump does not
// decode.
func ethernetTCP() []sample {
	return slices.DeleteFunc(corpus(), func(s sample) bool {
		f := New(s.link, Options{}).Decode(&s.Packet)
		return s.link != pcap.LinkTypeEthernet || f.TCP == nil || s.name == "ipv4 from the segmenting nic" || len(f.Tunnels) > 0 || strings.HasPrefix(s.name, "odd")
	})
}

// TestSequenceNumbers: they are those of tcpdump, relative and, without flows, absolute.
func TestSequenceNumbers(t *testing.T) {
	all := append(conversations(), ethernetTCP()...)
	all = append(all, conversations()...)
	for _, absolute := range []bool{false, true} {
		flows, args := NewFlows(), []string{"-t"}
		if absolute {
			flows, args = nil, []string{"-t", "-S"}
		}
		d := New(pcap.LinkTypeEthernet, Options{Flows: flows})
		for i, theirs := range linesOf(t, "tcpdump", all, args...) {
			line := string(d.Decode(&all[i].Packet).AppendLine(nil))
			if got, want := numbers.FindAllString(line, -1), numbers.FindAllString(theirs, -1); !slices.Equal(got, want) {
				t.Errorf("%s, packet %d: %q\n%s\ntcpdump:\n%s", all[i].name, i, got, line, theirs)
			}
			d.frame.AppendLayers(nil) // the next packets are none the wiser
		}
	}
}

// TestSequenceNumbersAgainstTshark: behind the handshake they are tshark's too,
// which counts from the first packet in each direction.
func TestSequenceNumbersAgainstTshark(t *testing.T) {
	const syn, push, ack = 2, 8, 16
	var all []sample
	add := func(six, turned bool, seq, acked, flags, n int) {
		b := segment(six, turned, 3000, 443, seq, acked, flags, nil, zeros(n))
		all = append(all, sample{"handshake", pcap.LinkTypeEthernet, pcap.Packet{Data: b, Length: uint32(len(b))}})
	}
	for _, six := range []bool{false, true} {
		const a, b = 4294967290, 77
		add(six, false, a, 0, syn, 0)
		add(six, true, b, a+1&0xffffffff, syn|ack, 0)
		add(six, false, a+1, b+1, ack, 0)
		add(six, false, a+1, b+1, ack|push, 100)
		add(six, true, b+1, (a+101)&0xffffffff, ack|push, 30)
		add(six, false, (a+101)&0xffffffff, b+31, ack, 0)
	}
	d := New(pcap.LinkTypeEthernet, Options{Flows: NewFlows()})
	for i, row := range linesOf(t, "tshark", all, "-T", "fields", "-e", "tcp.seq", "-e", "tcp.ack", "-E", "separator=/s") {
		f := d.Decode(&all[i].Packet)
		if i%6 < 2 { // tcpdump's are absolute, tshark's 0
			continue
		}
		seq, acked, _ := strings.Cut(row, " ")
		line := string(f.Info)
		if f.TCP.Length > 0 && !strings.Contains(line, "seq "+seq+":") || !strings.Contains(line, "ack "+acked+",") {
			t.Errorf("packet %d: %s, tshark says %s", i, line, row)
		}
	}
}

// TestFlowsAreBounded: however many connections there are, and one that goes on
// is not forgotten for them.
func TestFlowsAreBounded(t *testing.T) {
	f := NewFlows()
	to := netip.MustParseAddrPort("192.0.2.1:443")
	end := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 24), byte(i >> 16), byte(i >> 8)}), uint16(i))
	}
	lasting := end(0)
	f.base(lasting, to, &TCP{Seq: 7, Ack: 9, Bits: 16})
	for i := range 5 * maxFlows {
		f.base(end(i+1), to, &TCP{Seq: 1, Ack: 2, Bits: 16})
		if len(f.young) > maxFlows || len(f.old) > maxFlows {
			t.Fatalf("%d and %d", len(f.young), len(f.old))
		}
		if i%(maxFlows/2) == 0 {
			if sent, received, _ := f.base(lasting, to, &TCP{Seq: 8, Ack: 9, Bits: 16}); sent != 7 || received != 8 {
				t.Fatalf("after %d others: %d, %d", i, sent, received)
			}
		}
	}
	if sent, _, _ := f.base(end(1), to, &TCP{Seq: 8, Ack: 9, Bits: 16}); sent != 0 {
		t.Error("the first of the others is still known")
	}
}
