package ledger

import (
	"errors"
	"time"

	"capd/store"
)

// A History is what the ledgers of a directory say of the runs before this one.
type History struct {
	Started time.Time       // when the last run began; zero if no run did
	Until   time.Time       // up to when the runs recorded, as far as lines say
	Files   map[string]bool // names of the files that have a line of KindFile

	// Checkpoints has the last checkpoint of each unfinished file by its name.
	// It leaves out those of another boot: what a file held then may never have
	// reached the disk.
	Checkpoints map[string]Entry

	// Failed has the lines of the files that ended and are not finished, by name.
	Failed map[string]Entry

	// Undigested has the names of files whose lines are sealed, and that had neither
	// a line of KindDigest nor one of their deletion.
	Undigested map[string]bool

	sealed  bool   // a line of KindSeal was read
	boot    string // the present one
	lastRun string // boot of the last run
	spans   []span // of the ledgers, in the order in which they were read
}

// Recall reads the ledgers of the directory once, and passes over lines that
// can't be read. Names are those in the directory, of ledgers and of other files. Boot
// is the id of the system's boot, empty if it is not known.
func Recall(dir string, names []string, boot string) (*History, error) {
	h := &History{
		Files: make(map[string]bool), Checkpoints: make(map[string]Entry), Failed: make(map[string]Entry), boot: boot,
		Undigested: make(map[string]bool),
	}
	opt := ReadOptions{
		Names:  append([]string{}, names...), // not nil: it lists nothing
		ledger: func(name string) { h.spans = append(h.spans, newSpan(name)) },
	}
	for e, err := range ReadWith(dir, opt) {
		var damage *LineError
		switch {
		case err == nil:
			h.add(&e)
		case !errors.As(err, &damage):
			return nil, err
		}
	}
	return h, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (h *History) add(e *Entry) {
	h.spans[len(h.spans)-1].add(e.Name)
	switch e.Kind {
	case KindFile, KindQuiet, KindCheckpoint:
		h.Until = later(h.Until, e.End)
	case KindStart, KindStop:
		h.Until = later(h.Until, e.Time)
	}
	switch e.Kind {
	case KindStart:
		h.Started, h.lastRun = e.Time, e.Boot
	case KindCheckpoint:
		boot := e.Boot
		if boot == "" {
			boot = h.lastRun // earlier versions of capd left it out
		}
		if boot == h.boot && boot != "" {
			h.Checkpoints[e.Name] = *e
		}
	case KindSalvaged:
		delete(h.Checkpoints, e.Name)
	case KindSeal:
		h.sealed = true
	case KindDigest, KindDeleting, KindDeleted:
		delete(h.Undigested, e.Name)
	case KindFile:
		h.Files[e.Name] = true
		if h.sealed {
			h.Undigested[e.Name] = true
		}
		delete(h.Checkpoints, e.Name)
		if e.Clean || e.Reason == ReasonSalvaged {
			delete(h.Failed, e.Name)
		} else {
			h.Failed[e.Name] = *e
		}
	}
}

// A span says which files a ledger has lines of: it is needed while one of
// them exists.
type span struct {
	ledger string                // its name
	last   map[store.Lane]uint64 // highest sequence numbers
}

func newSpan(name string) span { return span{name, make(map[store.Lane]uint64)} }

func (s *span) add(name string) {
	if n, err := store.ParseName(name); err == nil {
		s.last[n.Of()] = max(s.last[n.Of()], n.Sequence)
	}
}

// spent returns the names of the old ledgers that are no longer needed, given
// their spans, oldest first, and the lowest sequence number of each lane that has
// a file in the directory: no file is left that these ledgers have lines of. A
// ledger that is needed keeps all later ones, so that what is left has no hole.
func spent(spans []span, first map[store.Lane]uint64) []string {
	var all []string
	for _, span := range spans {
		for lane, last := range span.last {
			if least, ok := first[lane]; ok && least <= last {
				return all
			}
		}
		all = append(all, span.ledger)
	}
	return all
}
