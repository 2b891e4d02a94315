package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"capd/store"
)

// A rotation knows which ledgers a directory has and which files they have lines
// of.
type rotation struct {
	present span
	old     []span // oldest first
	last    uint64 // highest number of an old ledger
	listed  bool   // last is known
}

// newRotation takes over what the history knows; it may be nil.
func newRotation(h *History) rotation {
	r := rotation{present: newSpan(FileName), listed: h != nil}
	if h == nil {
		return r
	}
	for _, s := range h.spans {
		if n, ok := parseOldName(s.ledger); ok {
			r.old, r.last = append(r.old, s), n
		} else {
			r.present = s
		}
	}
	return r
}

// rotate goes on in a new file when the present one is large. It is called when
// no line waits in memory, so that the present span is that of the lines in the
// file.
func (l *Ledger) rotate() error {
	if l.size < l.opt.RotateSize || l.elsewhere() != nil {
		return nil
	}
	if err := l.renamePresent(); err != nil {
		return fmt.Errorf("rotate ledger: %w", err)
	}
	if err := l.follow(); err != nil {
		return err
	}
	if err := store.SyncDirectory(l.dir); err != nil {
		return fmt.Errorf("rotate ledger: %w", err)
	}
	return l.anchor()
}

// renamePresent makes the present ledger an old one.
func (l *Ledger) renamePresent() error {
	if err := l.file.Sync(); err != nil {
		return err
	}
	if !l.rotation.listed {
		names, err := listNames(l.dir)
		if err != nil {
			return err
		}
		if old := oldNames(names); len(old) > 0 {
			l.rotation.last, _ = parseOldName(old[len(old)-1])
		}
		l.rotation.listed = true
	}
	name := oldName(l.rotation.last + 1)
	err := store.Rename(l.path(), filepath.Join(l.dir, name))
	if err != nil {
		l.rotation.listed = !errors.Is(err, fs.ErrExist) // if it exists, list again the next time
		return err
	}
	l.rotation.present.ledger = name
	l.rotation.old = append(l.rotation.old, l.rotation.present)
	l.rotation.last++
	l.rotation.present = newSpan(FileName)
	return nil
}

// Old returns the names of the old ledgers that RemoveSpent looks after, oldest
// first: those in Options.History, and those that the Ledger has rotated away since.
func (l *Ledger) Old() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, len(l.rotation.old))
	for i := range l.rotation.old {
		names[i] = l.rotation.old[i].ledger
	}
	return names
}

// RemoveSpent removes the old ledgers that are no longer needed and returns
// their names. First has the lowest sequence number of each lane that has a file
// in the directory, as store.Directory.First returns it.
func (l *Ledger) RemoveSpent(first map[store.Lane]uint64) ([]string, error) {
	l.mu.Lock()
	old := l.rotation.old
	l.mu.Unlock()
	all := spent(old, first)
	for i, name := range all {
		if err := l.announce(name); err != nil {
			return all[:i], err
		}
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return all[:i], fmt.Errorf("remove old ledger: %w", err)
		}
		l.mu.Lock()
		l.rotation.old = l.rotation.old[1:]
		l.mu.Unlock()
	}
	return all, nil
}

// OldName returns the name of the old ledger of that number.
func OldName(n uint64) string { return oldName(n) }

// Number returns the number of an old ledger.
func Number(name string) (uint64, bool) { return parseOldName(name) }

func oldName(n uint64) string { return fmt.Sprintf("ledger-%06d.jsonl", n) }

// parseOldName returns the number of an old ledger.
func parseOldName(s string) (uint64, bool) {
	digits, ok := strings.CutPrefix(s, "ledger-")
	digits, ok2 := strings.CutSuffix(digits, ".jsonl")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && ok2 && err == nil && oldName(n) == s
}

// oldNames returns those of the names that are of old ledgers, oldest first.
func oldNames(names []string) []string {
	var old []string
	for _, s := range names {
		if _, ok := parseOldName(s); ok {
			old = append(old, s)
		}
	}
	slices.SortFunc(old, func(a, b string) int {
		x, _ := parseOldName(a)
		y, _ := parseOldName(b)
		return cmp.Compare(x, y)
	})
	return old
}

func listNames(dir string) ([]string, error) {
	entries, err := store.Entries(dir)
	names := make([]string, len(entries)) // not nil: nil would ask nothing of the files
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}
