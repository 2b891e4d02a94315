// Package control queries and controls a running capd over HTTP with JSON on a unix socket.
// docs/control.md describes the format.
//
// The package does not record: it passes requests to a Backend.
package control

import (
	"time"

	"capd/internal/text"
)

// Version is the version of the format. It increases when a field changes its meaning, but not when
// a field is added.
const Version = 1

// States of an interface, from the best to the worst.
const (
	Recording = "recording" // frames are recorded
	Ended     = "ended"     // the interface is not recorded any more
	Waiting   = "waiting"   // the interface does not exist, or can't be opened: see Interface.Why
	Down      = "down"      // the interface exists, but is down
	Suspended = "suspended" // the disk fails: frames are counted and dropped
)

// A Status is the state of a running capd.
type Status struct {
	Version     int         `json:"v"`
	Software    string      `json:"software"`
	PID         int         `json:"pid"`
	Time        time.Time   `json:"time"`            // of the status
	Start       time.Time   `json:"start"`           // when capd was started
	Looked      time.Time   `json:"looked,omitzero"` // when the same looker asked before; see Client.Status
	Config      string      `json:"config"`          // digest of the configuration, as in the ledger
	Restart     Restart     `json:"restart"`
	Interfaces  []Interface `json:"interfaces"`  // by name
	Directories []Directory `json:"directories"` // by path
}

// A Restart says what it costs to stop capd and start it again now.
type Restart struct {
	Loses string `json:"loses"`         // Nothing, Frames or Unknown
	Why   string `json:"why,omitempty"` // of frames and unknown
}

// What a restart loses.
const (
	Nothing = "nothing"
	Frames  = "frames"
	Unknown = "unknown"
)

// An Interface is the state of a recorded interface, summed up over its rings.
type Interface struct {
	Name      string    `json:"interface"`             // the name in the configuration that it is recorded by
	Others    []string  `json:"other_names,omitempty"` // those that the system has for it besides
	State     string    `json:"state"`                 // the worst state of its rings
	Since     time.Time `json:"since"`
	Why       string    `json:"why,omitempty"` // what the system said, where the interface is there and can't be opened
	Directory string    `json:"directory"`
	Filter    string    `json:"filter,omitempty"` // how many frames it rejects is unknown
	Files     []string  `json:"files"`            // files being written, one for each ring

	Counters
	Growing  *Growing  `json:"growing,omitempty"`  // the part of the counters that is not in the ledger yet; absent while lines are being written
	XDP      string    `json:"xdp,omitempty"`      // the XDP program that sees frames before capd: those that it takes are counted by nobody here
	XDPUntil time.Time `json:"xdp_until,omitzero"` // when the last one before was gone
	Unread   time.Time `json:"unread,omitzero"`    // when frames that no counter has were last lost: the interface was removed before all were read
	LastLoss time.Time `json:"last_loss,omitzero"` // when a counter of lost frames was last seen to rise
	Rates    Rates     `json:"rates"`
	Ring     Fill      `json:"ring"` // the kernel's ring; the fullest one if there are several
	Pool     Fill      `json:"pool"` // capd's memory; the fullest pool if there are several
	Writes   Latency   `json:"writes"`
	Syncs    Latency   `json:"syncs"`
	Kept     Kept      `json:"kept"`
}

// Counters count since capd's start. Received is the sum of Written,
// KernelDropped, CapdDropped and Pending.
type Counters struct {
	Received      uint64 `json:"received"`       // frames that reached the kernel
	Written       uint64 `json:"written"`        // of these, written to the disk
	Pending       uint64 `json:"pending"`        // of these, in memory and not written yet
	KernelDropped uint64 `json:"kernel_dropped"` // of these, dropped because the ring was full
	CapdDropped   uint64 `json:"capd_dropped"`   // of these, not written by capd
	NICDropped    uint64 `json:"nic_dropped"`    // lost before the kernel met them: not received
	NICDiscarded  uint64 `json:"nic_discarded"`  // dropped as the interface's statistics have it, recorded or not: no loss
	Freezes       uint64 `json:"freezes"`        // times that the ring was full
	Truncated     uint64 `json:"truncated"`      // frames that were cut
	Oversized     uint64 `json:"oversized"`      // of these, cut though the snaplen did not ask for it
	Bytes         uint64 `json:"bytes"`          // captured, of the frames taken from the kernel
	Finished      uint64 `json:"finished"`       // files
	FileBytes     int64  `json:"file_bytes"`     // of finished files
	Failures      uint64 `json:"failures"`       // files that could not be finished
	Waits         uint64 `json:"waits"`          // times that frames stayed in the ring because the disk was too slow
}

