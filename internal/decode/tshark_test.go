package decode

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"capd/pcap"
)

// tsharkOptions make tshark judge each packet on its own, as this package does.
var tsharkOptions = []string{
	"ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE", "tcp.relative_sequence_numbers:FALSE",
	"tcp.analyze_sequence_numbers:FALSE", "ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE",
}

// A tsharkField is a field of tshark's, and what it is of a frame: nil where
// the frame has no such thing.
type tsharkField struct {
	name  string
	layer string // of which it is one, where only the innermost is compared
	of    func(f *Frame) []string
}

// TestAgainstTshark compares the corpus with what tshark makes of it, field by
// field, but for the differences that are listed with their reason. What is
// told of a packet that was cut, at any length, must be true of the whole one.
func TestAgainstTshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark: ", err)
	}
	all := corpus()
	met := map[string]bool{}
	report := func(s *sample, field string, ours any, theirs []string) {
		key, why := reason(s.name, field)
		if met[key] = true; why == "" {
			t.Errorf("%s: %s: %q, tshark says %q", s.name, field, ours, theirs)
		}
	}
	for i, row := range tshark(t, all) {
		s := &all[i]
		d := New(s.link, Options{})
		f := d.Decode(&s.Packet)
		for k, field := range tsharkFields {
			ours := field.of(f)
			if theirs := theirsOf(f, field.layer, ours, row[k]); !slices.Equal(ours, theirs) {
				report(s, field.name, ours, theirs)
			}
		}
		if names := row[len(row)-1]; !strings.HasPrefix(s.name, "odd") && !slices.Contains(names, tsharkName(f.Protocol)) {
			report(s, "protocol", f.Protocol, names)
		}
		compareCut(t, d, s, row)
	}
	for name, why := range differences {
		if !met[name] && !strings.HasPrefix(why, oldTshark) {
			t.Errorf("%s: is no difference any more", name)
		}
	}
}

// compareCut compares each of the sample's beginnings with the whole.
func compareCut(t *testing.T, d *Decoder, s *sample, row [][]string) {
	t.Helper()
	for n := 0; n < len(s.Data); n++ {
		if n > 200 {
			n = min(n+40, len(s.Data)-1) // little is decoded there
		}
		f := d.Decode(&pcap.Packet{Data: s.Data[:n], Length: s.Length})
		for k, field := range tsharkFields {
			_, why := reason(s.name, field.name)
			if field.name == "frame.cap_len" || strings.HasSuffix(field.name, ".status") || why != "" {
				continue
			}
			ours := field.of(f)
			theirs := theirsOf(f, field.layer, ours, row[k])
			if len(ours) > len(theirs) || !slices.Equal(ours, theirs[:len(ours)]) {
				t.Errorf("%s cut to %d bytes: %s: %q, tshark says of the whole %q", s.name, n, field.name, ours, theirs)
			}
		}
	}
}

// theirsOf is what of tshark's values a frame is to be compared with.
func theirsOf(f *Frame, layer string, ours, theirs []string) []string {
	n := 0
	for _, p := range f.Path {
		n += bool01(p == layer)
	}
	switch {
	case f.ICMP != nil && len(ours) < len(theirs):
		return theirs[:len(ours)] // what an error is about is behind
	case layer == "":
		return theirs
	case n == 0 || n > len(theirs) || len(ours) == 0 && len(f.Tunnels) > 0:
		return nil // the innermost packet has no such header
	}
	return theirs[n-1 : n]
}

// tshark runs it once over all samples and returns a row of fields for each,
// the last of which is the list of protocols.
func tshark(t *testing.T, all []sample) [][][]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "corpus.pcapng")
	if err := os.WriteFile(file, pcapng(all), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=|"}
	for _, o := range tsharkOptions {
		args = append(args, "-o", o)
	}
	for _, f := range tsharkFields {
		args = append(args, "-e", f.name)
	}
	cmd := exec.Command("tshark", append(args, "-e", "frame.protocols")...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(all) {
		t.Fatalf("tshark: %d lines for %d samples", len(lines), len(all))
	}
	var rows [][][]string
	for _, line := range lines {
		var row [][]string
		columns := strings.Split(line, "\t")
		for _, c := range columns[:len(columns)-1] {
			row = append(row, values(c))
		}
		rows = append(rows, append(row, strings.Split(columns[len(columns)-1], ":")))
	}
	return rows
}

func values(column string) []string {
	if column == "" {
		return nil
	}
	return strings.Split(column, "|")
}

// pcapng is a file with an interface for each link type.
func pcapng(all []sample) []byte {
	le := binary.LittleEndian
	var b []byte
	block := func(kind uint32, body []byte) {
		n := uint32(12 + len(body))
		b = le.AppendUint32(le.AppendUint32(b, kind), n)
		b = le.AppendUint32(append(b, body...), n)
	}
	block(0x0a0d0d0a, cat(le.AppendUint32(nil, 0x1a2b3c4d), raw{1, 0, 0, 0}, raw("\xff\xff\xff\xff\xff\xff\xff\xff")))
	ids := map[pcap.LinkType]uint32{}
	for _, s := range all {
		if _, ok := ids[s.link]; !ok {
			ids[s.link] = uint32(len(ids))
			block(1, cat(le.AppendUint16(nil, uint16(s.link)), zeros(2), le.AppendUint32(nil, 262144)))
		}
	}
	for _, s := range all {
		body := le.AppendUint32(nil, ids[s.link])
		body = append(body, zeros(8)...)
		body = le.AppendUint32(le.AppendUint32(body, uint32(len(s.Data))), s.Length)
		body = append(body, s.Data...)
		block(6, append(body, zeros(-len(s.Data)&3)...))
	}
	return b
}

func one[T any](v T) []string { return []string{fmt.Sprint(v)} }

func hex(n int, v any) []string { return []string{fmt.Sprintf("0x%0*x", n, v)} }

func flag01(b bool) []string {
	return one(bool01(b))
}

// each turns a list into one of texts.
func each[T any](list []T) []string {
	var all []string
	for _, v := range list {
		all = append(all, fmt.Sprint(v))
	}
	return all
}

// addressesOf are those of all packets in each other, of one family.
func addressesOf(f *Frame, four bool, of func(Tunnel) netip.Addr) []string {
	var all []string
	for _, t := range append(slices.Clone(f.Tunnels), Tunnel{Src: f.Src, Dst: f.Dst}) {
		if a := of(t); a.IsValid() && a.Is4() == four && (f.ARP == nil || a != of(Tunnel{Src: f.Src, Dst: f.Dst})) {
			all = append(all, a.String())
		}
	}
	return all
}
