// Package testrecord makes directories of recordings, as capd leaves them, for tests.
package testrecord

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"capd/internal/index"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// Noon is when recordings begin.
var Noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// A Frame is a packet of a recording.
type Frame struct {
	At   time.Time
	Data []byte
}

// A File is one of a recording, and what is to be said of it.
type File struct {
	Interface  string // empty: eth0
	Begin, End time.Time
	Frames     []Frame
	Lost       uint64 // by the kernel, while it was recorded
	Deleted    bool   // by a limit
	Held       bool
	Damaged    bool
	Untabled   bool // it gets no flow table
}

// Write makes the files, their flow tables and the ledger.
func Write(dir string, files []File, more ...ledger.Entry) error {
	lines := append([]ledger.Entry{ledger.Start(ledger.Run{Software: "test"})}, more...)
	lines[0].Time = Noon
	var built []index.Built
	for n := range files {
		f := &files[n]
		name := f.name(n)
		image, line := f.image(name)
		lines = append(lines, line)
		if f.Deleted {
			lines = append(lines, ledger.Deleted(name, int64(len(image)), "retain_bytes"))
			continue
		}
		path := filepath.Join(dir, name.String())
		if f.Damaged {
			path += store.Damaged.Ext()
		}
		if err := os.WriteFile(path, image, 0o600); err != nil {
			return err
		}
		if f.Held {
			if err := os.WriteFile(path+store.Hold.Ext(), nil, 0o600); err != nil {
				return err
			}
		}
		if f.Untabled || f.Damaged {
			continue
		}
		b, err := index.Build(context.Background(), path, false, nil)
		if err != nil {
			return err
		}
		built = append(built, b)
	}
	if err := index.Catalogue(dir, built); err != nil {
		return err
	}
	var b []byte
	for _, e := range lines {
		b = e.AppendLine(b, Noon.Add(24*time.Hour))
	}
	return os.WriteFile(filepath.Join(dir, ledger.FileName), b, 0o600)
}

func (f *File) name(n int) store.Name {
	iface := f.Interface
	if iface == "" {
		iface = "eth0"
	}
	return store.Name{Interface: iface, Format: pcap.PCAPNG, Start: f.Begin, Sequence: uint64(n + 1)}
}

// image returns the bytes of the file, and its line in the ledger.
func (f *File) image(name store.Name) ([]byte, ledger.Entry) {
	slices.SortStableFunc(f.Frames, func(a, b Frame) int { return a.At.Compare(b.At) })
	l := ledger.File{Name: name, Link: "ETHERNET", Begin: f.Begin, End: f.End, Reason: ledger.ReasonInterval, Clean: true}
	enc := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, LinkType: pcap.LinkTypeEthernet, Interface: name.Interface, Application: "test"})
	b, record := enc.Header(), make([]byte, enc.MaxRecord())
	for i := range f.Frames {
		fr := &f.Frames[i]
		n, _ := enc.Encode(record, []pcap.Packet{{Data: fr.Data, Length: uint32(len(fr.Data)), Sec: uint32(fr.At.Unix()), Nsec: uint32(fr.At.Nanosecond())}})
		b = append(b, record[:n]...)
		l.Packets, l.Bytes, l.Last = l.Packets+1, l.Bytes+uint64(len(fr.Data)), fr.At
		if l.First.IsZero() {
			l.First = fr.At
		}
	}
	b = enc.Trailer(b, pcap.Statistics{})
	l.Received, l.Size, l.KernelDropped = l.Packets+f.Lost, uint64(len(b)), f.Lost
	return b, l.Entry()
}

