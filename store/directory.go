package store

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// A File describes one capture file of a directory, in all the states in which it exists.
type File struct {
	Name Name
	Held bool // a Hold keeps it from being deleted

	states uint16           // one bit per state
	sizes  [Flows + 1]int64 // bytes on disk by state; the states after Flows are not counted
}

// Is reports whether the file exists in that state. It may exist in several: the compressed file
// and the original coexist until the original is removed.
func (f *File) Is(s State) bool { return f.states&(1<<s) != 0 }

// HasData reports whether the file is finished, compressed or not.
func (f *File) HasData() bool { return f.Is(Finished) || f.Is(Zstd) || f.Is(Gzip) }

// Size returns the bytes on disk of the finished file, compressed or not, and of its companions.
func (f *File) Size() int64 {
	return f.sizes[Finished] + f.sizes[Zstd] + f.sizes[Gzip] + f.sizes[Flows]
}

// Unfinished reports whether the file is being written, was left by an interrupted recorder, or is
// damaged. size is its size in these states.
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

// A Directory is an index of the files in a directory of recordings. It lists the directory when it
// is opened. After that, code of capd that changes a file calls Add, Look or Forget, and Follow
// observes the changes of other programs. It is safe for use by several goroutines.
type Directory struct {
	path    string
	watched bool    // Follow asks the system for changes
	watcher watcher // created before the first listing; nil if changes can't be watched
	leases  leases
	holding sync.Mutex // held while a hold file is changed

	// mu guards the fields below. It is never held during disk operations.
	mu         sync.Mutex
	files      map[string]*File // by the name of the finished file
	last       map[Lane]uint64  // highest sequence numbers, of files in any state
	others     []string         // names that are not capture files', from the last listing
	unreadable uint64           // entries whose size could not be read
	listing    int              // calls of List that have not returned
	touched    map[string]bool  // names of files that changed since the oldest of these calls began
	changed    chan struct{}    // closed and replaced at each change
}

// Open lists a directory. The caller holds the directory's lock, unless it only reads.
func Open(path string) (*Directory, error) { return open(path, false) }

// OpenWatched is Open for a Directory that will be followed: it watches for changes from before the
// listing on. Call Follow or Close afterwards.
func OpenWatched(path string) (*Directory, error) { return open(path, true) }

func open(path string, watched bool) (*Directory, error) {
	d := &Directory{
		path: path, watched: watched, files: make(map[string]*File), last: make(map[Lane]uint64), changed: make(chan struct{}),
	}
	if watched {
		d.watcher, _ = watch(path) // without a watcher, Follow lists more often
	}
	if err := d.List(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close ends the watching that OpenWatched began.
func (d *Directory) Close() {
	if d.watcher != nil {
		_ = d.watcher.close()
	}
}

// Path returns the path of the directory.
func (d *Directory) Path() string { return d.path }

// List lists the directory again, to find changes that were not reported.
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
		d.replace(&found)
	}
	if d.listing--; d.listing == 0 {
		d.touched = nil
	}
	if err != nil {
		return fmt.Errorf("list directory %s: %w", d.path, err)
	}
	d.notify()
	return nil
}

