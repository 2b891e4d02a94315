package store

import (
	"path/filepath"
	"strings"
)

// A State says in what form a capture file is in its directory. What stands
// behind the file's name says which.
type State uint8

// States.
const (
	Finished  State = iota // NAME: whole and on the disk
	Recording              // NAME.partial: not finished, by a recorder that runs or by one that did not end in order
	Damaged                // NAME.damaged: corrupt in the middle, kept as it was found
	Zstd                   // NAME.zst: finished and compressed
	Gzip                   // NAME.gz: the same
	Packing                // NAME.zst.tmp, NAME.gz.tmp: a compressed file that is not verified yet
	Deleting               // NAME.deleting, NAME.zst.deleting: a large file that is deleted step by step
	Hold                   // NAME.hold: an empty file that keeps NAME, in whatever form, from being deleted
	Foreign                // anything else behind a name of capd's: it uses the sequence number, and is left alone
	numStates
)

// Ends of names that are written in several places.
const (
	Partial    = ".partial"
	DamagedExt = ".damaged"
)

// table is the one place that knows what may stand behind the name of a
// finished file.
var table = [numStates]struct {
	ext   string
	data  bool    // a reader finds whole packets in it
	above []State // that may stand before this end of a name, beside Finished
}{
	Finished:  {"", true, nil},
	Recording: {Partial, false, nil},
	Damaged:   {DamagedExt, false, nil},
	Zstd:      {".zst", true, nil},
	Gzip:      {".gz", true, nil},
	Packing:   {".tmp", false, []State{Zstd, Gzip}},
	Deleting:  {".deleting", false, []State{Zstd, Gzip}},
	Hold:      {".hold", false, []State{Zstd, Gzip, Recording, Damaged}},
}

// Ext returns what stands behind the name of a finished file in this state, with
// its dot.
func (s State) Ext() string { return table[s].ext }

// HasData reports whether a file in this state is finished: a reader finds whole
// packets in it.
func (s State) HasData() bool { return table[s].data }

// WithData are the states of finished files, that of one that is not compressed
// first.
func WithData() []State { return []State{Finished, Zstd, Gzip} }

// Cut cuts what stands behind the name of a finished file, whoever's it is, and
// returns the state that this says. It looks at the last end alone.
func Cut(path string) (finished string, s State) {
	ext := filepath.Ext(path)
	for s := Recording; s < Foreign; s++ {
		if table[s].ext == ext {
			return strings.TrimSuffix(path, ext), s
		}
	}
	return path, Finished
}

// Parse parses the name of a file in a directory, in any of its states. Base
// names it without the directory.
func Parse(base string) (Name, State, error) {
	n, err := ParseName(base)
	if err == nil {
		return n, Finished, nil
	}
	ext := filepath.Ext(base)
	for s := Recording; s < Foreign; s++ {
		if table[s].ext != ext {
			continue
		}
		rest := strings.TrimSuffix(base, ext)
		if n, err := ParseName(rest); err == nil && s != Packing {
			return n, s, nil
		}
		for _, above := range table[s].above {
			if finished, ok := strings.CutSuffix(rest, table[above].ext); ok {
				if n, err := ParseName(finished); err == nil {
					return n, s, nil
				}
			}
		}
	}
	for ext != "" && ext != "." {
		base = strings.TrimSuffix(base, ext)
		if n, err := ParseName(base); err == nil {
			return n, Foreign, nil
		}
		ext = filepath.Ext(base)
	}
	return Name{}, Foreign, err
}
