package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// unlisted returns lines for files that the last run finished just before it
// crashed, and that the ledger therefore lacks, but those of which a recorder
// that goes on has the report. Losses in them are unknown, so the lines are not
// clean.
func unlisted(d *store.Directory, history *ledger.History, reported map[string]bool) ([]ledger.Entry, error) {
	if history.Started.IsZero() {
		return nil, nil // there was no ledger
	}
	var lines []ledger.Entry
	for _, f := range d.Files() {
		name := f.Name.String()
		if !f.Is(store.Finished) || history.Files[name] || reported[name] {
			continue
		}
		path := filepath.Join(d.Path(), name)
		info, err := os.Lstat(path)
		if err != nil || info.ModTime().Before(history.Started.Add(-time.Second)) {
			continue
		}
		if line, err := describe(path, f.Name, info.Size()); err == nil {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// describe makes a line from the contents of a file.
func describe(path string, name store.Name, size int64) (ledger.Entry, error) {
	if name.Encrypted {
		return ledger.Entry{}, errors.New("what an encrypted file holds can't be counted without a key")
	}
	h, err := os.Open(path)
	if err != nil {
		return ledger.Entry{}, err
	}
	defer h.Close()
	s, err := pcap.Scan(h, size)
	if err != nil {
		return ledger.Entry{}, err
	}
	f := ledger.File{
		Name: name, Begin: name.Start, End: name.Start, First: s.First, Last: s.Last, Reason: ledger.ReasonSalvaged,
		Tally: ledger.Tally{Packets: s.Packets, Bytes: s.Bytes, Size: uint64(size), Received: s.Packets},
	}
	if len(s.Interfaces) > 0 {
		f.Link = pcap.CommonLinkType(s.Interfaces).String()
	}
	if s.Last.After(f.End) {
		f.End = s.Last
	}
	return f.Entry(), nil
}
