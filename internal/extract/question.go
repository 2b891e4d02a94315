package extract

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"capd/crypt"
	"capd/internal/text"
	"capd/ledger"
)

// A Question asks for packets of directories that capd records into.
type Question struct {
	Directories  []string
	Interfaces   [][]string // names of each interface that is meant: the first that a directory knows counts; none: all
	Since, Until time.Time  // [Since, Until); zero: no bound
	Expression   string     // that packets pass
	Flows        Flows      // any of which they belong to; none: all
	MostPackets  uint64     // after which the answer ends; 0: no limit
	MostBytes    int64      // of the file that is written; 0: no limit

	Memory *Memory // of files that are being recorded, for one question after the other; nil: none

	Text     string // as it was asked, for the file and the ledger
	Software string // that answers

	Identities crypt.Identities `json:"-"` // that decrypt encrypted files
}

// Recorders are the capds that record into directories now.
type Recorders interface {
	// Flush makes the one that records into the directory write what has come. The error says why one that does was not reached, or
	// did not follow.
	Flush(ctx context.Context, dir string) (Flushed, error)
	// Ask is ledger.Ask, together with what the one that records there knows.
	Ask(ctx context.Context, dir string, q ledger.Question) (*ledger.Answer, error)
}

// A Flushed is what came of a flush of a directory. The zero value is that nobody records there.
type Flushed struct {
	Recorded bool             // somebody records there
	Whole    map[string]int64 // up to which byte files can be read that are being recorded, by their names in the directory; others: not known
}

// A Cause is why packets may be missing from an answer: one of the ledger, or one of these.
type Cause = ledger.Cause

// The causes that an answer adds to those of the ledger.
const (
	CauseRetired    Cause = "deleted by limits"              // before the question; Where has the limits
	CauseVanished   Cause = "deleted while it was read"      // a limit, or somebody, deleted the file after the question had begun
	CauseUnreadable Cause = "can't be read"                  // Why has what the system said
	CauseLocked     Cause = "encrypted"                      // and no key was given that decrypts it
	CauseTorn       Cause = "damaged or cut"                 // from Begin on, the time of the last packet that could be read
	CauseChanged    Cause = "not the file that was recorded" // it has other packets, or another size, than the ledger says
	CauseFiltered   Cause = "filtered out at capture"        // how many is unknown; Where has the filter
	CauseSnaplen    Cause = "cut by snaplen"                 // Frames of the answer are not whole
	CauseUndecided  Cause = "cut before what the expression asks for"
	CauseLink       Cause = "expression does not fit the link type"
	CauseTimeless   Cause = "time unknown" // of packets, so that no bound of time can choose them
	CauseUnflushed  Cause = "newest packets not on the disk yet"
	CauseNothing    Cause = "nothing is known"
	CauseLimit      Cause = "limit reached"
	CauseStopped    Cause = "interrupted"
)

// Missing says which packets may be missing from an answer, and why.
type Missing struct {
	Directory string    `json:"directory,omitempty"`
	Interface string    `json:"interface,omitempty"`
	Cause     Cause     `json:"cause"`
	Begin     time.Time `json:"begin,omitzero"` // of the time in which they came, as far as it is known
	End       time.Time `json:"end,omitzero"`
	Frames    uint64    `json:"frames,omitempty"` // how many; 0 if they could not be counted
	Where     string    `json:"where,omitempty"`  // name of the file, line of the ledger, filter or limit
	Why       string    `json:"why,omitempty"`    // what the system said
}

// String says it in a line.
func (m *Missing) String() string {
	var b strings.Builder
	b.WriteString(string(m.Cause))
	if m.Frames > 0 {
		b.WriteString(", " + text.Count(m.Frames, "packet"))
	}
	switch {
	case !m.Begin.IsZero() && m.End.After(m.Begin):
		fmt.Fprintf(&b, ", %s to %s", text.Time(m.Begin), text.Time(m.End))
	case !m.Begin.IsZero():
		fmt.Fprintf(&b, ", from %s on", text.Time(m.Begin))
	}
	if m.Interface != "" {
		b.WriteString(", " + text.Name(m.Interface))
	}
	for _, s := range []string{m.Directory, m.Where, m.Why} {
		if s != "" {
			b.WriteString(", " + text.Line(s))
		}
	}
	return b.String()
}

