package writer

import (
	"fmt"
	"hash/fnv"
	"math"
	"reflect"
	"sync/atomic"
	"time"
	"unsafe"

	"capd/crypt"
	"capd/ledger"
)

// A Journal says what a Writer has recorded, and which bytes of which file each of its chunks
// holds. It lies in memory that may outlive the process, as the chunks do: another Writer can then
// go on at the very frame, however the process ended.
//
// Only the order of stores matters: nobody else reads the memory while the process lives, and what
// it stored before it was killed is there. So a cursor that is not current is filled, and one store
// makes it current. Whatever follows from a change, such as giving a block back to the kernel or
// ending a file, is done after that store.
type Journal struct {
	head   *journalHead
	chunks []chunkRecord
	loans  []loanRecord // none until the first, if the journal ends with the process
}

// journalFiles is how many files a journal has room for. More than the files that have not been
// completed: the queue of ended files and the group that is being completed hold 256 each.
const journalFiles = 1024

// A journalHead is the part of a journal whose size is fixed. It holds no pointers.
type journalHead struct {
	turn    atomic.Uint64 // the current cursor
	cursors [2]cursor
	files   [journalFiles]fileRecord // that of number n at n % journalFiles
}

// A cursor is where the recorder is.
type cursor struct {
	at   place      // in the ring
	file fileCursor // the current file

	begun    uint64 // files so far
	sequence uint64 // the highest number in use
	since    stamp  // up to here files cover the recording
	packet   stamp  // time of the last packet
	end      int64  // of the current interval, in seconds since 1970
	lost     uint64 // packets that could not be encoded and are in no line of the ledger
	drops    Drops  // the kernel's counters at the last file's end
	gap      gapCursor
	recorded uint64 // packets that were given to Write, of all rings
}

// A gapCursor is the outage of the disk that lasts.
type gapCursor struct {
	cause uint64 // index in diskCauses; 0: there is none
	begin stamp
}

// A place is up to where the ring has been read.
type place struct {
	ring   uint64 // identifies the ring that the blocks are of: see Writer.From
	block  uint64 // the last block of the ring whose frames are all recorded; 0: none
	taken  uint64 // frames of the block after it that are recorded already
	frames uint64 // frames in all blocks up to block
	unread uint64 // of these, malformed ones
}

// A fileCursor is where the recorder is in the current file.
type fileCursor struct {
	number      uint64 // 0: there is no current file
	mark        mark   // up to which it is encoded
	first, last stamp  // times of its first and last packet
	counts      Counts // of its packets
	checked     int64  // offset of its last checkpoint
}

// Phases of a file.
const (
	fileBegun  uint32 = iota
	fileEnded         // the record has its report
	fileDone          // it is complete, and has its final name
	fileFailed        // chunks were dropped that are not on the disk
	fileLost          // the same, and its loss was told: by Options.Finished or Failed
)

// A fileRecord describes a file that has chunks in memory, or had.
type fileRecord struct {
	number   atomic.Uint64 // stored last; 0: the record is not valid
	phase    atomic.Uint32
	created  atomic.Uint32 // 1: it is on the disk
	sequence atomic.Uint64 // changes if the name is taken
	start    int64         // Name.Start, in seconds since 1970
	begin    stamp
	link     uint32
	snaplen  uint32
	header   int64  // bytes
	heading  uint64 // see heading
	dropped  uint64 // see file

	sealed    uint64    // 1: it is encrypted
	sealBegin int64     // bytes before what is encrypted; 0: the file was not created
	key       crypt.Key // that encrypts it; zeros once it is complete

	outcome fileOutcome // valid once it has ended
}

// A fileOutcome is how a file ended.
type fileOutcome struct {
	mark        mark
	tail        int64 // offset of its last chunk
	first, last stamp
	end         stamp
	reason      reasonCode
	counts      Counts
}

// A chunkRecord says what a chunk holds.
type chunkRecord struct {
	file   atomic.Uint64 // number of the file; 0: nothing
	off    int64         // of its first byte in the file
	before mark          // the last end of a record up to there
	after  mark          // the last end of a record in the chunk; valid once it was submitted whole
	size   int64         // of what was submitted; 0: it was not submitted whole
}

// A stamp is a time in nanoseconds since 1970, or never.
type stamp int64

const never stamp = math.MinInt64

func stampOf(t time.Time) stamp {
	if t.IsZero() {
		return never
	}
	return stamp(t.UnixNano())
}

func (s stamp) time() time.Time {
	if s == never {
		return time.Time{}
	}
	return time.Unix(0, int64(s))
}

// A reasonCode is an index in reasons.
type reasonCode uint64

var reasons = []ledger.Reason{
	"", ledger.ReasonSize, ledger.ReasonInterval, ledger.ReasonShutdown, ledger.ReasonSignal, ledger.ReasonLink, ledger.ReasonError, ledger.ReasonSalvaged,
}

func codeOf(r ledger.Reason) reasonCode {
	for i, known := range reasons {
		if known == r {
			return reasonCode(i)
		}
	}
	return 0
}

