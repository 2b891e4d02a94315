package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"capd/internal/control"
	"capd/internal/holds"
	"capd/store"
)

// maxHeldAtOnce is how many files one order holds for a case.
const maxHeldAtOnce = 1000

// holdFor holds files of a directory for a case.
func (d *Daemon) holdFor(ctx context.Context, s control.Selection) ([]string, error) {
	switch {
	case s.Directory == "" || len(s.Files) == 0 || len(s.Files) > maxHeldAtOnce || s.Last != "" || s.Bounded() || s.Interface != "" || s.All:
		return nil, control.Refused("hold: for a case, name a directory and files of it, %d at most", maxHeldAtOnce)
	case store.CheckCase(s.Case.Name) != nil:
		return nil, control.Refused("hold: %v", store.CheckCase(s.Case.Name))
	}
	dir, err := d.recordsInto(s.Directory)
	if err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	names := make([]store.Name, len(s.Files))
	for i, f := range s.Files {
		if names[i], _, err = store.Parse(filepath.Base(f)); err != nil {
			return nil, control.Refused("hold: %v", err)
		}
	}
	defer d.kept.forget()
	done, err := holds.Hold(ctx, dir.store, names, caseOf(s.Case))
	return dir.changed(done), err
}

// withoutCase returns the files that can be released without a case. Of all files it leaves out the others, and of files that are
// named none.
func withoutCase(files []chosen, all bool) (some []chosen, err error) {
	for _, f := range files {
		switch h := f.dir.store.Holds(f.name); {
		case h.Plain || len(h.Cases) == 0:
			some = append(some, f)
		case !all:
			return nil, control.Refused("%s is held for the case %s, which is released as a whole: capd release --case %s", f.path(), h.Cases[0].Name, h.Cases[0].Name)
		}
	}
	return some, nil
}

// releaseCase releases the files that are held for a case.
func (d *Daemon) releaseCase(ctx context.Context, s control.Selection) (files []string, failed error) {
	if len(s.Files) > 0 || s.Last != "" || s.Bounded() || s.Interface != "" || s.All {
		return nil, control.Refused("release: a case is released as a whole")
	}
	dirs := d.dirs.unique()
	if s.Directory != "" {
		dir, err := d.recordsInto(s.Directory)
		if err != nil {
			return nil, fmt.Errorf("release: %w", err)
		}
		dirs = []*directory{dir}
	}
	defer d.kept.forget()
	for _, dir := range dirs {
		if err := dir.store.List(); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		done, err := holds.Release(ctx, dir.store, caseOf(s.Case))
		files, failed = append(files, dir.changed(done)...), errors.Join(failed, err)
	}
	return files, failed
}

func caseOf(c *control.Case) store.Case {
	return store.Case{Name: c.Name, Note: c.Note, UID: c.UID, User: c.User, Sudo: c.Sudo, Question: c.Question}
}

// recordsInto finds the directory at a path.
func (d *Daemon) recordsInto(path string) (*directory, error) {
	for _, dir := range d.dirs.unique() {
		if sameDirectory(path, dir.path) {
			return dir, nil
		}
	}
	return nil, control.Refused("%s: this capd does not record there", path)
}

// changed puts the lines of files that were held or released into the ledger, and returns the paths of the files.
func (d *directory) changed(r holds.Changed) (paths []string) {
	d.ledger.note(r.Lines...)
	for _, name := range r.Files {
		paths = append(paths, chosen{d, name}.path())
	}
	return paths
}
