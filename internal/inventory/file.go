package inventory

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"capd/ledger"
	"capd/store"
)

// A State says whether a file is whole, and why not.
type State string

// States. Only finished and compressed files are whole.
const (
	Recording  State = "recording"  // being written now
	Finished   State = "finished"   // whole
	Compressed State = "compressed" // whole, under the name that compression gave it
	Unfinished State = "unfinished" // left by a recorder that has ended; capd's next start finishes it
	Damaged    State = "damaged"    // corrupt in the middle, kept unchanged
)

// A File is a capture file in the directory.
type File struct {
	Name      string    `json:"name"` // in the directory
	Interface string    `json:"interface"`
	Lane      int       `json:"lane,omitempty"` // see store.Name
	State     State     `json:"state"`
	Held      bool      `json:"held"`         // limits may not delete it
	Encrypted bool      `json:"encrypted"`    // it is an age file
	Begin     time.Time `json:"begin"`        // the file holds every frame from here on
	End       time.Time `json:"end,omitzero"` // up to here, except lost frames; zero if unknown
	Size      int64     `json:"size"`         // bytes on disk
	*Contents           // nil if the file has not ended or the ledger has no line for it

	sequence uint64
	modified time.Time // zero if measure did not ask the disk
	clocks   []clock   // steps of the system's clock
}

// Whole reports whether the file can be read to its end.
func (f *File) Whole() bool { return f.State == Finished || f.State == Compressed }

// Contents is what the ledger says about a file that has ended.
type Contents struct {
	First         time.Time     `json:"first,omitzero"` // time of the first packet
	Last          time.Time     `json:"last,omitzero"`  // time of the last packet
	Packets       uint64        `json:"packets"`
	Bytes         uint64        `json:"bytes"` // of the packets
	Lost          *uint64       `json:"lost"`  // frames that are not in the file: the sum of the next three; nil if unknown, because the file is not clean
	KernelDropped uint64        `json:"kernel_dropped"`
	CapdDropped   uint64        `json:"capd_dropped"`
	NICDropped    uint64        `json:"nic_dropped"`
	Reason        ledger.Reason `json:"reason"` // why it ended
	Clean         bool          `json:"clean"`  // finished in order: nothing but Lost is missing

	Filter     string `json:"-"` // that the packets passed; empty: none
	Inversions uint64 `json:"-"` // packets older than the one before
}

// states maps the state in a file's name to the state in the listing.
var states = map[store.State]State{
	store.Recording: Recording, store.Finished: Finished, store.Zstd: Compressed, store.Gzip: Compressed, store.Damaged: Damaged,
}

// scan reads a directory's names, and maps the name of each finished file to
// the file. A store.Directory would ask the disk for every size; the ledger
// knows most of them.
func scan(dir string) (map[string]*File, error) {
	entries, err := store.Entries(dir)
	if err != nil {
		return nil, err
	}
	files, holds := make(map[string]*File), []string(nil)
	for _, e := range entries {
		name, state, err := store.Parse(e.Name())
		switch {
		case err != nil:
		case state == store.Hold:
			holds = append(holds, name.String())
		case e.Type().IsRegular():
			see(files, e.Name(), name, state)
		}
	}
	for _, base := range holds {
		if f := files[base]; f != nil {
			f.Held = true
		}
	}
	return files, nil
}

// see adds a file. While a compression replaces the original, there are two
// files of one name: the original counts.
func see(files map[string]*File, base string, n store.Name, state store.State) {
	listed, ok := states[state]
	finished := base
	if state != store.Finished {
		finished = n.String()
	}
	if f := files[finished]; !ok || f != nil && (f.State == Finished || listed != Finished) {
		return
	}
	files[finished] = &File{Name: base, Interface: n.Interface, Lane: n.Lane, State: listed, Encrypted: n.Encrypted, Begin: n.Start, sequence: n.Sequence}
}

// end adds what the ledger says in its line of a file that has ended.
func (f *File) end(e *ledger.Entry) {
	if !e.Begin.IsZero() {
		f.Begin = e.Begin
	}
	f.End = e.End
	f.Contents = &Contents{
		First: e.First, Last: e.Last, Packets: e.Packets, Bytes: e.Bytes,
		KernelDropped: e.KernelDropped, CapdDropped: e.CapdDropped, NICDropped: e.NICDropped,
		Reason: e.Reason, Clean: e.Clean, Filter: e.Filter, Inversions: e.Inversions,
	}
	if lost := e.KernelDropped + e.CapdDropped + e.NICDropped; e.Clean {
		f.Lost = &lost
	}
	if f.State != Compressed {
		f.Size = int64(e.Size)
	}
}

// compress adds what the ledger says in its line of a compression. If since is
// set, the line was written after the directory was read.
func (f *File) compress(e *ledger.Entry, since bool) {
	into := filepath.Base(e.Into)
	if since && f.State == Finished {
		f.State, f.Name = Compressed, into
	}
	if f.State == Compressed && f.Name == into {
		f.Size = int64(e.Size)
	}
}

// settle decides the state of a file whose name is that of an unfinished one.
func (f *File) settle(base string, busy bool) {
	switch {
	case f.State != Recording:
	case f.Contents != nil && f.Clean: // it was finished after the directory was read
		f.State, f.Name = Finished, base
	case f.Contents != nil:
		f.State = Unfinished
	case !busy: // after a crash it may hold more or less than the last checkpoint says
		f.State, f.End = Unfinished, time.Time{}
	}
}

// measure asks the disk for what the ledger does not say. It reports whether
// the file exists, under a later name too: the listing is of the moment in which
// the directory was read, and readers look for the name of now.
func (f *File) measure(dir string) bool {
	if f.Size > 0 && f.Whole() {
		return true
	}
	path, info, err := store.Present(filepath.Join(dir, f.Name))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	if f.Whole() {
		_, state := store.Cut(path)
		f.Name, f.State = filepath.Base(path), states[state]
	}
	f.Size, f.modified = info.Size(), info.ModTime()
	return info.Mode().IsRegular()
}

// reach returns the latest time of a frame in the file; zero if unknown.
func (f *File) reach() time.Time {
	switch {
	case f.State == Recording:
		return time.Time{}
	case f.Contents != nil && !f.End.Before(f.Begin):
		return f.End
	}
	return f.modified
}
