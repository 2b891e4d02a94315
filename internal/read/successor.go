package read

import (
	"io/fs"
	"path/filepath"

	"capd/store"
)

// A Successor is the file that was recorded after another, of the same interface
// and lane.
type Successor struct {
	Path    string // empty: there is none yet
	Missing uint64 // files between the two that are not there any more
}

// Next looks for the file after the named one, which need not be there any more.
// It is what there is of it: finished, compressed, being written or damaged. The
// name must be one of capd's.
func Next(path string) (Successor, error) {
	after, _, err := store.Parse(filepath.Base(path))
	if err != nil {
		return Successor{}, err
	}
	dir := filepath.Dir(path)
	entries, err := store.Entries(dir)
	if err != nil {
		return Successor{}, err
	}
	name, missing := successor(entries, after)
	if name != "" {
		name = filepath.Join(dir, name)
	}
	return Successor{name, missing}, nil
}

// preference says which of the states of a file is read. Those that are not here
// are none to be read.
var preference = map[store.State]int{store.Finished: 5, store.Zstd: 4, store.Gzip: 3, store.Recording: 2, store.Damaged: 1}

// successor chooses among the names in a directory.
func successor(entries []fs.DirEntry, after store.Name) (next string, missing uint64) {
	var sequence uint64
	var best int
	for _, e := range entries {
		s := e.Name()
		n, state, err := store.Parse(s)
		rank := preference[state]
		if err != nil || rank == 0 || n.Of() != after.Of() || n.Sequence <= after.Sequence {
			continue
		}
		if next == "" || n.Sequence < sequence || n.Sequence == sequence && rank > best {
			next, sequence, best = s, n.Sequence, rank
		}
	}
	if next == "" {
		return "", 0
	}
	return next, sequence - after.Sequence - 1
}