// A Part is what an answer has of one interface.
type Part struct {
	Directory string    `json:"directory"`
	Interface string    `json:"interface"`
	Packets   uint64    `json:"packets"`
	Bytes     uint64    `json:"bytes"` // of captured data
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
	Cut       uint64    `json:"cut,omitempty"` // packets that are not whole
}

// A Volume is how much was read for an answer.
type Volume struct {
	Files   int   `json:"files"`            // that were read, or parts of them
	Read    int64 `json:"read"`             // bytes that were read of them
	OfFiles int   `json:"of_files"`         // files of the time
	OfBytes int64 `json:"of_bytes"`         // that they have
	Tables  int64 `json:"tables,omitempty"` // bytes that were read of their flow tables
}

// An Answer is what came of a question.
type Answer struct {
	Complete   bool      `json:"complete"` // nothing that was asked for is missing, as far as anything can be known
	Packets    uint64    `json:"packets"`
	Bytes      uint64    `json:"bytes"` // of captured data
	First      time.Time `json:"first,omitzero"`
	Last       time.Time `json:"last,omitzero"`
	Interfaces []*Part   `json:"interfaces"`
	Volume
	Since     time.Time `json:"since,omitzero"`      // from when on the directories know anything of what was asked
	Until     time.Time `json:"until,omitzero"`      // and up to when
	Unordered uint64    `json:"unordered,omitempty"` // packets that are older than the one before them
	Missing   []Missing `json:"missing"`
	Notes     []string  `json:"notes,omitempty"` // that change nothing about what is complete

	said map[Missing]bool // what Missing has
}

// Word is the verdict in a word.
func (a *Answer) Word() string {
	if a.Complete {
		return "complete"
	}
	return "INCOMPLETE"
}

// Verdict is the verdict in a line.
func (a *Answer) Verdict() string {
	s := a.Word() + ": " + text.Count(a.Packets, "packet")
	if !a.Since.IsZero() {
		s += fmt.Sprintf(" of what was recorded from %s to %s", text.Time(a.Since), text.Time(a.Until))
	}
	if n := len(a.Missing); n > 0 {
		s += "; " + a.Missing[0].String()
		if n > 1 {
			s += fmt.Sprintf("; and %d more", n-1)
		}
	}
	return s
}

// miss adds a reason, once.
func (a *Answer) miss(m Missing) {
	a.Complete = false
	key := Missing{Directory: m.Directory, Interface: m.Interface, Cause: m.Cause, Where: m.Where, Begin: m.Begin.Round(0).UTC()}
	if a.said[key] {
		return
	}
	if a.said == nil {
		a.said = make(map[Missing]bool)
	}
	a.said[key] = true
	a.Missing = append(a.Missing, m)
}

// part returns the part of an interface.
func (a *Answer) part(dir, iface string) *Part {
	for _, p := range a.Interfaces {
		if p.Directory == dir && p.Interface == iface {
			return p
		}
	}
	p := &Part{Directory: dir, Interface: iface}
	a.Interfaces = append(a.Interfaces, p)
	return p
}

// Of sums up what was given of a directory.
func (a *Answer) Of(dir string) (packets, bytes uint64) {
	for _, p := range a.Interfaces {
		if p.Directory == dir {
			packets, bytes = packets+p.Packets, bytes+p.Bytes
		}
	}
	return packets, bytes
}

// give counts a packet that is given.
func (a *Answer) give(p *Part, at time.Time, bytes int) {
	a.Packets, p.Packets = a.Packets+1, p.Packets+1
	a.Bytes, p.Bytes = a.Bytes+uint64(bytes), p.Bytes+uint64(bytes)
	switch {
	case at.IsZero():
		return
	case at.Before(a.Last):
		a.Unordered++
	default:
		a.Last = at
	}
	if a.First.IsZero() || at.Before(a.First) {
		a.First = at
	}
	if p.First.IsZero() || at.Before(p.First) {
		p.First = at
	}
	if at.After(p.Last) {
		p.Last = at
	}
}

// errNothing is returned if no directory can be read.
var errNothing = errors.New("none of the directories can be read")
