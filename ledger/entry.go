// Package ledger keeps the ledger of a directory of recordings: one line of JSON
// for each thing that happened to its files and to the recording. It reads
// ledgers and judges from them whether all frames are there.
//
// docs/ledger.md describes the format for its users. In this package it is
// declared once, by the type Entry: the encoder and the decoder follow its tags,
// and tests hold the constructors and the documents to them.
package ledger

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Version is the version of the format. It rises when a field changes its
// meaning, not when a field or a kind is added.
const Version = 1

// A Kind is the kind of a line.
type Kind string

// The kinds of lines.
const (
	KindFile       Kind = "file"       // a file ended
	KindQuiet      Kind = "quiet"      // an interface was recorded, and there is no file because no frame was written
	KindGap        Kind = "gap"        // an interface was not recorded
	KindXDP        Kind = "xdp"        // an XDP program, which may keep frames from capd, was attached to an interface
	KindStart      Kind = "start"      // capd began to record
	KindStop       Kind = "stop"       // capd ended in order
	KindRestart    Kind = "restart"    // recording of an interface went on over a restart of capd, or could not
	KindDeleted    Kind = "deleted"    // a limit deleted a file
	KindSalvaged   Kind = "salvaged"   // capd finished a file that an earlier run had left unfinished
	KindCompressed Kind = "compressed" // a compressed file replaced a file
	KindHook       Kind = "hook"       // a hook was run for a finished file
	KindYield      Kind = "yield"      // a limit leaves files that have to wait for a step
	KindHold       Kind = "hold"       // limits may not delete a file from now on
	KindRelease    Kind = "release"    // limits may delete the file again
	KindExtract    Kind = "extract"    // somebody got packets out of the directory
	KindClock      Kind = "clock"      // the system clock was set
	KindCheckpoint Kind = "checkpoint" // an unfinished file is whole up to an offset
	KindUnwritten  Kind = "unwritten"  // lines were lost because the disk failed for too long
	KindSeal       Kind = "seal"       // the lines before are sealed
	KindDigest     Kind = "digest"     // what the bytes of a finished file are
	KindDeleting   Kind = "deleting"   // a limit is about to delete a file whose lines are sealed
)

// A Cause is why frames are missing.
type Cause string

// The causes of gaps.
const (
	CauseDown      Cause = "interface down"
	CauseAbsent    Cause = "interface absent"
	CauseRefused   Cause = "interface not opened"    // it is there; Why has what the system said
	CauseUnread    Cause = "lost with the interface" // it was removed before the system had given capd all frames; how many is unknown
	CauseStopped   Cause = "capd not running"
	CauseDiskFull  Cause = "disk full"
	CauseNoInodes  Cause = "no inodes" // no file can be made, whatever bytes are free
	CauseDiskError Cause = "disk error"
	CauseReplaced  Cause = "directory replaced" // another one, or none, has come to be at its path
)

// A Reason is why a file ended.
type Reason string

// The reasons for which files end.
const (
	ReasonSize     Reason = "size"
	ReasonInterval Reason = "interval"
	ReasonSignal   Reason = "signal"
	ReasonShutdown Reason = "shutdown"
	ReasonLink     Reason = "link"
	ReasonError    Reason = "error"
	ReasonSalvaged Reason = "salvaged" // an earlier run left the file unfinished
)