// TCP returns a frame of a connection, with a payload.
func TCP(from, to netip.AddrPort, flags byte, seq uint32, payload []byte) []byte {
	be := binary.BigEndian
	b := be.AppendUint16(be.AppendUint16(nil, from.Port()), to.Port())
	b = be.AppendUint32(be.AppendUint32(b, seq), 1)
	b = append(b, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
	return ethernet(from.Addr(), to.Addr(), 6, 16, append(b, payload...))
}

// UDP returns a datagram in a frame.
func UDP(from, to netip.AddrPort, payload []byte) []byte {
	be := binary.BigEndian
	b := be.AppendUint16(be.AppendUint16(nil, from.Port()), to.Port())
	b = append(be.AppendUint16(b, uint16(8+len(payload))), 0, 0)
	return ethernet(from.Addr(), to.Addr(), 17, 6, append(b, payload...))
}

// DNS returns the payload of a question for an address.
func DNS(id uint16, labels ...string) []byte {
	b := append(binary.BigEndian.AppendUint16(nil, id), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for _, l := range labels {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0, 0, 1, 0, 1)
}

// ethernet puts what a protocol of IP has into a frame, and its checksum at an offset of it.
func ethernet(from, to netip.Addr, proto byte, sum int, body []byte) []byte {
	be := binary.BigEndian
	pseudo := slices.Concat(from.AsSlice(), to.AsSlice(), []byte{0, proto}, be.AppendUint16(nil, uint16(len(body))))
	be.PutUint16(body[sum:], checksum(append(pseudo, body...)))
	head := append([]byte{0x45, 0}, be.AppendUint16(nil, uint16(20+len(body)))...)
	head = slices.Concat(append(head, 0, 1, 0x40, 0, 64, proto, 0, 0), from.AsSlice(), to.AsSlice())
	be.PutUint16(head[10:], checksum(head))
	a, z := from.As4(), to.As4()
	return slices.Concat([]byte{2, 0, 0, 0, 0, z[3], 2, 0, 0, 0, 0, a[3], 8, 0}, head, body)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		sum += uint32(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// Office returns the recording of a quarter of an hour in a small network, in which much goes wrong: packets of minute 3 are lost, nothing
// is recorded in minute 9, a limit has deleted minute 0, minute 5 is held and minute 12 damaged.
func Office() ([]File, []ledger.Entry) {
	var files []File
	for m := range 15 {
		begin := Noon.Add(time.Duration(m) * time.Minute)
		if m == 9 {
			continue
		}
		f := File{Begin: begin, End: begin.Add(time.Minute), Deleted: m == 0, Held: m == 5, Damaged: m == 12}
		if m == 3 {
			f.Lost = 42
		}
		f.Frames = minute(m, begin)
		files = append(files, f)
	}
	gap := Noon.Add(9 * time.Minute)
	return files, []ledger.Entry{ledger.GapClosed(ledger.GapOpened("eth0", gap, ledger.CauseDown), gap.Add(time.Minute), 0)}
}

func minute(m int, begin time.Time) (all []Frame) {
	server, resolver := netip.MustParseAddrPort("203.0.113.10:443"), netip.MustParseAddrPort("192.0.2.53:53")
	for c := range 6 {
		host := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + c)})
		port := uint16(40000 + 100*m + c)
		at := begin.Add(time.Duration(c*9+1) * time.Second)
		add := func(after time.Duration, b []byte) { all = append(all, Frame{at.Add(after), b}) }
		add(0, UDP(netip.AddrPortFrom(host, port), resolver, DNS(port, fmt.Sprintf("host%d", c), "example", "net")))
		from := netip.AddrPortFrom(host, port)
		add(20*time.Millisecond, TCP(from, server, 0x02, 0, nil))
		add(21*time.Millisecond, TCP(server, from, 0x12, 0, nil))
		for i := range 3 + (m*7+c*5)%23 {
			add(time.Duration(30+3*i)*time.Millisecond, TCP(server, from, 0x18, uint32(1+i*600), slices.Repeat([]byte{byte(i)}, 600)))
		}
		add(400*time.Millisecond, TCP(from, server, 0x11, 1, nil))
	}
	return all
}
