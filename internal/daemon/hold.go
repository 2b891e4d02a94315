package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/ledger"
	"capd/store"
)

// A chosen file is a file that a Selection selects.
type chosen struct {
	dir  *directory
	name store.Name
}

// path is the file's, in its present state.
func (c chosen) path() string {
	path, _ := c.dir.store.Locate(c.name)
	return path
}

// Hold keeps limits from deleting the selected files, across restarts, notes
// that in the ledgers, and returns the paths of the files.
func (d *Daemon) Hold(ctx context.Context, s control.Selection) ([]string, error) {
	if s.Holder != "" || s.For != "" {
		return nil, d.lease(s)
	}
	if s.Case != nil {
		return d.holdFor(ctx, s)
	}
	if s.All {
		return nil, control.Refused("hold: all files? Name them, or the time of what they hold")
	}
	files, err := d.choose(s)
	if err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	defer d.kept.forget()
	return each(ctx, files, ledger.KindHold, ledger.Hold, (*store.Directory).Hold)
}

// Release undoes Hold. What is held for a case stays, unless the case is released.
func (d *Daemon) Release(ctx context.Context, s control.Selection) ([]string, error) {
	if s.Holder != "" {
		return nil, d.lease(control.Selection{Holder: s.Holder})
	}
	if s.Case != nil {
		return d.releaseCase(ctx, s)
	}
	choose := d.choose
	if s.All {
		choose = d.held
	}
	files, err := choose(s)
	if err != nil {
		return nil, fmt.Errorf("release: %w", err)
	}
	if files, err = withoutCase(files, s.All); err != nil {
		return nil, fmt.Errorf("release: %w", err)
	}
	defer d.kept.forget()
	return each(ctx, files, ledger.KindRelease, ledger.Release, (*store.Directory).Release)
}

// lease holds files for a while, for one who renews that; without a time, no more.
func (d *Daemon) lease(s control.Selection) error {
	var lasts config.Duration
	switch {
	case s.Holder == "" || len(s.Holder) > 256 || len(s.Files) > 0 || s.Last != "" || !s.Until.IsZero() || s.Interface != "" || s.All:
		return control.Refused("hold: a lease has a holder, and since when and for how long")
	case s.For == "" && s.Since.IsZero():
	case lasts.Set(s.For) != nil || lasts <= 0 || time.Duration(lasts) > control.MaxLease || s.Since.IsZero():
		return control.Refused("hold: a lease has since when, and for %s at most", control.MaxLease)
	}
	defer d.kept.forget()
	var failed error
	for _, dir := range d.dirs.unique() {
		failed = errors.Join(failed, dir.store.Lease(s.Holder, s.Since, time.Duration(lasts)))
	}
	return failed
}

// each calls do for the files, and notes in the ledgers which of them it
// changed. A file that a limit has deleted in between is skipped, unless it is
// the only one.
func each(
	ctx context.Context, files []chosen, kind ledger.Kind, line func(store.Name) ledger.Entry, do func(*store.Directory, store.Name) (bool, error),
) ([]string, error) {
	var done []string
	for _, c := range files {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w after %d of %d files", kind, err, len(done), len(files))
		}
		changed, err := do(c.dir.store, c.name)
		if errors.Is(err, fs.ErrNotExist) && len(files) > 1 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		if changed {
			c.dir.ledger.note(line(c.name))
		}
		done = append(done, c.path())
	}
	return done, nil
}

// choose finds the files of a selection.
func (d *Daemon) choose(s control.Selection) ([]chosen, error) {
	timed := s.Last != "" || s.Bounded()
	switch {
	case timed == (len(s.Files) > 0), s.Last != "" && s.Bounded():
		return nil, control.Refused("name either files, how far back to go, as 10m, or since and until when")
	case !timed && s.Interface != "":
		return nil, control.Refused("files are named already: an interface goes with a time")
	case timed:
		return d.during(s)
	}
	var files []chosen
	for _, path := range s.Files {
		c, err := d.find(path)
		if err != nil {
			return nil, err
		}
		files = append(files, c)
	}
	return files, nil
}

