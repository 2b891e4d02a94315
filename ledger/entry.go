// Package ledger keeps and reads what was recorded into a directory and what was
// lost: lines of JSON, docs/ledger.md, and the verdict on them.
package ledger

import (
	"encoding/json"
	"time"
)

// Version is the version of the ledger's format, docs/ledger.md. It rises
// when a field changes its meaning, not when one is added.
const Version = 1

// A Kind says what a line of the ledger is about.
type Kind string

// Kinds.
const (
	KindFile       Kind = "file"       // a file ended
	KindQuiet      Kind = "quiet"      // recorded, but no frame came: there is no file
	KindGap        Kind = "gap"        // not recorded
	KindStart      Kind = "start"      // capd began
	KindStop       Kind = "stop"       // capd ended in order
	KindDeleted    Kind = "deleted"    // a limit deleted a file
	KindSalvaged   Kind = "salvaged"   // a file that was left unfinished is finished now
	KindCompressed Kind = "compressed" // a file was replaced by a compressed one
	KindHook       Kind = "hook"       // a command was run for a finished file
	KindHold       Kind = "hold"       // limits may not delete the file from now on
	KindRelease    Kind = "release"    // they may again
	KindClock      Kind = "clock"      // the system clock stepped
	KindCheckpoint Kind = "checkpoint" // an unfinished file is whole up to an offset
	KindUnwritten  Kind = "unwritten"  // lines were lost: the disk failed for too long
)

// A Cause says why frames are missing.
type Cause string

// Causes of gaps.
const (
	CauseDown      Cause = "interface down"
	CauseAbsent    Cause = "interface absent"
	CauseStopped   Cause = "capd not running"
	CauseDiskFull  Cause = "disk full"
	CauseDiskError Cause = "disk error"
)

// A Reason says why a file ended.
type Reason string

// Reasons.
const (
	ReasonSize     Reason = "size"
	ReasonInterval Reason = "interval"
	ReasonSignal   Reason = "signal"
	ReasonShutdown Reason = "shutdown"
	ReasonLink     Reason = "link"
	ReasonError    Reason = "error"
	ReasonSalvaged Reason = "salvaged" // the file ended with its recorder
)

// A Tally adds up what is known of frames over an interval of time. Received
// is the sum of Packets, Filtered, KernelDropped and CapdDropped.
type Tally struct {
	Packets       uint64 `json:"packets,omitempty"`        // written
	Bytes         uint64 `json:"bytes,omitempty"`          // of the packets
	Size          uint64 `json:"size,omitempty"`           // bytes on disk
	Received      uint64 `json:"received,omitempty"`       // frames that the kernel met
	Filtered      uint64 `json:"filtered,omitempty"`       // of these, kept out by the filter
	KernelDropped uint64 `json:"kernel_dropped,omitempty"` // of these, dropped because the ring was full
	CapdDropped   uint64 `json:"capd_dropped,omitempty"`   // of these, not written by capd
	Freezes       uint64 `json:"freezes,omitempty"`        // times that the ring was full
	NICDropped    uint64 `json:"nic_dropped,omitempty"`    // dropped by the interface: not received
	Truncated     uint64 `json:"truncated,omitempty"`      // packets cut by the snaplen
	NotSummed     uint64 `json:"not_summed,omitempty"`     // packets with an unfinished checksum
	Inversions    uint64 `json:"inversions,omitempty"`     // packets older than the one before
}

func (t *Tally) add(u *Tally) {
	t.Packets += u.Packets
	t.Bytes += u.Bytes
	t.Size += u.Size
	t.Received += u.Received
	t.Filtered += u.Filtered
	t.KernelDropped += u.KernelDropped
	t.CapdDropped += u.CapdDropped
	t.Freezes += u.Freezes
	t.NICDropped += u.NICDropped
	t.Truncated += u.Truncated
	t.NotSummed += u.NotSummed
	t.Inversions += u.Inversions
}

// An Entry is a line of the ledger. Which fields are set depends on the kind;
// docs/ledger.md has the table. What is zero is left out of the line.
type Entry struct {
	Version int       `json:"v"`
	Kind    Kind      `json:"kind"`
	Time    time.Time `json:"time"` // when the line was made

	Name      string    `json:"name,omitempty"`      // of the file, once finished
	Interface string    `json:"interface,omitempty"` // of a gap, empty: all
	Link      string    `json:"link,omitempty"`      // type, as pcap.LinkType.String
	Filter    string    `json:"filter,omitempty"`    // that the packets passed
	Clock     string    `json:"clock,omitempty"`     // that stamped the packets: "system"
	Begin     time.Time `json:"begin,omitzero"`      // of what the line speaks of
	End       time.Time `json:"end,omitzero"`        // and its end, not included
	First     time.Time `json:"first,omitzero"`      // time of the first packet
	Last      time.Time `json:"last,omitzero"`       // and of the last
	Tally
	Reason Reason `json:"reason,omitempty"` // why the file ended
	Clean  bool   `json:"clean,omitempty"`  // the file holds all but what the counters say

	Cause  Cause  `json:"cause,omitempty"`     // of a gap
	Frames uint64 `json:"frames,omitempty"`    // lost in a gap, where they could be counted
	Limit  string `json:"limit,omitempty"`     // that deleted the file
	Cut    int64  `json:"cut,omitempty"`       // bytes that salvage removed
	Why    string `json:"why,omitempty"`       // it removed them
	Into   string `json:"into,omitempty"`      // name after compression
	Exit   int    `json:"exit_code,omitempty"` // of a hook; -1 is none: it was killed, or could not be started
	Offset int64  `json:"offset,omitempty"`    // bytes: a checkpoint's record ends here
	Lines  uint64 `json:"lines,omitempty"`     // that were never written

	Software string `json:"software,omitempty"` // version of capd
	Boot     string `json:"boot,omitempty"`     // id of the system's boot
	Config   string `json:"config,omitempty"`   // digest of the configuration
	PID      int    `json:"pid,omitempty"`
}

// maxLine is the longest line in bytes, its end included, that is written or
// read.
const maxLine = 64 << 10

// maxTextInLine is the longest text in bytes that an entry keeps.
const maxTextInLine = 512

// AppendLine appends the entry as a line. It may not fail: every text and every
// number has a spelling, and times that have none are left out.
func (e Entry) AppendLine(b []byte, now time.Time) []byte {
	e.Version = Version
	if e.Time.IsZero() {
		e.Time = now
	}
	for _, t := range []*time.Time{&e.Time, &e.Begin, &e.End, &e.First, &e.Last} {
		*t = t.UTC().Round(0)
		if y := t.Year(); y < 1 || y > 9999 { // what RFC 3339 can spell
			*t = time.Time{}
		}
	}
	for _, s := range []*string{&e.Name, &e.Interface, &e.Link, &e.Filter, &e.Why, &e.Into, &e.Limit, &e.Software, &e.Boot, &e.Config} {
		*s = (*s)[:min(len(*s), maxTextInLine)]
	}
	line, err := json.Marshal(e)
	if err != nil {
		return b
	}
	return append(append(b, line...), '\n')
}
