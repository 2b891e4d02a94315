//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The flow that is sought.
const (
	flowPackets = 100
	flowSize    = 1400
	expression  = "host 10.1.2.3 and host 10.9.8.7 and tcp port 40000"
	display     = "ip.addr == 10.1.2.3 && ip.addr == 10.9.8.7 && tcp.port == 40000" // the same for tshark
)

var (
	setBegin = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	setStep  = time.Minute // of time that a file has
)

// A fileLine is a line of the ledger.
type fileLine struct {
	V         int       `json:"v"`
	Kind      string    `json:"kind"`
	Time      time.Time `json:"time"`
	Name      string    `json:"name,omitempty"`
	Interface string    `json:"interface,omitempty"`
	Begin     time.Time `json:"begin,omitzero"`
	End       time.Time `json:"end,omitzero"`
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
	Packets   uint64    `json:"packets,omitempty"`
	Bytes     uint64    `json:"bytes,omitempty"`
	Size      uint64    `json:"size,omitempty"`
	Received  uint64    `json:"received,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Clean     bool      `json:"clean,omitempty"`
}

const ledgerName = "ledger.jsonl"

// makeSet makes the files and their ledger, unless they are there, and returns the paths of the captures. With bases, that many
// files and those with the flow are written, and the others are copies of them that share their blocks, where the file system can do
// that: all but the first block, which says by how much the times are later.
func makeSet(o *options) (paths []string, err error) {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	_, err = os.Stat(filepath.Join(o.dir, ledgerName))
	there := err == nil
	var ledger []byte
	add := func(l *fileLine) error {
		b, err := json.Marshal(l)
		ledger = append(append(ledger, b...), '\n')
		return err
	}
	if err := add(&fileLine{V: 1, Kind: "start", Time: setBegin}); err != nil {
		return nil, err
	}
	left := flowPackets
	var bases []*fileLine
	for n := range o.files {
		begin := setBegin.Add(time.Duration(n) * setStep)
		path := filepath.Join(o.dir, fmt.Sprintf("eth0-%s-%06d.pcapng", begin.Format("20060102T150405Z"), n+1))
		paths = append(paths, path)
		if there {
			continue
		}
		share := 0
		if each := o.files / o.parts; n%each == each/2 && left > 0 {
			share = min(left, (flowPackets+o.parts-1)/o.parts)
			left -= share
		}
		var l *fileLine
		if share == 0 && o.bases > 0 && len(bases) == o.bases {
			l, err = cloneFile(path, begin, filepath.Join(o.dir, bases[n%o.bases].Name), bases[n%o.bases])
		} else {
			l, err = makeFile(o, path, begin, uint64(n), share)
		}
		if err != nil {
			return nil, err
		}
		if share == 0 && len(bases) < o.bases {
			bases = append(bases, l)
		}
		if err := add(l); err != nil {
			return nil, err
		}
	}
	if there {
		return paths, nil
	}
	return paths, os.WriteFile(filepath.Join(o.dir, ledgerName), ledger, 0o644)
}

const (
	blockPacket = 6
	resolution  = 9  // times are in nanoseconds
	offsetAt    = 64 // of if_tsoffset in the file
)

// appendHeader appends a section header and an interface, whose times are later by the seconds of a moment.
func appendHeader(b []byte, begin time.Time) []byte {
	le := binary.LittleEndian
	u16 := func(all ...uint16) {
		for _, v := range all {
			b = le.AppendUint16(b, v)
		}
	}
	b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, 0x0a0d0d0a), 28), 0x1a2b3c4d)
	u16(1, 0)
	b = le.AppendUint32(le.AppendUint64(b, ^uint64(0)), 28)
	const size = 52
	b = le.AppendUint32(le.AppendUint32(b, 1), size)
	u16(1, 0)
	b = le.AppendUint32(b, 1<<18)
	u16(2, 4)
	b = append(b, "eth0"...)
	u16(9, 1)
	b = append(b, resolution, 0, 0, 0)
	u16(14, 8)
	b = le.AppendUint64(b, uint64(begin.Unix()))
	u16(0, 0)
	return le.AppendUint32(b, size)
}

// newLine returns the ledger's line of a file.
func newLine(path string, begin time.Time) *fileLine {
	end := begin.Add(setStep)
	return &fileLine{V: 1, Kind: "file", Time: end, Name: filepath.Base(path), Interface: "eth0",
		Begin: begin, End: end, First: begin, Reason: "interval", Clean: true}
}

// cloneFile makes a file that differs from another one in its times.
func cloneFile(path string, begin time.Time, from string, of *fileLine) (*fileLine, error) {
	src, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	h, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := unix.IoctlFileClone(int(h.Fd()), int(src.Fd())); err != nil {
		return nil, fmt.Errorf("share blocks of files, which XFS and Btrfs can: %w", err)
	}
	if _, err := h.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(begin.Unix())), offsetAt); err != nil {
		return nil, err
	}
	l := newLine(path, begin)
	l.Last = begin.Add(of.Last.Sub(of.First))
	l.Packets, l.Bytes, l.Size, l.Received = of.Packets, of.Bytes, of.Size, of.Received
	return l, os.Chtimes(path, l.End, l.End)
}

// makeFile makes a file of so many bytes, in which so many packets of the flow come in a burst.
func makeFile(o *options, path string, begin time.Time, seed uint64, share int) (*fileLine, error) {
	h, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	w := bufio.NewWriterSize(h, 1<<20)
	r := rand.New(rand.NewPCG(seed, 19))
	le := binary.LittleEndian
	head := appendHeader(nil, begin)
	_, _ = w.Write(head) // Flush says what failed
	l := newLine(path, begin)
	l.Size = uint64(len(head))
	step := setStep * 300 / time.Duration(o.size) // with room for packets that are smaller than they are on average
	frame := make([]byte, 1516)
	var block []byte
	put := func(size int, src, dst uint32, sport, dport uint16) {
		fillFrame(frame[:size], src, dst, sport, dport)
		after := time.Duration(l.Packets) * step
		l.Last = begin.Add(after)
		padded := (size + 3) &^ 3
		total := uint32(32 + padded)
		block = block[:0]
		for _, v := range []uint32{blockPacket, total, 0, uint32(after >> 32), uint32(after), uint32(size), uint32(size)} {
			block = le.AppendUint32(block, v)
		}
		clear(frame[size:padded])
		block = le.AppendUint32(append(block, frame[:padded]...), total)
		_, _ = w.Write(block)
		l.Packets++
		l.Bytes += uint64(size)
		l.Size += uint64(total)
	}
	burst := uint64(o.size) * uint64(10+r.IntN(80)) / 100
	for l.Size < uint64(o.size) {
		if share > 0 && l.Size >= burst {
			for i := range share {
				src, dst, sport, dport := uint32(0x0a010203), uint32(0x0a090807), uint16(40000), uint16(443)
				if i%2 == 1 {
					src, dst, sport, dport = dst, src, dport, sport
				}
				put(flowSize, src, dst, sport, dport)
			}
			share = 0
		}
		n := r.Uint32N(uint32(o.flows))
		size := []int{64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1514}[r.IntN(12)] // IMIX
		put(size, 0x0a020000+n, 0x0a030000+n%50, uint16(1024+n), 443)
	}
	l.Received = l.Packets
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if err := os.Chtimes(path, l.End, l.End); err != nil {
		return nil, err
	}
	return l, h.Sync()
}

// fillFrame makes a frame of TCP.
func fillFrame(b []byte, src, dst uint32, sport, dport uint16) {
	clear(b)
	be := binary.BigEndian
	copy(b, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45")
	be.PutUint16(b[16:], uint16(len(b)-14))
	b[22], b[23] = 64, 6
	be.PutUint32(b[26:], src)
	be.PutUint32(b[30:], dst)
	be.PutUint16(b[34:], sport)
	be.PutUint16(b[36:], dport)
	b[46], b[47] = 0x50, 0x10
}
