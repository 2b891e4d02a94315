//go:build linux

package main

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
)

// An answer is what capd gave for an alert.
type answer struct {
	file         string
	begun        time.Time // before the first packet
	since, until time.Time // packets of this time were asked for
}

// A packet is one of a flow that an alert was about.
type packet struct {
	at   time.Time
	data string
}

// scan reads all packets of a file, with a reader that shares no code with capd's, and gives those of the flows that alerts were about.
// It returns the time of the oldest packet.
func scan(path string, give func(id int, p packet)) (oldest time.Time, err error) {
	h, err := os.Open(path)
	if err != nil {
		return oldest, err
	}
	defer h.Close()
	r, err := pcapgo.NewNgReader(bufio.NewReaderSize(h, 1<<20), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		return oldest, fmt.Errorf("%s: %w", path, err)
	}
	for {
		data, info, err := r.ZeroCopyReadPacketData()
		if errors.Is(err, io.EOF) {
			return oldest, nil
		}
		if err != nil {
			return oldest, fmt.Errorf("%s: %w", path, err)
		}
		if oldest.IsZero() || info.Timestamp.Before(oldest) {
			oldest = info.Timestamp
		}
		if len(data) != alertSize || data[26] != 10 {
			continue
		}
		give(int(binary.BigEndian.Uint32(data[26:])&^(10<<24)), packet{info.Timestamp, string(data)})
	}
}

// A comparison is how many answers were compared with a scan of all files that are left.
type comparison struct {
	compared, gone, late int
	differ               []string
}

// compare compares the answers with what a scan of all files that limits have left finds.
func compare(recordings string, answers map[int]answer) (c comparison, err error) {
	files, err := filepath.Glob(filepath.Join(recordings, "*.pcapng"))
	if err != nil {
		return c, err
	}
	flows := make(map[int][]packet)
	var oldest time.Time
	for _, path := range files {
		first, err := scan(path, func(id int, p packet) { flows[id] = append(flows[id], p) })
		if err != nil {
			return c, err
		}
		if !first.IsZero() && (oldest.IsZero() || first.Before(oldest)) {
			oldest = first
		}
	}
	for id, a := range answers {
		if oldest.IsZero() || a.begun.Before(oldest) {
			c.gone++
			continue
		}
		var got []packet
		if _, err := scan(a.file, func(_ int, p packet) { got = append(got, p) }); err != nil {
			return c, err
		}
		inTime := func(p packet) bool { return !p.at.Before(a.since) && p.at.Before(a.until) }
		want := slices.DeleteFunc(slices.Clone(flows[id]), func(p packet) bool { return !inTime(p) })
		if len(want) < len(flows[id]) {
			c.late++
		}
		c.compared++
		if !equal(got, want) {
			c.differ = append(c.differ, fmt.Sprintf("alert %d: %d packets, and %d by a scan: %s", id, len(got), len(want), a.file))
		}
	}
	return c, nil
}

// equal reports whether the packets are the same, whatever the order of those with one time.
func equal(a, b []packet) bool {
	order := func(p, q packet) int { return cmp.Or(p.at.Compare(q.at), cmp.Compare(p.data, q.data)) }
	slices.SortFunc(a, order)
	slices.SortFunc(b, order)
	return slices.EqualFunc(a, b, func(p, q packet) bool { return order(p, q) == 0 })
}
