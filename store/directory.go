package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// A File is what a directory holds of one capture file, in all its states.
type File struct {
	Name Name
	Held bool // a Hold keeps it from being deleted

	states uint16          // a bit for each state that it is in
	sizes  [Gzip + 1]int64 // bytes on disk by state; those behind Gzip count nowhere
}

// Is reports whether the file is in that state. It may be in several: a
// compressed file stands beside the original until that is removed.
func (f *File) Is(s State) bool { return f.states&(1<<s) != 0 }

// HasData reports whether the file is finished, compressed or not.
func (f *File) HasData() bool { return f.Is(Finished) || f.Is(Zstd) || f.Is(Gzip) }

// Size returns the bytes on disk of the finished file, compressed or not.
func (f *File) Size() int64 { return f.sizes[Finished] + f.sizes[Zstd] + f.sizes[Gzip] }

// Unfinished reports whether the file is being written, was left by a recorder
// that did not end in order, or is damaged, and the bytes that it has as such.
func (f *File) Unfinished() (size int64, ok bool) {
	return f.sizes[Recording] + f.sizes[Damaged], f.Is(Recording) || f.Is(Damaged)
}

func (f *File) set(s State, size int64) {
	f.states |= 1 << s
	if int(s) < len(f.sizes) {
		f.sizes[s] = size
	}
}

func (f *File) unset(s State) {
	f.states &^= 1 << s
	if int(s) < len(f.sizes) {
		f.sizes[s] = 0
	}
}

// A Directory knows what files a directory of recordings holds. It lists the
// directory once, when it is opened, and stays current from then on: code of capd
// that changes a file calls Add or Look, and Follow sees what other programs
// change. It is safe for use by several goroutines.
type Directory struct {
	path    string
	watched bool    // Follow asks the system for changes
	watcher watcher // that was made before the first listing; nil without one

	// mu guards what follows. It is held for moments only, never while the disk
	// works.
	mu         sync.Mutex
	files      map[string]*File // by the name of the finished file
	last       map[Lane]uint64  // highest sequence numbers, in whatever state the file was
	others     []string         // names that are no capture files', as of the last listing
	unreadable uint64           // entries that could not be asked for their size
	listing    int              // calls of List that have not returned
	touched    map[string]bool  // names of files that changed since the oldest of these began
	changed    chan struct{}    // closed and replaced at a change
}

// Open lists a directory. The caller holds its lock, unless it only reads.
func Open(path string) (*Directory, error) { return open(path, false) }

// OpenWatched is Open for a Directory that Follow will keep current: the system
// reports changes from before the listing on. Call Follow or Close afterwards.
func OpenWatched(path string) (*Directory, error) { return open(path, true) }

