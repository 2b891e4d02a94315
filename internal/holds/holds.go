// Package holds keeps files of a directory from being deleted by limits for cases, and lists what is held.
package holds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"capd/ledger"
	"capd/store"
)

// Changed is what came of holding or releasing files.
type Changed struct {
	Files []store.Name   // that are held for the case now, or were until now
	Lines []ledger.Entry // of those that were not held before, or were
}

// change does it for files, and makes their lines.
func (r *Changed) change(h *ledger.Holding, d *store.Directory, name store.Name, changed bool, line ledger.Entry) {
	r.Files = append(r.Files, name)
	if changed {
		r.Lines = append(r.Lines, h.OfFile(line))
		h.Files++
		h.Size += uint64(size(d, name))
	}
}

// size returns how many bytes a file has on the disk now.
func size(d *store.Directory, name store.Name) int64 {
	path, _ := d.Locate(name)
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Hold holds files for a case. Files that are not there any more are left out. After an error or the end of the context,
// the lines are of the files up to there.
func Hold(ctx context.Context, d *store.Directory, names []store.Name, c store.Case) (r Changed, err error) {
	if err := store.CheckCase(c.Name); err != nil {
		return r, err
	}
	if c.Since.IsZero() {
		c.Since = time.Now()
	}
	all := ledger.Holding{Case: c.Name, Note: c.Note, UID: c.UID, User: c.User, Sudo: c.Sudo, Question: c.Question}
	for _, name := range names {
		if err = ctx.Err(); err != nil {
			break
		}
		var changed bool
		switch changed, err = d.HoldFor(name, c); {
		case errors.Is(err, fs.ErrNotExist):
			err = nil
			continue
		case err == nil:
			r.change(&all, d, name, changed, ledger.Hold(name))
		}
		if err != nil {
			break
		}
	}
	if all.Files > 0 {
		r.Lines = append(r.Lines, all.Hold())
	}
	if err != nil {
		err = fmt.Errorf("hold: after %d of %d files: %w", len(r.Files), len(names), err)
	}
	return r, err
}

// Release ends all holds of the directory for a case. by says who asks.
func Release(ctx context.Context, d *store.Directory, by store.Case) (r Changed, err error) {
	all := ledger.Holding{Case: by.Name, UID: by.UID, User: by.User, Sudo: by.Sudo}
	for _, name := range d.Held() {
		if err = ctx.Err(); err != nil {
			break
		}
		var changed bool
		if changed, err = d.ReleaseCase(name, by.Name); err != nil {
			break
		}
		if changed {
			r.change(&all, d, name, true, ledger.Release(name))
		}
	}
	if all.Files > 0 {
		r.Lines = append(r.Lines, all.Release())
	}
	if err != nil {
		err = fmt.Errorf("release: after %d files: %w", len(r.Files), err)
	}
	return r, err
}

// A Group is what is held for one case, or without one.
type Group struct {
	Case      string    `json:"case,omitempty"`  // empty: without a case
	Since     time.Time `json:"since,omitzero"`  // when the first of the files was held
	By        []string  `json:"by,omitempty"`    // who held them
	Notes     []string  `json:"notes,omitempty"` // why
	Questions []string  `json:"questions,omitempty"`
	Files     []string  `json:"files"` // names that they have, or will have when they are finished
	Bytes     int64     `json:"bytes"`
}

// A Listing is what is held in a directory.
type Listing struct {
	Directory string   `json:"directory"`
	Files     int      `json:"held_files"` // each once, for how many cases it may be held
	Bytes     int64    `json:"held_bytes"`
	Groups    []*Group `json:"holds"` // by case; that without a case is the last
}

// List returns what is held in a directory; of one case, if it is not empty.
func List(d *store.Directory, only string) *Listing {
	l := &Listing{Directory: d.Path(), Groups: []*Group{}}
	groups := make(map[string]*Group)
	for _, name := range d.Held() {
		if !d.Has(name) {
			continue
		}
		l.add(groups, d, name, only)
	}
	l.Groups = slices.SortedFunc(maps.Values(groups), func(a, b *Group) int {
		if a.Case == "" || b.Case == "" {
			return strings.Compare(b.Case, a.Case)
		}
		return strings.Compare(a.Case, b.Case)
	})
	if l.Groups == nil {
		l.Groups = []*Group{}
	}
	return l
}

// add adds a file to the groups that hold it.
func (l *Listing) add(groups map[string]*Group, d *store.Directory, name store.Name, only string) {
	bytes, held := size(d, name), d.Holds(name)
	cases := held.Cases
	if held.Plain {
		cases = append(slices.Clip(cases), store.Case{})
	}
	counted := false
	for i := range cases {
		c := &cases[i]
		if only != "" && c.Name != only {
			continue
		}
		g := groups[c.Name]
		if g == nil {
			g = &Group{Case: c.Name}
			groups[c.Name] = g
		}
		g.add(c, name, bytes)
		if !counted {
			l.Files, l.Bytes, counted = l.Files+1, l.Bytes+bytes, true
		}
	}
}

// add adds a file that is held for the case.
func (g *Group) add(c *store.Case, name store.Name, bytes int64) {
	g.Files, g.Bytes = append(g.Files, name.String()), g.Bytes+bytes
	if c.Name == "" {
		return
	}
	if g.Since.IsZero() || c.Since.Before(g.Since) {
		g.Since = c.Since
	}
	by := cmp.Or(c.User, fmt.Sprint("uid ", c.UID))
	if c.Sudo != "" {
		by += ", sudo of " + c.Sudo
	}
	for to, s := range map[*[]string]string{&g.By: by, &g.Notes: c.Note, &g.Questions: c.Question} {
		if s != "" && !slices.Contains(*to, s) {
			*to = append(*to, s)
		}
	}
}