// Growing counts frames that no line of the ledger is about yet: those of the files that are being
// written, and those that these lack so far.
type Growing struct {
	Lines         uint64 `json:"lines"`          // of the ledger about the interface since capd's start
	Packets       uint64 `json:"packets"`        // not lost up to now: on the disk, or on their way there
	KernelDropped uint64 `json:"kernel_dropped"` // as in Counters
	CapdDropped   uint64 `json:"capd_dropped"`
	NICDropped    uint64 `json:"nic_dropped"`
	Oversized     uint64 `json:"oversized"`
}

// Flawed returns how many frames are missing from the files, or not whole there
// although that was asked for.
func (c *Counters) Flawed() uint64 { return c.Lost() + c.Oversized }

// Lost returns how many frames are missing from the files.
func (c *Counters) Lost() uint64 { return c.KernelDropped + c.CapdDropped + c.NICDropped }

// Rates are rates over different times up to now.
type Rates struct {
	Second Rate `json:"second"`
	Minute Rate `json:"minute"` // shorter while capd has run for less than a minute
	Start  Rate `json:"start"`
}

// A Rate is an amount per second.
type Rate struct {
	Packets float64 `json:"packets"`
	Bytes   float64 `json:"bytes"`
	Lost    float64 `json:"lost"` // frames, lost anywhere
}

// A Fill says how full a queue is, from 0 to 1.
type Fill struct {
	Now  float64 `json:"now"`
	High float64 `json:"high"` // highest value since the start
	Size int64   `json:"size"` // bytes of all rings or pools; 0 if there are none
}

// A Latency describes how long disk operations took, in seconds.
type Latency struct {
	Summary
	Sum     float64  `json:"sum"`
	Max     float64  `json:"max"`
	Minute  Summary  `json:"minute"`  // only the last minute
	Buckets []Bucket `json:"buckets"` // cumulative, from the shortest
}

// Recent returns the last minute, or the whole time if nothing happened in the last minute.
func (l *Latency) Recent() Summary {
	if l.Minute.Count > 0 {
		return l.Minute
	}
	return l.Summary
}