// A Tally adds up what is known of frames over an interval of time. Received
// is the sum of Packets, Filtered, KernelDropped and CapdDropped.
type Tally struct {
	Packets       uint64 `json:"packets,omitempty" in:"file salvaged checkpoint extract"`                  // packets written; or given
	Bytes         uint64 `json:"bytes,omitempty" in:"file checkpoint extract"`                             // bytes of captured data in these packets
	Size          uint64 `json:"size,omitempty" in:"file deleted salvaged compressed hold release digest"` // bytes of the file, or of files
	Received      uint64 `json:"received,omitempty" in:"file quiet gap"`                                   // frames that reached the kernel's filter
	Filtered      uint64 `json:"filtered,omitempty" in:"file"`                                             // received frames that did not pass the filter
	KernelDropped uint64 `json:"kernel_dropped,omitempty" in:"file quiet"`                                 // received frames that the kernel dropped because the ring was full
	CapdDropped   uint64 `json:"capd_dropped,omitempty" in:"file quiet gap"`                               // received frames that capd did not write
	Freezes       uint64 `json:"freezes,omitempty" in:"file quiet"`                                        // times that the ring became full
	NICDropped    uint64 `json:"nic_dropped,omitempty" in:"file quiet"`                                    // frames that were lost before the kernel met them; they were not received
	NICDiscarded  uint64 `json:"nic_discarded,omitempty" in:"file quiet"`                                  // frames that the interface's statistics call dropped, recorded or not: no loss
	Truncated     uint64 `json:"truncated,omitempty" in:"file"`                                            // packets that were cut
	Oversized     uint64 `json:"oversized,omitempty" in:"file"`                                            // of these, cut though the snaplen did not ask for it
	NotSummed     uint64 `json:"not_summed,omitempty" in:"file"`                                           // packets whose checksum the interface was to fill in
	Inversions    uint64 `json:"inversions,omitempty" in:"file"`                                           // packets older than the one before
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
	t.NICDiscarded += u.NICDiscarded
	t.Truncated += u.Truncated
	t.Oversized += u.Oversized
	t.NotSummed += u.NotSummed
	t.Inversions += u.Inversions
}

// An Entry is a line of the ledger. Its constructors make one of each kind.
//
// The type declares the format: json is a field's key, and in are the kinds of
// lines that have the field; without it all have it. Lines hold the fields in
// this order. Fields that are zero are left out.
type Entry struct {
	Version int       `json:"v"`
	Kind    Kind      `json:"kind"`
	Time    time.Time `json:"time"` // when the line was made

	Name      string    `json:"name,omitempty" in:"file deleted salvaged compressed hook hold release checkpoint digest deleting"`                            // name of the finished file
	Interface string    `json:"interface,omitempty" in:"file quiet gap xdp deleted salvaged compressed hook hold release checkpoint restart digest deleting"` // empty in a gap of all interfaces
	Link      string    `json:"link,omitempty" in:"file"`                                                                                                     // link type, as pcap.LinkType.String returns it
	Filter    string    `json:"filter,omitempty" in:"file"`                                                                                                   // expression that the packets passed
	Snaplen   uint64    `json:"snaplen,omitempty" in:"file"`                                                                                                  // most bytes kept of a packet, where that was configured
	Clock     string    `json:"clock,omitempty" in:"file"`                                                                                                    // clock that stamped the packets: "system"
	Begin     time.Time `json:"begin,omitzero" in:"file quiet gap xdp clock checkpoint yield restart"`                                                        // of the interval that the line is about
	End       time.Time `json:"end,omitzero" in:"file quiet gap xdp clock checkpoint yield restart"`                                                          // of the interval; not included in it
	First     time.Time `json:"first,omitzero" in:"file checkpoint"`                                                                                          // time of the first packet
	Last      time.Time `json:"last,omitzero" in:"file checkpoint"`                                                                                           // time of the last packet
	Tally
	Reason Reason `json:"reason,omitempty" in:"file"` // why the file ended
	Clean  bool   `json:"clean,omitempty" in:"file"`  // the file holds all packets that the counters do not tell to be lost

	Cause   Cause  `json:"cause,omitempty" in:"gap"`                                     // of the gap
	Frames  uint64 `json:"frames,omitempty" in:"gap"`                                    // frames lost in the gap, where they could be counted
	Program string `json:"program,omitempty" in:"xdp"`                                   // mode, id and name of the program
	Limit   string `json:"limit,omitempty" in:"deleted yield deleting"`                  // limit that deleted the file; that yields
	Step    string `json:"step,omitempty" in:"yield"`                                    // step to which the limit yields
	Cut     int64  `json:"cut,omitempty" in:"salvaged"`                                  // bytes that were removed
	Why     string `json:"why,omitempty" in:"salvaged hook gap start stop restart seal"` // why they were removed; what went wrong with the hook; what the system said of the gap; why a run began or ended, where nobody ordered that
	Into    string `json:"into,omitempty" in:"compressed"`                               // path of the compressed file
	Exit    int    `json:"exit_code,omitempty" in:"hook"`                                // -1 for a hook that was killed or could not be started
	Offset  int64  `json:"offset,omitempty" in:"checkpoint"`                             // bytes up to which the file is whole, at the end of a record
	Lines   uint64 `json:"lines,omitempty" in:"unwritten"`                               // lines that were never written

	UID      int    `json:"uid,omitempty" in:"extract hold release"`  // of the user who asked
	User     string `json:"user,omitempty" in:"extract hold release"` // its name
	Sudo     string `json:"sudo,omitempty" in:"extract hold release"` // who became that user by sudo
	Question string `json:"question,omitempty" in:"extract hold"`     // what was asked
	Case     string `json:"case,omitempty" in:"hold release"`         // for which files are held
	Note     string `json:"note,omitempty" in:"hold"`                 // why they are
	Files    uint64 `json:"files,omitempty" in:"hold release"`        // how many

	Software string `json:"software,omitempty" in:"start stop"`        // version of capd
	Boot     string `json:"boot,omitempty" in:"start stop checkpoint"` // id of the system's boot
	Config   string `json:"config,omitempty" in:"start stop"`          // digest of the configuration
	PID      int    `json:"pid,omitempty" in:"start stop"`

	Root     string `json:"root,omitempty" in:"digest"`                  // of the Merkle tree over the file, in base64
	Signed   string `json:"signed,omitempty" in:"seal" longest:"2048"`   // checkpoint of the lines before: a signed note, in base64
	Frontier string `json:"frontier,omitempty" in:"seal" longest:"4096"` // roots of the perfect trees of these lines, in base64
}