// replace replaces the index by a listing, except for files that changed while the listing was made.
// The caller holds mu.
func (d *Directory) replace(found *listing) {
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

// A listing is the content of a directory.
type listing struct {
	files      map[string]*File
	last       map[Lane]uint64
	others     []string
	unreadable uint64
}

func (l *listing) read(dir string) error {
	entries, _, err := readOnce(dir) // who renames files while the directory is listed calls Look
	for _, e := range entries {
		l.add(e)
	}
	return err
}

// add adds an entry. A link, directory or device occupies its sequence number but is not a capture file,
// except under the name of an unfinished file: salvage then reports that it can't process it.
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

// put adds a state to the file.
func (f *File) put(s State, size int64) {
	if s == Hold {
		f.Held = true
		return
	}
	f.set(s, size)
}

// file returns the file of that name, and creates it if there is none.
func file(files map[string]*File, finished string, name Name) *File {
	f := files[finished]
	if f == nil {
		f = &File{Name: name}
		files[finished] = f
	}
	return f
}

// Add records that a recorder finished a file, or that a finished file has a new size.
func (d *Directory) Add(name Name, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := file(d.files, name.String(), name)
	f.set(Finished, size)
	f.unset(Recording)
	d.last[name.Of()] = max(d.last[name.Of()], name.Sequence)
	d.touch(name.String())
	d.notify()
}

// Look updates all states of a file from the disk, after the caller has changed the file.
func (d *Directory) Look(name Name) {
	base := name.String()
	for s := Finished; s < Foreign; s++ {
		d.LookAt(base + table[s].ext)
	}
	for _, above := range [...]State{Zstd, Gzip, Flows} {
		for _, s := range [...]State{Packing, Deleting} {
			d.LookAt(base + table[above].ext + table[s].ext)
		}
	}
}

// LookAt updates the state that the base name expresses from the disk. It ignores names that are
// not capture files'.
func (d *Directory) LookAt(base string) {
	if name, state, err := Parse(base); err == nil && state != Foreign {
		d.lookAt(base, name, name.String(), state)
	}
}

// lookAt is LookAt for a base name that was parsed. The name of the finished file is given too.
func (d *Directory) lookAt(base string, name Name, finished string, state State) {
	var there bool
	var size int64
	if state == Hold {
		there = d.IsHeld(name) // of several holds, one may remain
	} else if info, err := os.Lstat(filepath.Join(d.path, base)); err == nil {
		if there = info.Mode().IsRegular(); there {
			size = info.Size()
		}
		there = there || state == Recording // see listing.add
	} else if !errors.Is(err, fs.ErrNotExist) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.unreadable++
		return // the file may or may not exist
	}
	d.put(name, finished, state, there, size)
}

// put updates the state of a file: whether it is there, and its size.
func (d *Directory) put(name Name, finished string, state State, there bool, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
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
	// The growth of an unfinished file is not a change for the callers of Changed.
	if grown != *f {
		d.notify()
	}
}

// touch records that a file has changed, so that a List that began before does not undo the change.
// The caller holds mu.
func (d *Directory) touch(finished string) {
	if d.touched != nil {
		d.touched[finished] = true
	}
}

// notify wakes the callers of Changed. The caller holds mu.
func (d *Directory) notify() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Changed returns a channel that is closed when anything changes after the call.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// Measure updates the sizes of the files that are being written.
func (d *Directory) Measure() {
	d.mu.Lock()
	growing := make(map[string]Name)
	for finished, f := range d.files {
		if f.Is(Recording) {
			growing[finished] = f.Name
		}
	}
	d.mu.Unlock()
	for finished, name := range growing {
		d.lookAt(finished+Partial, name, finished, Recording)
	}
}

// All iterates over the files, in no order. The directory is locked meanwhile: the loop's body must
// not call its methods or block.
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

// File returns the file of that name, and whether it exists.
func (d *Directory) File(name Name) (File, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name.String()]; f != nil {
		return *f, true
	}
	return File{Name: name}, false
}

// Sequence returns the highest sequence number used in a lane, or 0. A number stays in use after
// its file is deleted.
func (d *Directory) Sequence(lane Lane) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last[lane]
}

// First returns, for each lane, the lowest sequence number of a file in any state.
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

// Used records that a sequence number is in use.
func (d *Directory) Used(lane Lane, sequence uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[lane] = max(d.last[lane], sequence)
}

// Others returns the names in the directory that are not capture files', such as ledgers, from the
// last listing.
func (d *Directory) Others() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.others)
}

// Unreadable returns how many entries' sizes could not be read so far.
func (d *Directory) Unreadable() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unreadable
}
