package writer

import (
	"capd/ledger"
	"capd/pcap"
	"capd/store"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A File is what is known of a file at its end.
type File struct {
	Name     store.Name
	LinkType pcap.LinkType
	Filter   string    // that the packets passed; empty: none
	Snaplen  uint32    // most bytes kept of a packet; 0: none was asked for
	Path     string    // where it is now: still with Partial when Err is not nil, unless only the directory's sync failed
	Begin    time.Time // the file holds every frame from here, within the second of Name.Start,
	End      time.Time // up to here, but those counted as lost
	Reason   ledger.Reason
	First    time.Time // time of the first packet; zero without packets
	Last     time.Time // and of the last
	Size     int64     // bytes
	Err      error     // the first write, sync or rename that failed
	Counts
}

// A mark is a record's end in a file.
type mark struct {
	bytes   int64  // offset
	packets uint64 // whole packets before it
}

// A tail is what the last flush put on disk of a chunk that is not full.
type tail struct {
	index int
	mark  mark
}

// A file is an open capture file. The recorder encodes into its chunks and
// never touches the disk; everything below is done by the disk's goroutines.
type file struct {
	number  uint64 // from 1, of the Writer's files in the order of their begin
	dir     string
	header  []byte
	report  File
	encoded mark           // what the recorder has put into chunks
	before  Counts         // of all packets before this file
	dropped uint64         // frames left unread since the file before
	checked int64          // offset of the last checkpoint that the recorder made
	pending sync.WaitGroup // operations in the disk's hands
	failed  atomic.Bool    // err is set; for the recorder to look at
	doubted atomic.Bool    // a sync failed: the next one could succeed and yet have lost bytes (fsync(2))

	descriptors
	progress
}

// descriptors are how a file is open.
type descriptors struct {
	// io is held while the disk opens the file or reserves space, which may take
	// any time: the recorder never takes it. It guards what follows.
	io        sync.Mutex
	opened    bool
	refused   error    // why it could not be created
	direct    *os.File // O_DIRECT; nil where it is refused
	plain     *os.File // buffered; nil until needed beside direct
	allocated int64    // bytes reserved on disk
	cramped   bool     // no more can be reserved
}

// progress is how much of a file is on the disk.
type progress struct {
	mu    sync.Mutex // guards what follows, and the report's name; held for moments
	err   error
	next  int          // index of the first chunk that is not wholly on disk
	good  mark         // what is on disk without a hole
	done  map[int]mark // chunks on disk behind one that is not
	tail  tail
	ahead []*ledger.Checkpoint // that the recorder made and that are not on disk
}

// path is where the file is until it is finished.
func (f *file) path() string { return filepath.Join(f.dir, f.report.Name.String()+store.Partial) }

// create opens the file, once. A name that exists, whoever made it, is left
// alone and the next sequence number is taken.
func (f *file) create(d *disk) error {
	f.io.Lock()
	defer f.io.Unlock()
	for !f.opened {
		f.refused = f.createNamed(d)
		if errors.Is(f.refused, fs.ErrExist) {
			f.renumber(d.sequence.Add(1))
			continue
		}
		f.opened = true
	}
	return f.refused
}

func (f *file) renumber(sequence uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Name.Sequence = sequence
}

func (f *file) createNamed(d *disk) error {
	if _, err := os.Lstat(filepath.Join(f.dir, f.report.Name.String())); err == nil {
		return fs.ErrExist
	}
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if !d.noDirect.Load() {
		h, err := store.OpenDirect(f.path(), flags, d.mode)
		if err == nil {
			f.direct = h
			return nil
		}
		if !store.RefusesDirect(err) {
			return err
		}
		d.noDirect.Store(true)
		// Linux creates the file before it refuses O_DIRECT.
		_ = os.Remove(f.path())
	}
	h, err := os.OpenFile(f.path(), flags, d.mode)
	if err != nil {
		return err
	}
	f.plain = h
	return nil
}

// name returns the path of the file until it is finished.
func (f *file) name() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.path()
}

// failure returns the first error.
func (f *file) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// buffered returns the descriptor for bytes that O_DIRECT can't write. It is
// another one: to turn the flag off (fcntl(2), F_SETFL) does not reach the
// server of a FUSE or network file system.
func (f *file) buffered() (*os.File, error) {
	f.io.Lock()
	defer f.io.Unlock()
	if f.plain == nil {
		h, err := os.OpenFile(f.path(), os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		f.plain = h
	}
	return f.plain, nil
}

// fail notes the first error of the file.
func (f *file) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		f.failed.Store(true)
	}
}

// reserve keeps disk space ahead of the end of a direct write, in steps, so
// that the file lies in few pieces and its size grows cheaply.
func (f *file) reserve(d *disk, end int64) {
	f.io.Lock()
	defer f.io.Unlock()
	if f.cramped || end <= f.allocated || d.reserve == 0 {
		return
	}
	size := max(d.reserve, end-f.allocated)
	if err := store.Preallocate(f.direct, f.allocated, size); err != nil {
		f.cramped = true // the write itself will tell what is wrong
		return
	}
	f.allocated += size
}

