package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"capd/ledger"
	"capd/pcap"
	"capd/seal"
	"capd/store"
)

// A File is the report on one file after its end.
type File struct {
	Name     store.Name
	LinkType pcap.LinkType
	Filter   string    // that the packets passed; empty: none
	Snaplen  uint32    // most bytes kept of a packet; 0: none was asked for
	Path     string    // where it is now: still with Partial when Err is not nil, unless only the directory's sync failed
	Begin    time.Time // the file holds every frame from here, within the second of Name.Start,
	End      time.Time // up to here, but those counted as lost
	Reason   ledger.Reason
	First    time.Time    // time of the first packet; zero if there are none
	Last     time.Time    // time of the last packet
	Size     int64        // bytes
	Err      error        // the first write, sync or rename that failed
	Observer Observer     // who was told of all of its records; nil: nobody
	Digest   *seal.Digest // of its bytes, where they were digested while they were written; nil: they were not
	Counts
}

// A mark is the end of a record in a file.
type mark struct {
	bytes   int64  // offset
	packets uint64 // whole packets before it
}

func (m *mark) add(bytes, packets int) {
	m.bytes += int64(bytes)
	m.packets += uint64(packets)
}

// A tail is what the last flush wrote of a chunk that is not full yet.
type tail struct {
	index int
	mark  mark
}

// A file is an open capture file. The recorder encodes into its chunks and never calls the disk.
// All methods that touch the disk run on the disk's goroutines.
type file struct {
	number     uint64 // counts the Writer's files from 1, in the order in which they begin
	dir        string
	header     []byte
	report     File
	encoded    mark           // what the recorder has put into chunks
	described  pcap.Described // interfaces that are described in it
	before     Counts         // of all packets before this file
	dropped    uint64         // frames left unread in the ring since the previous file
	checked    int64          // offset of the last checkpoint that the recorder made
	pending    sync.WaitGroup // operations submitted and not completed
	failed     atomic.Bool    // err is set; polled by the recorder
	syncFailed atomic.Bool    // a sync failed: the next one could succeed although bytes were lost (fsync(2))

	recorded
	descriptors
	progress
	sealing *sealing // nil: it is not encrypted
	digest  *digest  // nil: none is made
}

// recorded is what the journal says of a file.
type recorded struct {
	record    *fileRecord
	heading   uint64 // see heading
	resumed   bool   // an earlier Writer began it, and created it if the record says so
	resumeEnd int64  // up to here that one had encoded it
}

// descriptors are the open descriptors of a file.
type descriptors struct {
	// io guards the fields below. The disk holds it while it opens the file or reserves space,
	// which may take any time, so the recorder never locks it.
	io        sync.Mutex
	opened    bool
	refused   error    // why the file could not be created
	direct    *os.File // opened with O_DIRECT; nil where that is refused
	plain     *os.File // buffered; nil until it is needed beside direct
	allocated int64    // bytes reserved on disk
	cramped   bool     // no more can be reserved
}

// progress is how much of a file is on the disk.
type progress struct {
	mu    sync.Mutex // guards the fields below and the report's name; held for moments only
	err   error
	next  int          // index of the first chunk that is not entirely on disk
	good  mark         // up to here the file is on disk without a hole
	done  map[int]mark // chunks on disk behind one that is not
	tail  tail
	ahead []*ledger.Checkpoint // made by the recorder, but not yet reached by what is on disk
}

// path is the file's path until it is finished.
func (f *file) path() string { return filepath.Join(f.dir, f.report.Name.String()+store.Partial) }

// create opens the file, once. If a file of that name exists, it is left alone and the next
// sequence number is used.
func (f *file) create(d *disk) error {
	f.io.Lock()
	defer f.io.Unlock()
	for !f.opened {
		// Another directory that has come to be at the path belongs to nobody, or to another recorder.
		if f.refused = d.here(); f.refused == nil {
			f.refused = f.open(d)
		}
		if errors.Is(f.refused, fs.ErrExist) {
			f.renumber(d.sequence.Add(1))
			continue
		}
		if f.refused == nil {
			f.refused = d.here() // it may have been replaced in between
		}
		f.opened = true
	}
	return f.refused
}

func (f *file) renumber(sequence uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Name.Sequence = sequence
	f.record.sequence.Store(sequence)
	step()
}

// open creates the file, or opens the one that an earlier Writer has created.
func (f *file) open(d *disk) error {
	if f.resumed && f.record.created.Load() != 0 {
		return f.reopen(d)
	}
	if f.resumed {
		f.removeEmpty() // the process may have died before the record said that it was created
	}
	if err := f.createNamed(d); err != nil {
		return err
	}
	step()
	if err := f.newKey(); err != nil {
		return err
	}
	f.record.created.Store(1)
	step()
	return f.writeBegin()
}

