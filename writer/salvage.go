package writer

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// Recovered is what became of a file that a recorder left unfinished.
type Recovered struct {
	Name    store.Name
	Path    string    // where it is now; empty if it is gone
	Packets uint64    // whole packets
	Bytes   uint64    // of their captured data
	First   time.Time // earliest and latest packet; zero without packets
	Last    time.Time
	Size    int64  // bytes now
	Cut     int64  // bytes that were no whole record
	Why     string // they were cut, or the file was not mended
	Damaged bool   // corrupt in the middle: kept as it is, with DamagedExt
	Err     error  // why nothing could be done; the file still is unfinished
	Link    string // type, as pcap.LinkType.String; empty if the file does not say it
}

// Entries returns the ledger's lines for the file; none if nothing was done.
// Failed is the line in which its recorder told that the file failed: what that
// one counted still holds. It is zero if there is none.
func (r *Recovered) Entries(failed ledger.Entry) []ledger.Entry {
	if r.Err != nil {
		return nil
	}
	e := ledger.Salvaged(r.Name, r.Packets, r.Size, r.Cut, r.Why)
	if r.Path == "" {
		return []ledger.Entry{e}
	}
	found := ledger.File{Name: r.Name, Link: r.Link, Begin: r.Name.Start, End: r.Name.Start}
	// The last packet is the last moment of which anything is known, unless the
	// packets have a clock of their own.
	if d := r.Last.Sub(r.Name.Start); d > 0 && d < longestFile {
		found.End = r.Last
	}
	f := found.Entry()
	if failed.Kind == ledger.KindFile {
		f = failed
	}
	f.Time, f.Clean, f.Reason = time.Time{}, false, ledger.ReasonSalvaged
	f.First, f.Last, f.Packets, f.Bytes, f.Size = r.First, r.Last, r.Packets, r.Bytes, uint64(r.Size)
	// On the disk may be more than the recorder knew of.
	f.Received = max(f.Received, f.Packets+f.Filtered+f.KernelDropped)
	f.CapdDropped = f.Received - f.Packets - f.Filtered - f.KernelDropped
	return []ledger.Entry{e, f}
}

// Until returns up to when the file is known to have what was recorded. Of an encrypted one only its checkpoints say that.
func (r *Recovered) Until() time.Time {
	if r.Name.Encrypted && r.Last.IsZero() {
		return r.Name.Start
	}
	return r.Last
}

// longestFile is how long after a file's begin its last packet is believed.
const longestFile = 366 * 24 * time.Hour

// Recover finishes all files of the directory that a recorder left unfinished.
// The caller holds the directory's lock. A file is cut at its last whole record
// and renamed, one without packets goes, and one that is corrupt in the middle
// is kept with DamagedExt. The error is one of reading the directory; what was
// wrong with a file is in its report.
//
// A checkpoint says that a file is whole up to an offset, so that only what is
// behind needs to be read. It may be nil. The files that skip names are left alone.
func Recover(dir *store.Directory, checkpoints map[string]ledger.Entry, skip map[string]bool) ([]Recovered, error) {
	var all []Recovered
	for _, name := range dir.Partials() {
		finished := name.String()
		if skip[finished] {
			continue
		}
		path := filepath.Join(dir.Path(), finished)
		r := Recovered{Name: name}
		if err := r.recover(path, checkpoints[finished]); err != nil {
			r.Path, r.Err = path+store.Partial, fmt.Errorf("recover: %w", err)
		}
		dir.Look(name)
		all = append(all, r)
	}
	if len(all) > 0 {
		if err := store.SyncDirectory(dir.Path()); err != nil {
			return all, fmt.Errorf("recover: sync directory: %w", err)
		}
	}
	return all, nil
}