// complete notes that an operation's bytes are in the file and returns how
// many more packets are now on disk without a hole before them.
func (f *file) complete(op operation) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.good.packets
	if op.checkpoint != nil {
		f.ahead = append(f.ahead, op.checkpoint)
	}
	if !op.whole {
		f.tail = tail{op.index, op.mark}
	} else {
		if f.done == nil {
			f.done = make(map[int]mark)
		}
		f.done[op.index] = op.mark
	}
	for m, ok := f.done[f.next]; ok; m, ok = f.done[f.next] {
		delete(f.done, f.next)
		f.next++
		f.good = later(f.good, m)
	}
	if f.tail.index == f.next {
		f.good = later(f.good, f.tail.mark)
	}
	return f.good.packets - before
}

// reachedCheckpoint returns the last checkpoint that the file has on disk without
// a hole, if there is a new one; nil if not.
func (f *file) reachedCheckpoint() *ledger.Checkpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	var last *ledger.Checkpoint
	f.ahead = slices.DeleteFunc(f.ahead, func(c *ledger.Checkpoint) bool {
		if c.Offset > f.good.bytes {
			return false
		}
		if last == nil || c.Offset > last.Offset {
			last = c
		}
		return true
	})
	if last != nil {
		last.Name = f.report.Name
	}
	return last
}

func later(a, b mark) mark {
	if b.bytes > a.bytes {
		return b
	}
	return a
}

// handle returns the descriptor that the file was created with; nil if it was
// not.
func (f *file) handle() *os.File {
	if f.direct != nil {
		return f.direct
	}
	return f.plain
}

// settle cuts the file to what is whole and lets the kernel begin to write what
// the page cache holds of it.
func (f *file) settle() {
	f.pending.Wait() // the file is ours alone from here on
	f.report.Size = f.good.bytes
	f.report.Lost = f.dropped + f.encoded.packets - f.good.packets
	f.report.Packets = f.good.packets
	h := f.handle()
	if h == nil {
		return // never created: err says why
	}
	// What could not be reserved whole may be reserved in part (fallocate(2)).
	if f.err != nil || f.cramped || f.allocated > f.good.bytes {
		if err := h.Truncate(f.good.bytes); err != nil {
			f.fail(fmt.Errorf("truncate: %w", err))
		}
	}
	_ = store.StartWrite(h, 0, 0) // so that several files share the wait; SyncData tells of an error
}

// sync waits until the file is on the disk.
func (f *file) sync(syncs *stopwatch) {
	h := f.handle()
	if h == nil || f.doubted.Load() {
		return
	}
	if err := syncs.time(func() error { return store.SyncData(h) }); err != nil {
		f.fail(fmt.Errorf("sync: %w", err))
	}
}

// release closes the file and gives it its final name, if nothing failed. A
// file that failed keeps Partial, for salvage; one without a byte goes.
func (f *file) release() {
	for _, h := range []*os.File{f.direct, f.plain} {
		if h == nil {
			continue
		}
		if err := h.Close(); err != nil {
			f.fail(fmt.Errorf("close: %w", err))
		}
	}
	f.report.Path = f.path()
	f.report.Err = f.err
	if f.direct == nil && f.plain == nil {
		return
	}
	if f.err != nil && f.good.bytes <= int64(len(f.header)) {
		_ = os.Remove(f.path())
		return
	}
	if f.err != nil {
		return
	}
	final := filepath.Join(f.dir, f.report.Name.String())
	if err := store.Rename(f.path(), final); err != nil {
		f.fail(fmt.Errorf("rename: %w", err))
		f.report.Err = f.err
		return
	}
	f.report.Path = final
}

// Entry returns the ledger's line for a file that ended. What only the kernel
// knows, such as what the filter kept out, is for the caller to add.
func (f *File) Entry() ledger.Entry {
	line := ledger.File{
		Name: f.Name, Link: f.LinkType.String(), Filter: f.Filter, Snaplen: f.Snaplen,
		Begin: f.Begin, End: f.End, First: f.First, Last: f.Last,
		Tally: ledger.Tally{
			Packets: f.Packets, Bytes: f.Bytes, Size: uint64(f.Size),
			Received:      f.Packets + f.Lost + f.KernelDrops,
			KernelDropped: f.KernelDrops, CapdDropped: f.Lost, Freezes: f.Freezes, NICDropped: f.NICDrops,
			NICDiscarded: f.NICDiscards, Truncated: f.Truncated, Oversized: f.Oversized, NotSummed: f.NotSummed, Inversions: f.Inversions,
		},
		Reason: f.Reason, Clean: f.Err == nil,
	}
	return line.Entry()
}