func (f *file) createNamed(d *disk) error {
	if store.Taken(filepath.Join(f.dir, f.report.Name.String())) {
		return fs.ErrExist
	}
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if !d.noDirect.Load() {
		h, err := store.OpenDirect(f.path(), flags, d.mode)
		if err == nil {
			store.GiveToOwner(h)
			f.direct = h
			return nil
		}
		if !store.RefusesDirect(err) {
			return err
		}
		d.noDirect.Store(true)
		// Linux creates the file before it refuses O_DIRECT, so remove it.
		_ = os.Remove(f.path())
	}
	h, err := store.OpenFile(f.path(), flags, d.mode)
	if err != nil {
		return err
	}
	store.GiveToOwner(h)
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

// buffered returns a descriptor for bytes that O_DIRECT can't write. If nothing is written past the
// page cache after them, the first descriptor will do, where the file system notices that O_DIRECT was
// cleared: to open a small file a second time takes a tenth of what it costs.
func (f *file) buffered(last bool) (*os.File, error) {
	f.io.Lock()
	defer f.io.Unlock()
	if f.plain == nil && last && store.Buffer(f.direct) == nil {
		f.plain, f.direct = f.direct, nil
	}
	if err := f.openPlain(); err != nil {
		return nil, err
	}
	return f.plain, nil
}

// fail stores the first error of the file.
func (f *file) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		f.record.phase.Store(fileFailed)
		f.failed.Store(true)
	}
}

// reserveOf is how many times as much must be free as is reserved.
const reserveOf = 8

// reserve preallocates disk space beyond the end of a direct write, in large steps: the file has
// fewer extents, and extending it is cheap.
func (f *file) reserve(d *disk, end int64) {
	f.io.Lock()
	defer f.io.Unlock()
	if f.cramped || end <= f.allocated || d.reserve == 0 {
		return
	}
	size := max(d.reserve, end-f.allocated)
	// What is reserved and not needed is missing to the next file until this one has ended.
	if s, err := store.FreeSpace(f.dir); err == nil && s.Free < reserveOf*uint64(size) {
		f.cramped = true
		return
	}
	if err := store.Preallocate(f.direct, f.allocated, size); err != nil {
		f.cramped = true // the write itself will return the error
		return
	}
	f.allocated += size
}

// complete records that an operation's bytes are in the file. It returns how many more packets are
// now on disk without a hole before them.
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

// reachedCheckpoint returns the newest checkpoint before which the file is on disk without a hole.
// It returns nil if there is no new one.
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

// handle returns the descriptor with which the file was created; nil if it was not created.
func (f *file) handle() *os.File {
	if f.direct != nil {
		return f.direct
	}
	return f.plain
}

// settle truncates the file to the part without holes, and starts writing its dirty pages.
func (f *file) settle() {
	f.pending.Wait() // no other goroutine uses the file after this
	f.report.Size = f.onDisk()
	f.report.Lost = f.dropped + f.encoded.packets - f.good.packets
	f.report.Packets = f.good.packets
	h := f.handle()
	if h == nil {
		return // never created: err has the reason
	}
	// A preallocation that failed may still have reserved a part (fallocate(2)).
	if f.err != nil || f.cramped || f.resumed || f.allocated > f.report.Size {
		if err := h.Truncate(f.report.Size); err != nil {
			f.fail(fmt.Errorf("truncate: %w", err))
		}
	}
	f.setDigest()
	_ = store.StartWrite(h, 0, 0) // start all files of a commit before waiting for any; SyncData returns the errors
}

// release closes the file and gives it its final name, if nothing failed. A failed file keeps the
// suffix Partial, for salvage; an empty one is removed. Nothing is done in another directory that has
// come to be at the path.
func (f *file) release(here func() error) {
	for _, h := range []*os.File{f.direct, f.plain} {
		if h == nil {
			continue
		}
		if err := h.Close(); err != nil {
			f.fail(fmt.Errorf("close: %w", err))
		}
	}
	err := here()
	if err != nil {
		f.fail(err)
	}
	f.report.Path = f.path()
	f.report.Err = f.err
	if err != nil || f.direct == nil && f.plain == nil {
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
	step()
	f.record.phase.Store(fileDone)
	step()
}

// Entry returns the ledger entry of a file that ended. The caller adds what only the kernel knows,
// such as how many frames the filter rejected.
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
