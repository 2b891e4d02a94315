package daemon

import (
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// unlisted returns lines for the files that the last run finished and did not
// live to tell the ledger of. What they lack is unknown, so they are not clean.
func unlisted(d *store.Directory) ([]ledger.Entry, error) {
	known := make(map[string]bool)
	var start time.Time // of the last run
	for e, err := range ledger.Read(d.Path(), nil) {
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
	var lines []ledger.Entry
	for _, f := range d.Files() {
		name := f.Name.String()
		if !f.Is(store.Finished) || known[name] {
			continue
		}
		path := filepath.Join(d.Path(), name)
		info, err := os.Lstat(path)
		if err != nil || info.ModTime().Before(start.Add(-time.Second)) {
			continue
		}
		if line, err := describe(path, f.Name, info.Size()); err == nil {
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
