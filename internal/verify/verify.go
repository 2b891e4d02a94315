// Package verify decides whether a directory of recordings is what its capd
// sealed: docs/seal.md says what that proves.
package verify

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"capd/seal"
	"capd/store"

	"golang.org/x/mod/sumdb/note"
)

// A Verdict is the result for a directory.
type Verdict string

// The verdicts.
const (
	Verified  Verdict = "VERIFIED"   // all that was asked for is as it was sealed
	NotProven Verdict = "NOT PROVEN" // nothing is known to be wrong, and not all is sealed
	Tampered  Verdict = "TAMPERED"   // something is not as it was sealed
)

// What a Finding is about.
const (
	Changed  = "changed"
	Cut      = "cut"
	Longer   = "longer"
	Swapped  = "swapped"
	Missing  = "missing"
	Inserted = "inserted"
	Moved    = "re-ordered"
	Forged   = "forged"
	Unsealed = "not sealed"
	Open     = "open end"
	Late     = "sealed late"
	Order    = "out of order"
)

// A Finding is something that is not as it was sealed, or not sealed.
type Finding struct {
	What  string `json:"what"`
	File  string `json:"file"`            // in the directory
	First int    `json:"first,omitempty"` // lines of a ledger, from 1 on
	Last  int    `json:"last,omitempty"`
	Why   string `json:"why"`
}

// String says it in a line.
func (f *Finding) String() string {
	where := f.File
	switch {
	case f.First > 0 && f.First == f.Last:
		where = fmt.Sprintf("%s:%d", f.File, f.First)
	case f.First > 0:
		where = fmt.Sprintf("%s:%d-%d", f.File, f.First, f.Last)
	}
	return fmt.Sprintf("%s: %s: %s", where, f.What, f.Why)
}

// A Report is what was found in a directory.
type Report struct {
	Directory   string         `json:"directory"`
	Origin      string         `json:"origin,omitempty"` // name of the log
	Verdict     Verdict        `json:"verdict"`
	From        time.Time      `json:"from,omitzero"`  // time of the first checkpoint
	Until       time.Time      `json:"until,omitzero"` // time of the last checkpoint: up to here all lines are proven
	Checkpoints int            `json:"checkpoints"`
	Lines       int64          `json:"lines"`   // that are proven
	Epoch       uint64         `json:"epoch"`   // of the last checkpoint
	Files       int            `json:"files"`   // that are what was sealed
	Bytes       int64          `json:"bytes"`   // of these, as they were recorded
	Deleted     int            `json:"deleted"` // files that limits have deleted, as sealed lines say
	Clocks      map[string]int `json:"clocks"`  // checkpoints by what was said of the system clock: synchronised, not synchronised, unknown
	Tampered    []Finding      `json:"tampered"`
	Unproven    []Finding      `json:"unproven"`
	Sealings    []Sealing      `json:"sealed"` // when the files that are as they were sealed were
	Live        bool           `json:"live"`   // capd records into the directory
}

// A Sealing says since when a file is proven to be what it is. Before that there is only the word of who had the key.
type Sealing struct {
	File     string    `json:"file"`      // in the directory
	End      time.Time `json:"end"`       // of the file, as its line says
	SealedAt time.Time `json:"sealed_at"` // time of the first checkpoint that has the digest of its bytes
	Late     bool      `json:"late,omitempty"`
}

// Options say what to verify.
type Options struct {
	Keys         []string        // verification keys; that with the name of the directory's log counts
	Only         map[string]bool // names of files in the directory; nil: all
	Since, Until time.Time       // files with any time in between; zero: no bound

	Begin func(bytes int64) // is called with the bytes that will be read besides those before
	Read  func(n int)       // is called with what was read
}

// ErrNothing says that a directory has nothing that is sealed.
var ErrNothing = errors.New("nothing in it is sealed")

// ErrOtherKey says that none of the keys is of the directory's log.
var ErrOtherKey = errors.New("no key that was given is of this directory")

