package daemon

import (
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// unlisted returns lines for the files that the last run finished and did not
// live to tell the ledger of. What they lack is unknown, so they are not clean.
func unlisted(path string) ([]ledger.Entry, error) {
	known := make(map[string]bool)
	var start time.Time // of the last run
	for e, err := range ledger.Read(path, nil) {
		if line := (*ledger.LineError)(nil); err != nil && !errors.As(err, &line) {
			return nil, err
		}
		switch e.Kind {
		case ledger.KindFile:
			known[e.Name] = true
		case ledger.KindStart:
			start = e.Time
		}
	}
	if start.IsZero() {
		return nil, nil // no run kept a ledger here
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	var lines []ledger.Entry
	for _, e := range entries {
		name, err := store.ParseName(e.Name())
		if err != nil || known[e.Name()] {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || info.ModTime().Before(start.Add(-time.Second)) {
			continue
		}
		if line, err := describe(filepath.Join(path, e.Name()), name, info.Size()); err == nil {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// describe reads what a file says of itself.
func describe(path string, name store.Name, size int64) (ledger.Entry, error) {
	h, err := os.Open(path)
	if err != nil {
		return ledger.Entry{}, err
	}
	defer h.Close()
	s, err := pcap.Scan(h, size)
	if err != nil {
		return ledger.Entry{}, err
	}
	e := ledger.Entry{
		Kind: ledger.KindFile, Name: name.String(), Interface: name.Interface, Clock: "system",
		Begin: name.Start, End: name.Start, First: s.First, Last: s.Last, Reason: ledger.ReasonSalvaged,
		Tally: ledger.Tally{Packets: s.Packets, Bytes: s.Bytes, Size: uint64(size), Received: s.Packets},
	}
	if len(s.Interfaces) > 0 {
		e.Link = s.Interfaces[0].LinkType.String()
	}
	if s.Last.After(e.End) {
		e.End = s.Last
	}
	return e, nil
}