func open(path string, watched bool) (*Directory, error) {
	d := &Directory{
		path: path, watched: watched, files: make(map[string]*File), last: make(map[Lane]uint64), changed: make(chan struct{}),
	}
	if watched {
		d.watcher, _ = watch(path) // without one, Follow lists more often
	}
	if err := d.List(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close ends what OpenWatched began.
func (d *Directory) Close() {
	if d.watcher != nil {
		_ = d.watcher.close()
	}
}

// Path returns the path of the directory.
func (d *Directory) Path() string { return d.path }

// List lists the directory again, to see changes that nothing has reported.
func (d *Directory) List() error {
	d.mu.Lock()
	d.listing++
	if d.touched == nil {
		d.touched = make(map[string]bool)
	}
	d.mu.Unlock()
	found := listing{files: make(map[string]*File), last: make(map[Lane]uint64)}
	err := found.read(d.path)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.take(&found)
	}
	if d.listing--; d.listing == 0 {
		d.touched = nil
	}
	if err != nil {
		return fmt.Errorf("list directory %s: %w", d.path, err)
	}
	d.tell()
	return nil
}

// take takes a listing over, but for the files that changed while it was made.
// The caller holds mu.
func (d *Directory) take(found *listing) {
	for s := range d.touched {
		if f, ok := d.files[s]; ok {
			found.files[s] = f
		} else {
			delete(found.files, s)
		}
	}
	d.files, d.others, d.unreadable = found.files, found.others, d.unreadable+found.unreadable
	for lane, n := range found.last {
		d.last[lane] = max(d.last[lane], n)
	}
}

// A listing is what a directory holds.
type listing struct {
	files      map[string]*File
	last       map[Lane]uint64
	others     []string
	unreadable uint64
}

func (l *listing) read(dir string) error {
	h, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer h.Close()
	for {
		entries, err := h.ReadDir(4096)
		for _, e := range entries {
			l.add(e)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// add takes note of an entry. Links, directories and devices use a sequence
// number and are no files, but where a recorder's file should be: salvage says
// that it can do nothing with them.
func (l *listing) add(e fs.DirEntry) {
	name, state, err := Parse(e.Name())
	if err != nil {
		l.others = append(l.others, e.Name())
		return
	}
	l.last[name.Of()] = max(l.last[name.Of()], name.Sequence)
	regular := e.Type().IsRegular()
	if state == Foreign || !regular && state != Hold && state != Recording {
		return
	}
	size := int64(0)
	if regular && int(state) < len(File{}.sizes) {
		info, err := e.Info()
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				l.unreadable++
			}
			return
		}
		size = info.Size()
	}
	finished := e.Name()
	if state != Finished {
		finished = name.String()
	}
	file(l.files, finished, name).put(state, size)
}

// put notes that the file is in a state.
func (f *File) put(s State, size int64) {
	if s == Hold {
		f.Held = true
		return
	}
	f.set(s, size)
}

// file returns the file of that name, a new one if there is none.
func file(files map[string]*File, finished string, name Name) *File {
	f := files[finished]
	if f == nil {
		f = &File{Name: name}
		files[finished] = f
	}
	return f
}

// Add notes that a recorder finished a file, or that a finished one has another
// size now.
func (d *Directory) Add(name Name, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := file(d.files, name.String(), name)
	f.set(Finished, size)
	f.unset(Recording)
	d.last[name.Of()] = max(d.last[name.Of()], name.Sequence)
	d.touch(name.String())
	d.tell()
}

// Look looks at a file in all its states, after the caller has changed it.
func (d *Directory) Look(name Name) {
	base := name.String()
	for s := Finished; s < Foreign; s++ {
		d.LookAt(base + table[s].ext)
	}
	for _, above := range [...]State{Zstd, Gzip} {
		for _, s := range [...]State{Packing, Deleting} {
			d.LookAt(base + table[above].ext + table[s].ext)
		}
	}
}

// LookAt looks at the file of that name in the directory, whatever its state. It
// passes over names that are not capd's.
func (d *Directory) LookAt(base string) {
	name, state, err := Parse(base)
	if err != nil || state == Foreign {
		return
	}
	var there bool
	var size int64
	if state == Hold {
		there = d.IsHeld(name) // one of several may be gone
	} else if info, err := os.Lstat(filepath.Join(d.path, base)); err == nil {
		if there = info.Mode().IsRegular(); there {
			size = info.Size()
		}
		there = there || state == Recording // see listing.add
	} else if !errors.Is(err, fs.ErrNotExist) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.unreadable++
		return // nothing is known
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	finished := name.String()
	f := d.files[finished]
	if f == nil && !there {
		return
	}
	if f == nil {
		f = file(d.files, finished, name)
		d.last[name.Of()] = max(d.last[name.Of()], name.Sequence)
	}
	before := *f
	switch {
	case there:
		f.put(state, size)
	case state == Hold:
		f.Held = false
	default:
		f.unset(state)
	}
	if f.states == 0 && !f.Held {
		delete(d.files, finished)
	}
	d.touch(finished)
	grown := before
	grown.sizes[Recording] = f.sizes[Recording]
	if grown != *f { // that a file being written has grown is no news
		d.tell()
	}
}

// Forget notes that a file is gone.
func (d *Directory) Forget(name Name) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name.String())
	d.touch(name.String())
	d.tell()
}

// touch notes that a file has changed, so that a List that began before does not
// undo the change. The caller holds mu.
func (d *Directory) touch(finished string) {
	if d.touched != nil {
		d.touched[finished] = true
	}
}

// tell wakes the callers of Changed. The caller holds mu.
func (d *Directory) tell() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Changed returns a channel that is closed when anything changes after the call.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// Measure looks how large the files have become that are being written.
func (d *Directory) Measure() {
	d.mu.Lock()
	var growing []string
	for s, f := range d.files {
		if f.Is(Recording) {
			growing = append(growing, s+Partial)
		}
	}
	d.mu.Unlock()
	for _, s := range growing {
		d.LookAt(s)
	}
}

// All goes through the files, in no order. The directory is locked meanwhile: the
// loop's body must not call it, nor wait.
func (d *Directory) All() iter.Seq[*File] {
	return func(yield func(*File) bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, f := range d.files {
			if !yield(f) {
				return
			}
		}
	}
}

// Len returns how many files there are.
func (d *Directory) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.files)
}

// Files returns all files, in no order.
func (d *Directory) Files() []File {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]File, 0, len(d.files))
	for _, f := range d.files {
		all = append(all, *f)
	}
	return all
}

// File returns the file of that name, and whether there is one.
func (d *Directory) File(name Name) (File, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name.String()]; f != nil {
		return *f, true
	}
	return File{Name: name}, false
}

// Sequence returns the highest sequence number in use of a lane; 0 if there is
// none. A number stays in use when its file is deleted.
func (d *Directory) Sequence(lane Lane) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last[lane]
}

// First returns the lowest sequence number of each lane that has a file, in
// whatever state.
func (d *Directory) First() map[Lane]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := make(map[Lane]uint64)
	for _, f := range d.files {
		lane := f.Name.Of()
		if least, ok := first[lane]; !ok || f.Name.Sequence < least {
			first[lane] = f.Name.Sequence
		}
	}
	return first
}

// Used notes that a sequence number is in use.
func (d *Directory) Used(lane Lane, sequence uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[lane] = max(d.last[lane], sequence)
}

// Others returns the names in the directory that are no capture files', as of
// the last listing: ledgers among them.
func (d *Directory) Others() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.others)
}

// Unreadable returns how many entries could not be asked for their size so far.
func (d *Directory) Unreadable() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unreadable
}