// recover mends a file; the path is that of the finished one.
func (r *Recovered) recover(path string, checkpoint ledger.Entry) error {
	h, err := store.OpenRegular(path+store.Partial, os.O_RDWR)
	if err != nil {
		return err
	}
	defer h.Close()
	if r.Name.Encrypted {
		return r.recoverSealed(h, path, checkpoint)
	}
	found, err := scanRecorded(h, checkpoint.Offset)
	if err != nil {
		return err
	}
	r.note(&found, checkpoint)
	switch {
	case found.corrupt():
		r.Damaged, r.Path, r.Size, r.Cut = true, path+store.DamagedExt, found.size, 0
		return store.Rename(path+store.Partial, path+store.DamagedExt)
	case r.Packets == 0:
		r.Size, r.Cut = 0, found.size
		r.Why = cmp.Or(r.Why, "no packets")
		return os.Remove(path + store.Partial)
	}
	return r.cutAt(h, found.End, path)
}

// cutAt cuts the file and gives it its final name.
func (r *Recovered) cutAt(h *os.File, end int64, path string) error {
	if err := h.Truncate(end); err != nil {
		return err
	}
	if err := store.SyncData(h); err != nil {
		return &fs.PathError{Op: "sync", Path: h.Name(), Err: err}
	}
	r.Path = path
	return store.Rename(path+store.Partial, path)
}

// note takes over what was found from the checkpoint on.
func (r *Recovered) note(f *foundEnd, checkpoint ledger.Entry) {
	r.Packets, r.Bytes, r.First, r.Last = f.Packets, f.Bytes, f.First, f.Last
	r.Size, r.Cut, r.Why = f.End, f.size-f.End, f.why()
	if len(f.Interfaces) > 0 {
		r.Link = pcap.CommonLinkType(f.Interfaces).String()
	}
	if f.From == 0 || f.From != checkpoint.Offset {
		return // it was not used
	}
	r.addCheckpoint(checkpoint)
}

// addCheckpoint adds what a checkpoint says of the file up to it.
func (r *Recovered) addCheckpoint(checkpoint ledger.Entry) {
	r.Packets += checkpoint.Packets
	r.Bytes += checkpoint.Bytes
	if t := checkpoint.First; !t.IsZero() && (r.First.IsZero() || t.Before(r.First)) {
		r.First = t
	}
	if checkpoint.Last.After(r.Last) {
		r.Last = checkpoint.Last
	}
}

// foundEnd is what a scan says of a file's end.
type foundEnd struct {
	pcap.Scanned
	size int64 // bytes of the file
	hole bool  // the file has a hole behind End
}

// corrupt reports whether the file has bytes that are no record, where not only
// its end is missing.
func (f *foundEnd) corrupt() bool { return f.Tail == pcap.Corrupt && !f.hole }

func (f *foundEnd) why() string {
	switch {
	case f.hole:
		return "hole: not all of it was written"
	case f.Tail == pcap.Corrupt:
		return fmt.Sprintf("corrupt at byte %d: %s", f.End, f.Reason)
	case f.Tail == pcap.Torn:
		return "torn record"
	case f.Tail == pcap.Zeros:
		return "zeros"
	}
	return ""
}

// lookBack is how far before the end of the last record that one may begin.
const lookBack = pcap.MaxSnaplen + 1024

// scanRecorded finds the end of a file that a Writer left. That one writes
// several chunks at once: a later one may be on the disk, and an earlier one
// not. It left a hole then, and what is behind was never counted as written.
// The record at its edge looks whole in PCAP, but for the zeros of the hole.
func scanRecorded(h *os.File, checkpoint int64) (foundEnd, error) {
	info, err := h.Stat()
	if err != nil {
		return foundEnd{}, err
	}
	f := foundEnd{size: info.Size()}
	if f.Scanned, err = pcap.Scan(h, f.size, checkpoint); err != nil || f.Tail == pcap.Clean {
		return f, scanError(h, err)
	}
	hole := store.NextHole(h, max(0, f.End-lookBack), f.size)
	if hole > f.End+lookBack || hole == f.size {
		return f, nil
	}
	f.hole = true
	if hole < f.End {
		f.Scanned, err = pcap.Scan(h, hole, checkpoint)
	}
	return f, scanError(h, err)
}

func scanError(h *os.File, err error) error {
	if err != nil {
		return fmt.Errorf("scan %s: %w", h.Name(), err)
	}
	return nil
}