func (c reasonCode) reason() ledger.Reason {
	if c < reasonCode(len(reasons)) {
		return reasons[c]
	}
	return ""
}

// JournalSize returns the bytes of a journal for a number of chunks.
func JournalSize(chunks int) int {
	return int(unsafe.Sizeof(journalHead{})) + chunks*int(unsafe.Sizeof(chunkRecord{})) + mostLoans*int(unsafe.Sizeof(loanRecord{}))
}

// NewJournal returns the journal in mem, which begins at a multiple of 8 and holds JournalSize
// bytes: zeros, or what a Writer has left there.
func NewJournal(mem []byte, chunks int) (*Journal, error) {
	if chunks < 1 || len(mem) < JournalSize(chunks) {
		return nil, fmt.Errorf("a journal of %d chunks takes %d bytes, not %d", chunks, JournalSize(chunks), len(mem))
	}
	head := (*journalHead)(unsafe.Pointer(&mem[0]))
	first := unsafe.Pointer(&mem[unsafe.Sizeof(journalHead{})])
	loans := unsafe.Add(first, uintptr(chunks)*unsafe.Sizeof(chunkRecord{}))
	return &Journal{head, unsafe.Slice((*chunkRecord)(first), chunks), unsafe.Slice((*loanRecord)(loans), mostLoans)}, nil
}

// newJournal returns one that ends with the process.
func newJournal(chunks int) *Journal {
	return &Journal{head: new(journalHead), chunks: make([]chunkRecord, chunks)}
}

// JournalLayout identifies the layout of a journal: a program of another layout can't read it.
func JournalLayout() uint64 {
	h := fnv.New64a()
	for _, t := range []reflect.Type{reflect.TypeFor[journalHead](), reflect.TypeFor[chunkRecord](), reflect.TypeFor[loanRecord]()} {
		describeLayout(func(s string) { _, _ = h.Write([]byte(s)) }, t)
	}
	return h.Sum64()
}

// describeLayout writes down the fields of a type with their offsets.
func describeLayout(write func(string), t reflect.Type) {
	write(fmt.Sprintf("%s %d;", t.Kind(), t.Size()))
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			write(fmt.Sprintf("%s@%d:", f.Name, f.Offset))
			describeLayout(write, f.Type)
		}
	case reflect.Array:
		describeLayout(write, t.Elem())
	}
}

// cursor returns the current cursor.
func (j *Journal) cursor() *cursor { return &j.head.cursors[j.head.turn.Load()%2] }

// step is called between the stores in the journal and what follows from them. Replaced in tests,
// which end the process there.
var step = func() {}

// commit makes c the current cursor.
func (j *Journal) commit(c *cursor) {
	next := (j.head.turn.Load() + 1) % 2
	j.head.cursors[next] = *c
	step()
	j.head.turn.Store(next)
	step()
}

// file returns the record of the file of that number.
func (j *Journal) file(number uint64) *fileRecord { return &j.head.files[number%journalFiles] }

// begin records a new file.
func (j *Journal) begin(f *file) {
	r := j.file(f.number)
	r.number.Store(0)
	r.phase.Store(fileBegun)
	r.created.Store(0)
	r.sequence.Store(f.report.Name.Sequence)
	r.start, r.begin = f.report.Name.Start.Unix(), stampOf(f.report.Begin)
	r.sealed, r.sealBegin, r.key = 0, 0, crypt.Key{}
	if f.sealing != nil {
		r.sealed = 1
	}
	r.heading = f.heading
	r.link, r.snaplen, r.header, r.dropped = uint32(f.report.LinkType), f.report.Snaplen, int64(len(f.header)), f.dropped
	r.number.Store(f.number)
	f.record = r
	step()
}

// end records how a file has ended. One that has failed stays that: chunks of it are gone.
func (j *Journal) end(f *file, tail int64) {
	r := f.record
	r.dropped = f.dropped
	r.outcome = fileOutcome{
		mark: f.encoded, tail: tail, first: stampOf(f.report.First), last: stampOf(f.report.Last), end: stampOf(f.report.End),
		reason: codeOf(f.report.Reason), counts: f.report.Counts,
	}
	r.phase.CompareAndSwap(fileBegun, fileEnded)
	step()
}

// hold records that a chunk holds the bytes of a file from off on. The last record that begins
// before ends at before.
func (j *Journal) hold(c *chunk, f *file, before mark) {
	r := &j.chunks[c.number]
	r.off, r.before, r.after, r.size = c.off, before, mark{}, 0
	r.file.Store(f.number)
	step()
}

// whole records that a chunk is submitted for the last time, with that many bytes. The last record that ends in it ends at
// after.
func (j *Journal) whole(c *chunk, size int, after mark) {
	r := &j.chunks[c.number]
	r.after, r.size = after, int64(size)
}

// free records that a chunk holds nothing that is needed.
func (j *Journal) free(c *chunk) {
	step()
	j.chunks[c.number].file.Store(0)
	step()
}
