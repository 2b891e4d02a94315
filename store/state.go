package store

import (
	"path/filepath"
	"strings"
)

// A State is the form in which a capture file exists in its directory. The suffix of the file's
// name expresses it.
type State uint8

// States.
const (
	Finished  State = iota // NAME: whole and on the disk
	Recording              // NAME.partial: not finished; a recorder is writing it or was interrupted
	Damaged                // NAME.damaged: corrupt in the middle, kept unchanged
	Zstd                   // NAME.zst: finished and compressed
	Gzip                   // NAME.gz: finished and compressed
	Flows                  // NAME.flows.parquet: the table of the flows of a finished file, compressed or not
	Packing                // NAME.zst.tmp, NAME.gz.tmp: a compressed file that is not verified yet; NAME.flows.parquet.tmp: a table that is not whole yet
	Deleting               // NAME.deleting, NAME.zst.deleting: a large file that is deleted step by step
	Hold                   // NAME.hold: protects NAME, in any state, from being deleted; see Case for what is in it
	Foreign                // any other suffix to a capture file's name: occupies the sequence number, and is left alone
	numStates
)

// Suffixes that are used in several places.
const (
	Partial    = ".partial"
	DamagedExt = ".damaged"
)

// table lists all suffixes that the name of a finished file may have.
var table = [numStates]struct {
	ext   string
	data  bool    // readers find whole packets in it
	above []State // states whose suffix may precede this one, besides Finished
}{
	Finished:  {"", true, nil},
	Recording: {Partial, false, nil},
	Damaged:   {DamagedExt, false, nil},
	Zstd:      {".zst", true, nil},
	Gzip:      {".gz", true, nil},
	Flows:     {".flows.parquet", false, nil},
	Packing:   {".tmp", false, []State{Zstd, Gzip, Flows}},
	Deleting:  {".deleting", false, []State{Zstd, Gzip, Flows}},
	Hold:      {".hold", false, []State{Zstd, Gzip, Recording, Damaged}},
}

// Ext returns the suffix, with its dot, that this state adds to the name of a finished file.
func (s State) Ext() string { return table[s].ext }

// HasData reports whether a file in this state is finished, so that readers find whole packets in
// it.
func (s State) HasData() bool { return table[s].data }

// WithData returns the states of finished files, the uncompressed one first.
func WithData() []State { return []State{Finished, Zstd, Gzip} }

// Companions returns the states of files that belong to a finished file, compressed or not: they are deleted with it.
func Companions() []State { return []State{Flows} }

// Cut removes the last suffix of a state from a path, which need not be that of a capture file. It
// returns the rest and the state.
func Cut(path string) (finished string, s State) {
	for s := Recording; s < Foreign; s++ {
		if finished, ok := strings.CutSuffix(path, table[s].ext); ok {
			return finished, s
		}
	}
	return path, Finished
}

// Parse parses the base name of a file in any of its states.
func Parse(base string) (Name, State, error) {
	n, err := ParseName(base)
	if err == nil {
		return n, Finished, nil
	}
	for s := Recording; s < Foreign; s++ {
		rest, ok := strings.CutSuffix(base, table[s].ext)
		if !ok {
			continue
		}
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
	for ext := filepath.Ext(base); ext != "" && ext != "."; ext = filepath.Ext(base) {
		base = strings.TrimSuffix(base, ext)
		if n, err := ParseName(base); err == nil {
			return n, Foreign, nil
		}
	}
	return Name{}, Foreign, err
}
