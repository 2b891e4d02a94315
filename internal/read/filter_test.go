package read

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"capd/pcap"
)

// loopback returns a file with an IPv4 packet of BSD loopback, as a machine of the byte order writes it.
func loopback(format pcap.Format, order binary.ByteOrder) []byte {
	u16 := func(b []byte, n uint16) []byte { order.PutUint16(b, n); return b[:2:2] }
	u32 := func(n uint32) []byte { b := make([]byte, 4); order.PutUint32(b, n); return b }
	two := func(a, b uint16) []byte {
		return bytes.Join([][]byte{u16(make([]byte, 2), a), u16(make([]byte, 2), b)}, nil)
	}
	frame := append(u32(2), append([]byte{0x45}, make([]byte, 19)...)...)
	if format == pcap.PCAP {
		return bytes.Join([][]byte{u32(0xa1b2c3d4), two(2, 4), u32(0), u32(0), u32(65535), u32(0), u32(1), u32(0), u32(24), u32(24), frame}, nil)
	}
	return bytes.Join([][]byte{
		u32(0x0a0d0d0a), u32(28), u32(0x1a2b3c4d), two(1, 0), u32(0xffffffff), u32(0xffffffff), u32(28),
		u32(1), u32(20), two(0, 0), u32(0), u32(20),
		u32(6), u32(56), u32(0), u32(0), u32(1), u32(24), u32(24), frame, u32(56),
	}, nil)
}

// TestSwapped: the protocol family of BSD loopback is in the byte order of the machine that wrote the file.
func TestSwapped(t *testing.T) {
	for _, format := range []pcap.Format{pcap.PCAP, pcap.PCAPNG} {
		var both []byte
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			b := loopback(format, order)
			both = append(both, b...)
			for expr, want := range map[string]int{"ip": 1, "ip6": 0, "src host 0.0.0.0": 1} {
				if got := passing(t, b, expr); got != want {
					t.Errorf("%v, %v, %s: %d pass, want %d", format, order, expr, got, want)
				}
			}
		}
		if format == pcap.PCAPNG && passing(t, both, "ip") != 2 { // the order is that of the section
			t.Error("both byte orders in one file: not both pass")
		}
		target, err := New("x", bytes.NewReader(loopback(format, binary.BigEndian)), Options{}).Target()
		if err != nil || target.Swapped == nativeIsBig() {
			t.Errorf("%v: %+v, %v", format, target, err)
		}
	}
}

// passing returns how many packets of a file pass a filter.
func passing(t *testing.T, b []byte, expr string) (n int) {
	t.Helper()
	filter, src := NewFilter(expr), New("x", bytes.NewReader(b), Options{})
	for {
		p, err := src.Next()
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		ok, err := filter.Match(src, &p)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			n++
		}
	}
}

// TestTakesAll: only what lets every packet of every link type pass does.
func TestTakesAll(t *testing.T) {
	for expr, want := range map[string]bool{
		"": true, "len >= 0": true, "len > 5 or len <= 5": true, "1 = 1": true,
		"ip or not ip": false, "ether[9] >= 0": false, "len > 0": false, "ip": false, "nonsense": false,
	} {
		if got := NewFilter(expr).TakesAll(); got != want {
			t.Errorf("%q: %v", expr, got)
		}
	}
}