// Counted reports whether the frames that were lost in a gap were counted: those
// that came while the disk failed. What passed an interface that nobody recorded
// is unknown.
func (e *Entry) Counted() bool {
	switch e.Cause {
	case CauseDiskFull, CauseNoInodes, CauseDiskError, CauseReplaced:
		return true
	}
	return false
}

// A field is a field of Entry as its tags declare it.
type field struct {
	key   string
	kinds []string // that have it; nil: all
	index []int
	most  int // bytes of a text
}

// fields are those of Entry, in the order in which lines hold them.
var fields = declaredFields()

func declaredFields() []field {
	var all []field
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Entry]()) {
		if f.Anonymous {
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		most, err := strconv.Atoi(f.Tag.Get("longest"))
		if err != nil {
			most = maxTextInLine
		}
		all = append(all, field{key: key, kinds: strings.Fields(f.Tag.Get("in")), index: f.Index, most: most})
	}
	return all
}

// in returns a pointer to the field of the entry: a *string, *int, *int64,
// *uint64, *bool or *time.Time.
func (f *field) in(e *Entry) any {
	v := reflect.ValueOf(e).Elem().FieldByIndex(f.index)
	if v.Kind() == reflect.String {
		return v.Addr().Convert(reflect.TypeFor[*string]()).Interface() // of a Kind too
	}
	return v.Addr().Interface()
}

// maxLine is the largest number of bytes of a line, its newline included, that
// capd writes or reads.
const maxLine = 64 << 10

// maxTextInLine is the largest number of bytes of a text in a line, where the tag longest says no other.
const maxTextInLine = 512

// AppendLine appends the entry as a line that was made at the time now, unless
// the entry has a time. It can't fail: longer texts are cut, and times that
// RFC 3339 can't spell are left out.
func (e Entry) AppendLine(b []byte, now time.Time) []byte {
	e.Version = Version
	if e.Time.IsZero() {
		e.Time = now
	}
	all := reflect.ValueOf(&e).Elem()
	for i := range fields {
		switch v := all.FieldByIndex(fields[i].index); v.Kind() {
		case reflect.String:
			if v.Len() > fields[i].most {
				v.SetString(v.String()[:fields[i].most])
			}
		case reflect.Struct:
			t := v.Addr().Interface().(*time.Time)
			*t = t.UTC().Round(0)
			if y := t.Year(); y < 1 || y > 9999 {
				*t = time.Time{}
			}
		}
	}
	line := bytes.NewBuffer(b)
	enc := json.NewEncoder(line)
	enc.SetEscapeHTML(false) // filters have < and &, and the decoder is slow at escapes
	if err := enc.Encode(&e); err != nil {
		return b // no value of these types lacks a spelling
	}
	return line.Bytes()
}