// find finds a file by its path, or by its name in any directory.
func (d *Daemon) find(path string) (chosen, error) {
	name, _, err := store.Parse(filepath.Base(path))
	if err != nil {
		return chosen{}, control.Refused("%v", err)
	}
	place := filepath.Dir(path)
	for _, dir := range d.dirs.unique() {
		if (place == "." || sameDirectory(place, dir.path)) && dir.store.Has(name) {
			return chosen{dir, name}, nil
		}
	}
	return chosen{}, control.Refused("%s: there is no such file where this capd records", path)
}

func sameDirectory(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// during finds the files that hold what came of late, or between two times.
func (d *Daemon) during(s control.Selection) ([]chosen, error) {
	since, until := s.Since, s.Until
	if s.Last != "" {
		var last config.Duration
		if err := last.Set(s.Last); err != nil || last <= 0 {
			return nil, control.Refused("%q is not a time above 0, as 10m", s.Last)
		}
		since = time.Now().Add(-time.Duration(last))
	}
	if !until.IsZero() && !since.Before(until) {
		return nil, control.Refused("since %s is not before until %s", since.Format(time.RFC3339), until.Format(time.RFC3339))
	}
	return d.all(d.set.recordedAs(s.Interface, d.manager.interfaces.there()), func(d *store.Directory) []store.Name {
		return slices.DeleteFunc(d.Since(since), func(n store.Name) bool { return !until.IsZero() && !n.Start.Before(until) })
	})
}

// held finds the files that are held.
func (d *Daemon) held(s control.Selection) ([]chosen, error) {
	if s.Last != "" || s.Bounded() || len(s.Files) > 0 {
		return nil, control.Refused("name either files, a time, or all")
	}
	return d.all(d.set.recordedAs(s.Interface, d.manager.interfaces.there()), (*store.Directory).Held)
}

// all asks each directory for its files, and returns those of the interface; of
// the empty name, all. It lists them first: a file that has just begun may not be known yet.
func (d *Daemon) all(iface string, ask func(*store.Directory) []store.Name) ([]chosen, error) {
	var files []chosen
	for _, dir := range d.dirs.unique() {
		if err := dir.store.List(); err != nil {
			return nil, err
		}
		for _, n := range ask(dir.store) {
			if iface == "" || n.Interface == iface {
				files = append(files, chosen{dir, n})
			}
		}
	}
	return files, nil
}

// rotateLook is the time between two checks whether a rotation is complete.
const rotateLook = 10 * time.Millisecond

// RotateFiles ends the current files of an interface; of all interfaces if
// iface is empty. It waits until they have ended and returns the paths of those
// that still exist: a limit may have deleted one at once.
func (d *Daemon) RotateFiles(ctx context.Context, iface string) ([]string, error) {
	current, err := d.set.rotate(d.set.recordedAs(iface, d.manager.interfaces.there()))
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(rotateLook)
	defer tick.Stop()
	var done []string
	for m, name := range current {
		c := chosen{m.dir, name}
		for m.EndedSequence() < name.Sequence {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil, fmt.Errorf("rotate: %s is not finished yet", c.path())
			}
		}
		if path, there := c.dir.store.Locate(name); there {
			done = append(done, path)
		}
	}
	slices.Sort(done)
	d.kept.forget()
	return done, nil
}

// recordedAs returns the name by which an interface is recorded; the given name
// if no other name of it is.
func (s *set) recordedAs(name string, there links) string {
	by := name
	for _, m := range s.members() {
		if m.name() == name {
			return name
		}
		if link, ok := there[name]; ok && link.Named(m.name()) {
			by = m.name()
		}
	}
	return by
}

// rotate makes the recorders of the interface begin new files, and returns the
// present files.
func (s *set) rotate(iface string) (map[*member]store.Name, error) {
	current := make(map[*member]store.Name)
	known := iface == ""
	for _, m := range s.members() {
		if iface != "" && m.name() != iface {
			continue
		}
		known = true
		if name, ok := m.Recorder.Rotate(); ok {
			current[m] = name
		}
	}
	if !known {
		return nil, control.Refused("rotate: interface %s is not recorded", iface)
	}
	return current, nil
}