// Directory verifies a directory of recordings.
func Directory(dir string, opt Options) (*Report, error) {
	r := &Report{Directory: dir, Clocks: make(map[string]int), Tampered: []Finding{}, Unproven: []Finding{}, Sealings: []Sealing{}}
	if opt.Begin == nil {
		opt.Begin = func(int64) {}
	}
	if opt.Read == nil {
		opt.Read = func(int) {}
	}
	r.Live, _ = store.InUse(dir)
	entries, err := os.ReadDir(dir) // before the ledger: what comes in between has lines
	if err != nil {
		return nil, err
	}
	w := &walk{Report: r, opt: &opt, record: newRecord(), keys: make(map[uint64]string), logs: make(map[string]bool)}
	if err := w.readChain(dir); err != nil {
		return nil, err
	}
	if err := w.ledgers(dir); err != nil {
		return nil, err
	}
	switch {
	case !w.ours && w.named != "":
		return nil, fmt.Errorf("%s: %w: it is sealed by %q", dir, ErrOtherKey, w.named)
	case !w.ours && len(w.chain) == 0:
		return nil, fmt.Errorf("%s: %w", dir, ErrNothing)
	}
	w.finish(entries)
	f := &files{walk: w, dir: dir, entries: entries}
	if err := f.verify(); err != nil {
		return nil, err
	}
	r.judge()
	return r, nil
}

// judge makes the verdict.
func (r *Report) judge() {
	r.Verdict = Verified
	switch {
	case len(r.Tampered) > 0:
		r.Verdict = Tampered
	case r.Checkpoints == 0 || slices.ContainsFunc(r.Unproven, func(f Finding) bool { return !r.Live || f.What != Open }):
		r.Verdict = NotProven
	}
}

func (r *Report) tampered(what, file string, format string, args ...any) {
	r.Tampered = append(r.Tampered, Finding{What: what, File: file, Why: fmt.Sprintf(format, args...)})
}

func (r *Report) unproven(what, file string, format string, args ...any) {
	r.Unproven = append(r.Unproven, Finding{What: what, File: file, Why: fmt.Sprintf(format, args...)})
}

// A cert is the last checkpoint of an epoch, in the chain.
type cert struct {
	signed string
	*seal.Checkpoint
}

// readChain reads the chain of keys and follows it as far as signatures lead.
func (w *walk) readChain(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, seal.ChainName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	notes, err := seal.ReadChain(b)
	if err != nil {
		w.tampered(Changed, seal.ChainName, "line %d is no signed checkpoint", len(notes)+1)
	}
	for i, signed := range notes {
		c, err := seal.Peek(signed)
		if err != nil {
			w.tampered(Changed, seal.ChainName, "line %d: %v", i+1, err)
			break
		}
		w.chain = append(w.chain, cert{signed, c})
	}
	w.followChain()
	return nil
}

// followChain finds out the keys of the epochs from the one whose key was given.
func (w *walk) followChain() {
	for i := range w.chain {
		c := &w.chain[i]
		if given := w.given(c.Origin); len(w.keys) == 0 {
			if key := signer(c.signed, given); key != "" {
				w.keys[c.Epoch] = key
			} else if slices.Contains(given, c.Next) {
				w.keys[c.Epoch+1] = c.Next
				continue
			}
		}
		key := w.keys[c.Epoch]
		switch {
		case key == "" && len(w.keys) == 0:
			continue // of an epoch before the one whose key was given, if one leads there
		case key == "" || i > 0 && c.Epoch != w.chain[i-1].Epoch+1:
			w.tampered(Missing, seal.ChainName, "line %d is of epoch %d, which does not follow the one before", i+1, c.Epoch)
			w.chain = w.chain[:i]
			return
		}
		if _, err := seal.Verify(c.signed, key); err != nil || c.Next == "" {
			w.tampered(Forged, seal.ChainName, "line %d: the key of epoch %d has not signed it", i+1, c.Epoch)
			w.chain = w.chain[:i]
			return
		}
		w.keys[c.Epoch+1] = c.Next
	}
}

// given returns the keys that were given for the log of that name.
func (w *walk) given(origin string) (keys []string) {
	for _, key := range w.opt.Keys {
		if v, err := note.NewVerifier(key); err == nil && v.Name() == origin {
			keys = append(keys, key)
		}
	}
	return keys
}

// signer returns which of the keys has signed the checkpoint; empty: none.
func signer(signed string, keys []string) string {
	for _, key := range keys {
		if _, err := seal.Verify(signed, key); err == nil {
			return key
		}
	}
	return ""
}

// sortFindings puts findings into the order of their places.
func sortFindings(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.First, b.First))
	})
}