// A Summary describes the durations of a number of operations, in seconds. The quantiles are
// estimates within a factor of two.
type Summary struct {
	Count  uint64  `json:"count"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
}

// A Bucket counts the operations that took at most its bound.
type Bucket struct {
	Seconds float64 `json:"le"`
	Count   uint64  `json:"count"`
}

// Kept sums up the files of one interface in a directory. It may be some seconds old.
type Kept struct {
	Files  int       `json:"files"`           // number of finished files
	Bytes  int64     `json:"bytes"`           // of all files
	Held   int       `json:"held"`            // files that limits may not delete
	Oldest time.Time `json:"oldest,omitzero"` // begin of the oldest file
	Rate   float64   `json:"rate"`            // bytes per second, measured over the recent files; 0: not known yet
	Reach  float64   `json:"reach"`           // how far back the files will reach at that rate, in seconds; 0: no limit, or no rate yet
	Limit  string    `json:"limit,omitempty"` // what acts first: bytes, age, count, min_free, min_free_inodes, or disk or inodes, which are used up then
}

// Reaches spells how far back the files will reach: "?" while no rate is known, "-" without a limit.
func (k *Kept) Reaches(spell func(time.Duration) string) string {
	switch {
	case k.Rate <= 0:
		return "?"
	case k.Limit == "":
		return "-"
	}
	return spell(text.Seconds(k.Reach))
}

// Forecast spells in a phrase what will happen to the files.
func (k *Kept) Forecast() string {
	switch {
	case k.Rate <= 0:
		return "no rate is known yet"
	case k.Limit == "":
		return "no limit"
	}
	return "will reach " + k.Reaches(text.Duration) + " (" + text.Line(k.Limit) + ")"
}

// A Directory is the state of a directory of recordings. It may be some seconds
// old.
type Directory struct {
	Path         string `json:"directory"`
	Files        int    `json:"files"`   // number of finished files
	Bytes        int64  `json:"bytes"`   // of all files
	Held         int    `json:"held"`    // files that limits may not delete
	Deleted      uint64 `json:"deleted"` // files deleted by limits since the start
	DeletedBytes int64  `json:"deleted_bytes"`
	Free         uint64 `json:"free"`  // bytes of the file system; 0: unknown
	Total        uint64 `json:"total"` // bytes of the file system; 0: unknown
	FreeInodes   uint64 `json:"free_inodes"`
	Inodes       uint64 `json:"inodes"` // of the file system; 0: it has no such limit, or it is unknown
	Floor        bool   `json:"floor"`  // keep_bytes, keep_age or keep_count protects files that other limits would delete

	Holds   Holds      `json:"holds"`
	Problem string     `json:"problem,omitempty"` // why new files can't be made in it: it is not at its path any more
	Pause   Pause      `json:"pause,omitzero"`    // before this run: what came then is in no file; absent where no run was before
	Waiting []StepWait `json:"waiting"`           // by step; those that no file waits for are left out
}

// Holds are what held files take in a directory. Leases do not count.
type Holds struct {
	Bytes     int64  `json:"bytes"`
	Warn      int64  `json:"warn,omitempty"`      // bytes above which retain.hold_warn warns; 0: never
	Over      bool   `json:"over"`                // they are too many: of the directory, or of Interface by its own limit
	Interface string `json:"interface,omitempty"` // see Over
	Limit     string `json:"limit,omitempty"`     // a limit that can't be met because of them: it deletes all else that it may
}

// Warning spells what is wrong with them; empty: nothing.
func (h *Holds) Warning() string {
	switch {
	case h.Limit != "":
		return "held files, " + text.Size(h.Bytes) + ", keep the limit " + text.Line(h.Limit) + " from being met: it deletes all other files that it may"
	case h.Over && h.Interface != "":
		return "held files of " + text.Name(h.Interface) + " take more than hold_warn of its limit"
	case h.Over:
		return "held files take " + text.Size(h.Bytes) + ", more than hold_warn: " + text.Size(h.Warn)
	}
	return ""
}

// A StepWait counts the files for which a step has not succeeded yet.
type StepWait struct {
	Step  string `json:"step"`
	Files int    `json:"files"`           // whose first step without success it is
	Kept  int    `json:"kept"`            // files that a limit would delete, but keep_until protects until the step has succeeded
	Limit string `json:"limit,omitempty"` // the limit that would delete them
}

// A Pause is a time in which nothing was recorded, because no capd ran.
type Pause struct {
	Begin time.Time `json:"begin"` // up to here the run before recorded
	End   time.Time `json:"end"`   // and from here this one
}

// A Selection says which files to hold or to release.
type Selection struct {
	Files     []string  `json:"files,omitempty"`     // names or paths
	Last      string    `json:"last,omitempty"`      // a duration such as "10m": files recorded since then
	Since     time.Time `json:"since,omitzero"`      // files with frames from then on,
	Until     time.Time `json:"until,omitzero"`      // and before then
	Interface string    `json:"interface,omitempty"` // with a time or All: only this interface
	All       bool      `json:"all,omitempty"`       // only for release: all held files

	// With Holder, a hold is a lease: of all files with frames from Since on, those included that come later, in memory only. It
	// ends after the time For, or with a release by the same holder; another hold of his replaces it.
	Holder string `json:"holder,omitempty"`
	For    string `json:"for,omitempty"` // a duration, at most MaxLease

	// With Case, Files of a Directory are held for a case, or all files of the case are released: in the Directory, or without
	// one in all.
	Case      *Case  `json:"case,omitempty"`
	Directory string `json:"directory,omitempty"`
}

// A Case says for what files are held or released, and who asks.
type Case struct {
	Name     string `json:"name"`
	Note     string `json:"note,omitempty"`
	Question string `json:"question,omitempty"` // a command that gives the packets for which files are held
	User     string `json:"user,omitempty"`     // name of the user, by the client's own word
	Sudo     string `json:"sudo,omitempty"`     // who became that user, by the client's own word

	UID int `json:"-"` // of the client, as the system says it
}

// MaxLease is the longest time for which a lease holds files without being renewed.
const MaxLease = 10 * time.Minute

// Bounded reports whether the selection has Since or Until.
func (s *Selection) Bounded() bool { return !s.Since.IsZero() || !s.Until.IsZero() }

// A RotateOrder is the body of a rotate request.
type RotateOrder struct {
	Interface string `json:"interface,omitempty"` // empty: all interfaces
}

// An Answer is the result of a request.
type Answer struct {
	Files []string `json:"files"`           // paths of the files concerned
	Whole []Whole  `json:"whole,omitempty"` // after a flush, files that are being recorded
}

// A Whole says how much of a file that is being recorded can be read.
type Whole struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"` // a record ends here, and all before it is there
}
