package ledger

import (
	"encoding/base64"
	"time"

	"capd/seal"
	"capd/store"
)

// A File says how a file ended, for a line of KindFile.
type File struct {
	Name        store.Name
	Link        string // link type, as pcap.LinkType.String returns it
	Filter      string // expression that the packets passed
	Snaplen     uint32 // most bytes kept of a packet, where fewer than capd keeps by itself were asked for
	Begin, End  time.Time
	First, Last time.Time // times of the first and the last packet
	Tally
	Reason Reason
	Clean  bool // it was finished in order
}

// Entry returns the line.
func (f *File) Entry() Entry {
	e := ofFile(KindFile, f.Name)
	e.Link, e.Filter, e.Snaplen, e.Clock = f.Link, f.Filter, uint64(f.Snaplen), "system"
	e.Begin, e.End, e.First, e.Last = f.Begin, f.End, f.First, f.Last
	e.Tally, e.Reason, e.Clean = f.Tally, f.Reason, f.Clean
	return e
}

// ofFile returns a line about a file.
func ofFile(kind Kind, name store.Name) Entry {
	return Entry{Kind: kind, Name: name.String(), Interface: name.Interface}
}

// Drops count frames that no file has.
type Drops struct {
	Kernel  uint64 // dropped by the kernel because the ring was full
	Capd    uint64 // not written by capd
	Freezes uint64 // times that the ring became full
	NIC     uint64 // dropped by the interface

	Discarded uint64 // dropped as the interface's statistics have it, recorded or not
}

// Quiet says that the interface was recorded from begin to end, and that there
// is no file because no frame was written.
func Quiet(iface string, begin, end time.Time, d Drops) Entry {
	e := Entry{Kind: KindQuiet, Interface: iface, Begin: begin, End: end}
	e.Received, e.KernelDropped, e.CapdDropped = d.Kernel+d.Capd, d.Kernel, d.Capd
	e.Freezes, e.NICDropped, e.NICDiscarded = d.Freezes, d.NIC, d.Discarded
	return e
}

// GapOpened says that the interface is not recorded from begin on.
func GapOpened(iface string, begin time.Time, cause Cause) Entry {
	return Entry{Kind: KindGap, Interface: iface, Begin: begin, Cause: cause}
}

// GapExplained is GapOpened with what the system said.
func GapExplained(iface string, begin time.Time, cause Cause, err error) Entry {
	e := GapOpened(iface, begin, cause)
	e.Why = err.Error()
	return e
}

// GapClosed says that a gap, as GapOpened returned it, has ended and that lost
// frames were counted in it.
func GapClosed(gap Entry, end time.Time, lost uint64) Entry {
	gap.End = end
	gap.Frames, gap.Received, gap.CapdDropped = lost, lost, lost
	return gap
}

// XDPAttached says that from begin on an XDP program sees the interface's frames
// before capd.
func XDPAttached(iface string, begin time.Time, program string) Entry {
	return Entry{Kind: KindXDP, Interface: iface, Begin: begin, Program: program}
}

// XDPDetached says that the program, as XDPAttached returned it, is gone, or that
// nobody looks any more.
func XDPDetached(attached Entry, end time.Time) Entry {
	attached.End = end
	return attached
}

// A Run is one run of capd, from its start to its stop.
type Run struct {
	Software string // version of capd
	Boot     string // id of the system's boot; empty where the system has none
	Config   string // digest of the configuration
	PID      int
	Why      string // why it began or ended, where nobody ordered that
}

func (r *Run) entry(kind Kind) Entry {
	return Entry{Kind: kind, Software: r.Software, Boot: r.Boot, Config: r.Config, PID: r.PID, Why: r.Why}
}

// Start says that the run has begun.
func Start(r Run) Entry { return r.entry(KindStart) }

// Stop says that the run has ended in order.
func Stop(r Run) Entry { return r.entry(KindStop) }

// Restarted says that recording of the interface went on over a restart of capd. From begin to end
// nobody read its frames, which the kernel kept; those that it could not keep are counted in the file's
// line.
func Restarted(iface string, begin, end time.Time) Entry {
	return Entry{Kind: KindRestart, Interface: iface, Begin: begin, End: end}
}

// NotRestarted says why recording of the interface could not go on over a restart of capd, but began
// anew. A line of a gap has the time in which nothing was recorded.
func NotRestarted(iface string, why error) Entry {
	return Entry{Kind: KindRestart, Interface: iface, Why: why.Error()}
}

// Deleted says that the limit deleted the file, which had size bytes.
func Deleted(name store.Name, size int64, limit string) Entry {
	e := ofFile(KindDeleted, name)
	e.Size, e.Limit = uint64(size), limit
	return e
}

// Salvaged says that the file, which an earlier run left unfinished, has
// packets and size bytes now, after cut bytes were removed.
func Salvaged(name store.Name, packets uint64, size, cut int64, why string) Entry {
	e := ofFile(KindSalvaged, name)
	e.Packets, e.Size, e.Cut, e.Why = packets, uint64(size), cut, why
	return e
}

