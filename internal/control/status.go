// Package control asks a running capd for its status and gives it orders, over
// HTTP with JSON on a unix socket; docs/control.md has the format.
//
// The package does not record: a Backend does.
package control

import "time"

// Version is the version of the format. It rises when a field changes its
// meaning, not when one is added.
const Version = 1

// States of an interface, from the best to the worst.
const (
	Recording = "recording" // frames are recorded as they come
	Ended     = "ended"     // of an interface that is recorded no more
	Waiting   = "waiting"   // the interface is not there
	Down      = "down"      // it is there, but down
	Suspended = "suspended" // frames are counted and dropped: the disk fails
)

// A Status is the state of a running capd.
type Status struct {
	Version     int         `json:"v"`
	Software    string      `json:"software"`
	PID         int         `json:"pid"`
	Time        time.Time   `json:"time"`            // of what follows
	Start       time.Time   `json:"start"`           // of capd
	Looked      time.Time   `json:"looked,omitzero"` // when the same looker asked before; see Looker
	Config      string      `json:"config"`          // digest of the configuration, as in the ledger
	Interfaces  []Interface `json:"interfaces"`      // by name
	Directories []Directory `json:"directories"`     // by path
}

// An Interface is the state of a recorded interface, over all its rings.
type Interface struct {
	Name      string    `json:"interface"`
	State     string    `json:"state"` // the worst of its rings
	Since     time.Time `json:"since"`
	Directory string    `json:"directory"`
	Filter    string    `json:"filter,omitempty"` // how many frames it leaves out is unknown
	Files     []string  `json:"files"`            // that are being written, one for each ring

	Counters
	XDP      string    `json:"xdp,omitempty"`      // the XDP program that sees frames before capd: those that it takes are counted by nobody here
	XDPUntil time.Time `json:"xdp_until,omitzero"` // when the last one before was gone
	LastLoss time.Time `json:"last_loss,omitzero"` // when a counter of lost frames was last seen to rise
	Rates    Rates     `json:"rates"`
	Ring     Fill      `json:"ring"` // the kernel's; the fullest, where there are several
	Pool     Fill      `json:"pool"` // capd's memory; the fullest, where there are several
	Writes   Latency   `json:"writes"`
	Syncs    Latency   `json:"syncs"`
	Kept     Kept      `json:"kept"`
}

// Counters count since capd's start. Received is the sum of Written,
// KernelDropped, CapdDropped and Pending.
type Counters struct {
	Received      uint64 `json:"received"`       // frames that the kernel met
	Written       uint64 `json:"written"`        // of these, on the disk
	Pending       uint64 `json:"pending"`        // of these, in memory on their way to the disk
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
	Failures      uint64 `json:"failures"`       // files that could not be finished in order
	Waits         uint64 `json:"waits"`          // times that the ring had to hold frames because the disk was behind
}

// Flawed returns how many frames are missing from the files, or not whole there
// although that was asked for.
func (c *Counters) Flawed() uint64 { return c.Lost() + c.Oversized }

// Lost returns how many frames are missing from the files.
func (c *Counters) Lost() uint64 { return c.KernelDropped + c.CapdDropped + c.NICDropped }

// Rates are rates over times that end now.
type Rates struct {
	Second Rate `json:"second"`
	Minute Rate `json:"minute"` // less, as long as capd is younger
	Start  Rate `json:"start"`
}

// A Rate is how much came in a second.
type Rate struct {
	Packets float64 `json:"packets"`
	Bytes   float64 `json:"bytes"`
	Lost    float64 `json:"lost"` // frames, wherever they were lost
}

// A Fill says how full a queue is, from 0 to 1.
type Fill struct {
	Now  float64 `json:"now"`
	High float64 `json:"high"` // the most that was seen since the start
	Size int64   `json:"size"` // bytes, of all rings or pools together; 0 without one
}

// A Latency says how long operations of the disk took, in seconds.
type Latency struct {
	Summary
	Sum     float64  `json:"sum"`
	Max     float64  `json:"max"`
	Minute  Summary  `json:"minute"`  // of the last minute alone
	Buckets []Bucket `json:"buckets"` // cumulative, from the shortest
}

// Recent returns the last minute, or all when nothing was done in it.
func (l *Latency) Recent() Summary {
	if l.Minute.Count > 0 {
		return l.Minute
	}
	return l.Summary
}

// A Summary is a number of operations and how long they took, in seconds. The
// quantiles are estimates within a factor of two.
type Summary struct {
	Count  uint64  `json:"count"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
}

// A Bucket counts the operations that took no longer.
type Bucket struct {
	Seconds float64 `json:"le"`
	Count   uint64  `json:"count"`
}

// Kept sums up the files that a directory holds of one interface. It may be some
// seconds old.
type Kept struct {
	Files  int       `json:"files"`           // finished
	Bytes  int64     `json:"bytes"`           // of all files
	Held   int       `json:"held"`            // files that may not be deleted
	Oldest time.Time `json:"oldest,omitzero"` // begin of the oldest file
	Rate   float64   `json:"rate"`            // bytes on disk a second, of late
	Reach  float64   `json:"reach"`           // seconds that the files will reach back at that rate; 0: no limit, or no rate yet
	Limit  string    `json:"limit,omitempty"` // that is reached first: bytes, age, count or min_free
}

// A Directory is the state of a directory of recordings. It may be some seconds
// old.
type Directory struct {
	Path         string `json:"directory"`
	Files        int    `json:"files"` // finished
	Bytes        int64  `json:"bytes"` // of all files
	Held         int    `json:"held"`
	Deleted      uint64 `json:"deleted"` // files that limits deleted since the start
	DeletedBytes int64  `json:"deleted_bytes"`
	Free         uint64 `json:"free"`  // bytes of the file system; 0: unknown
	Total        uint64 `json:"total"` // bytes of the file system; 0: unknown
	Floor        bool   `json:"floor"` // limits want files gone that keep_bytes, keep_age or keep_count keeps

	Pause   Pause      `json:"pause,omitzero"` // before this run: what came then is in no file; absent where no run was before
	Waiting []StepWait `json:"waiting"`        // by step; those that no file waits for are left out
}

// A StepWait tells of the files that wait for a step: it has not succeeded for
// them yet.
type StepWait struct {
	Step  string `json:"step"`
	Files int    `json:"files"`           // for which it is the first that has not succeeded
	Kept  int    `json:"kept"`            // files that a limit wants gone, but keep_until keeps until the step has succeeded
	Limit string `json:"limit,omitempty"` // that yields so
}

// A Pause is a time in which nothing was recorded, because no capd ran.
type Pause struct {
	Begin time.Time `json:"begin"` // up to here the run before recorded
	End   time.Time `json:"end"`   // and from here this one
}

// A Selection says which files to hold or to release.
type Selection struct {
	Files     []string `json:"files,omitempty"`     // names or paths
	Last      string   `json:"last,omitempty"`      // a duration: what was recorded since then, as "10m"
	Interface string   `json:"interface,omitempty"` // with Last or All: of this one only
	All       bool     `json:"all,omitempty"`       // release only: all that are held
}

// A RotateOrder says what to rotate.
type RotateOrder struct {
	Interface string `json:"interface,omitempty"` // empty: all
}

// An Answer is what an order came to.
type Answer struct {
	Files []string `json:"files"` // paths that it was about
}