// salvagedLedger says that cut bytes of a torn line were removed from the ledger
// itself; with 0, that the line lacked its newline only.
func salvagedLedger(cut int64) Entry {
	return Entry{Kind: KindSalvaged, Name: FileName, Cut: cut, Why: "torn line"}
}

// Compressed says that the file at the path into, which has size bytes, replaced
// the file.
func Compressed(name store.Name, into string, size int64) Entry {
	e := ofFile(KindCompressed, name)
	e.Into, e.Size = into, uint64(size)
	return e
}

// Hook says that a hook was run for the file. A hook that was killed, or could
// not be started, has the exit code -1; err is what went wrong.
func Hook(name store.Name, exitCode int, err error) Entry {
	e := ofFile(KindHook, name)
	e.Exit = exitCode
	if err != nil {
		e.Why = err.Error()
	}
	return e
}

// Yield says that a limit wants files gone that have to stay until the step has
// succeeded for them: from begin on, and until end unless that is zero.
func Yield(step, limit string, begin, end time.Time) Entry {
	return Entry{Kind: KindYield, Step: step, Limit: limit, Begin: begin, End: end}
}

// Hold says that limits may not delete the file from now on.
func Hold(name store.Name) Entry { return ofFile(KindHold, name) }

// Release says that limits may delete the file again.
func Release(name store.Name) Entry { return ofFile(KindRelease, name) }

// A Holding is what somebody held for a case, or released, at a time. Each of the files has a line of its own, by OfFile.
type Holding struct {
	Case     string
	Note     string // why; of a hold
	UID      int    // of who asked
	User     string // its name
	Sudo     string // name and number of who became that user by sudo; empty: nobody
	Question string // of a hold: the files have its packets
	Files    uint64
	Size     uint64 // of these together, in bytes
}

// Hold says that files are held for the case.
func (h *Holding) Hold() Entry { return h.entry(KindHold) }

// Release says that files are not held for the case any more.
func (h *Holding) Release() Entry { return h.entry(KindRelease) }

func (h *Holding) entry(kind Kind) Entry {
	e := Entry{Kind: kind, UID: h.UID, User: h.User, Sudo: h.Sudo, Question: h.Question, Case: h.Case, Note: h.Note, Files: h.Files}
	e.Size = h.Size
	return e
}

// OfFile returns Hold or Release of a file for a case.
func (h *Holding) OfFile(line Entry) Entry {
	line.Case = h.Case
	return line
}

// An Extraction is an answer that somebody got out of the directory.
type Extraction struct {
	UID            int    // of who asked
	User           string // its name
	Sudo           string // name and number of who became that user by sudo; empty: nobody
	Question       string
	Packets, Bytes uint64 // given of this directory
}

// Extract says that somebody got the answer.
func Extract(x Extraction) Entry {
	e := Entry{Kind: KindExtract, UID: x.UID, User: x.User, Sudo: x.Sudo, Question: x.Question}
	e.Packets, e.Bytes = x.Packets, x.Bytes
	return e
}

// ClockSet says that the system clock was set from one time to another.
func ClockSet(from, to time.Time) Entry { return Entry{Kind: KindClock, Begin: from, End: to} }

// A Checkpoint says how far an unfinished file is whole.
type Checkpoint struct {
	Name        store.Name
	End         time.Time // the file has all frames from Name.Start up to here before Offset
	First, Last time.Time // times of the first and the last packet before Offset
	Packets     uint64    // before Offset
	Bytes       uint64    // of captured data in these
	Offset      int64     // in bytes, at the end of a record
	Boot        string    // id of the system's boot
}

// Entry returns the line.
func (c *Checkpoint) Entry() Entry {
	e := ofFile(KindCheckpoint, c.Name)
	e.Begin, e.End, e.First, e.Last = c.Name.Start, c.End, c.First, c.Last
	e.Packets, e.Bytes, e.Offset, e.Boot = c.Packets, c.Bytes, c.Offset, c.Boot
	return e
}

// Deleting says that the limit is about to delete the file. A line of KindDeleted follows, unless capd ends between them.
func Deleting(name store.Name, limit string) Entry {
	e := ofFile(KindDeleting, name)
	e.Limit = limit
	return e
}

// deletingLedger says that an old ledger is about to be deleted, as all files that it has lines of are gone.
func deletingLedger(name string) Entry { return Entry{Kind: KindDeleting, Name: name} }

// Digest says what the bytes of the finished file are.
func Digest(name store.Name, d seal.Digest) Entry {
	e := ofFile(KindDigest, name)
	e.Size, e.Root = uint64(d.Size), d.Root.String()
	return e
}

// sealed has the signed checkpoint of the lines before it. With their frontier,
// who reads the ledger can begin here. Why says why the log begins anew.
func sealed(signed, frontier, why string) Entry {
	return Entry{Kind: KindSeal, Signed: base64.StdEncoding.EncodeToString([]byte(signed)), Frontier: frontier, Why: why}
}

// Checkpoint returns the signed note of a line of KindSeal.
func (e *Entry) Checkpoint() (signed string, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(e.Signed)
	return string(b), err
}

// unwritten says that lines were lost.
func unwritten(lines uint64) Entry { return Entry{Kind: KindUnwritten, Lines: lines} }
