package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"capd/store"
)

// evidence is what the entries of a ledger and the names in its directory say, as
// a verdict needs it.
type evidence struct {
	question   Question
	interfaces map[string]*interfaceEvidence
	common     interfaceEvidence // of all interfaces: gaps, and times that the clock skipped
	starts     []int64           // when runs began
	files      map[string]fileIndex
	deleted    map[string]string      // limit that deleted a file, by the file's name
	mentioned  map[string]bool        // files that were deleted or compressed before they had a line
	damage     []Missing              // of the ledger itself
	present    map[string]store.State // of the files in the directory, by name of the finished file; nil: not asked for
}

// interfaceEvidence is what the ledger says of one interface.
type interfaceEvidence struct {
	files       []fileEvidence
	quiet       []interval     // recorded without a file
	lossy       []fileEvidence // quiet times in which frames were lost; they have no name
	gaps        []gap
	hidden      []hidden            // times in which frames may not have reached capd
	checkpoints map[string]interval // of unfinished files by name
	unlisted    []store.Name        // finished files that no line is about
	vanished    []store.Name        // files that are not there, and that no other line is about than that of their compression or deletion
	unended     []store.Name        // unfinished files that no line says the end of, in order of their begin
}

// fileEvidence is what a verdict needs of the line of a file.
type fileEvidence struct {
	name    string
	at      interval
	tally   Tally
	clean   bool
	filter  string
	snaplen uint64 // 0: none was configured
}

// A fileIndex says where the evidence of a file is.
type fileIndex struct {
	of    *interfaceEvidence
	index int
}

type gap struct {
	at     interval
	open   bool // its end is not known
	cause  Cause
	frames uint64
	why    string // what the system said; may be empty
}

// hidden is a time in which an XDP program saw frames before capd.
type hidden struct {
	at      interval
	open    bool // its end is not known
	program string
}

func newEvidence(q Question) *evidence {
	ev := &evidence{
		question: q, interfaces: make(map[string]*interfaceEvidence), files: make(map[string]fileIndex), deleted: make(map[string]string),
		mentioned: make(map[string]bool),
	}
	if q.Names == nil {
		return ev
	}
	ev.present = make(map[string]store.State, len(q.Names))
	for _, s := range q.Names {
		name, state, err := store.Parse(s)
		if err != nil || !state.HasData() && state != store.Recording && state != store.Damaged {
			continue
		}
		finished := name.String()
		if known, ok := ev.present[finished]; !ok || !known.HasData() {
			ev.present[finished] = state
		}
	}
	return ev
}

func (ev *evidence) of(iface string) *interfaceEvidence {
	i := ev.interfaces[iface]
	if i == nil {
		i = &interfaceEvidence{checkpoints: make(map[string]interval)}
		ev.interfaces[iface] = i
	}
	return i
}

// note takes over what a verdict needs of an entry.
func (ev *evidence) note(e *Entry) {
	at := intervalOf(e.Begin, e.End)
	switch e.Kind {
	case KindFile:
		ev.noteFile(e, at)
	case KindQuiet:
		i := ev.of(e.Interface)
		i.quiet = append(i.quiet, at)
		if e.KernelDropped+e.CapdDropped+e.NICDropped > 0 {
			i.lossy = append(i.lossy, fileEvidence{at: at, tally: e.Tally})
		}
	case KindCheckpoint:
		ev.of(e.Interface).checkpoints[e.Name] = at
	case KindGap:
		i := &ev.common
		if e.Interface != "" {
			i = ev.of(e.Interface)
		}
		i.addGap(gap{at, e.End.IsZero(), e.Cause, e.Frames, e.Why})
	case KindXDP:
		ev.of(e.Interface).addHidden(hidden{at, e.End.IsZero(), e.Program})
	case KindClock:
		if at.begin < at.end { // no frame can be missing in a time that the clock skipped
			ev.common.quiet = append(ev.common.quiet, at)
		}
	case KindStart:
		ev.starts = append(ev.starts, nano(e.Time))
	case KindDeleted:
		ev.deleted[e.Name] = e.Limit
		ev.mention(e.Name)
	case KindCompressed:
		ev.mention(e.Name)
	case KindUnwritten:
		at := interval{nano(e.Time), nano(e.Time)}
		ev.damage = append(ev.damage, Missing{Begin: at.from(), End: at.to(), Cause: CauseLedger, Where: fmt.Sprintf("%d lines not written", e.Lines)})
	}
}

// mention takes over that there was a file.
func (ev *evidence) mention(name string) {
	if _, listed := ev.files[name]; !listed {
		ev.mentioned[name] = true
	}
}

// noteFile takes over the line of a file. A later line of the same file, such as
// that of its salvage, replaces the one before.
func (ev *evidence) noteFile(e *Entry, at interval) {
	if at.end < at.begin { // the clock was set back while the file was recorded
		at.end = max(at.begin, nano(e.Last))
	}
	f := fileEvidence{e.Name, at, e.Tally, e.Clean, e.Filter, e.Snaplen}
	if known, ok := ev.files[e.Name]; ok {
		known.of.files[known.index] = f
		return
	}
	i := ev.of(e.Interface)
	ev.files[e.Name] = fileIndex{i, len(i.files)}
	i.files = append(i.files, f)
}

// gapsBack is how many gaps back addGap looks for the line that opened a gap.
const gapsBack = 100

// addGap adds a gap. If an earlier line opened it, the new one replaces that.
func (i *interfaceEvidence) addGap(g gap) {
	for n := len(i.gaps) - 1; n >= 0 && n >= len(i.gaps)-gapsBack; n-- {
		if o := &i.gaps[n]; o.open && o.cause == g.cause && o.at.begin == g.at.begin {
			*o = g
			return
		}
	}
	i.gaps = append(i.gaps, g)
}

// addHidden adds a time in which frames may not have reached capd. If the line
// before opened it, the new one replaces that.
func (i *interfaceEvidence) addHidden(h hidden) {
	if n := len(i.hidden); n > 0 {
		if o := &i.hidden[n-1]; o.open && o.program == h.program && o.at.begin == h.at.begin {
			*o = h
			return
		}
	}
	i.hidden = append(i.hidden, h)
}

// noteDamage takes over that a line can't be read.
func (ev *evidence) noteDamage(e *LineError) {
	if e.Torn {
		return // the recording process is writing it
	}
	ev.damage = append(ev.damage, Missing{Cause: CauseLedger, Where: fmt.Sprintf("%s:%d", e.File, e.Line)})
}

// findUnlisted finds the files that no line is about, but perhaps those of their compression and deletion. A file that was being
// written when the directory was first read may have ended since.
func (ev *evidence) findUnlisted() {
	for finished, state := range ev.present {
		if _, ok := ev.files[finished]; ok {
			continue
		}
		n, err := store.ParseName(finished)
		if err != nil {
			continue
		}
		i := ev.of(n.Interface)
		if state == store.Recording || ev.question.Live && slices.Contains(ev.question.Names, finished+store.Partial) {
			i.unended = append(i.unended, n)
		} else {
			i.unlisted = append(i.unlisted, n)
		}
	}
	for finished := range ev.mentioned {
		_, listed := ev.files[finished]
		_, there := ev.present[finished]
		if n, err := store.ParseName(finished); err == nil && !listed && !there {
			i := ev.of(n.Interface)
			i.vanished = append(i.vanished, n)
		}
	}
	for _, i := range ev.interfaces {
		slices.SortFunc(i.unended, func(a, b store.Name) int {
			return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Sequence, b.Sequence))
		})
	}
}

// addUncovered adds a time that no line is about as missing. capd did not run
// before the last start in it.
func (ev *evidence) addUncovered(v *Verdict, s interval, i *interfaceEvidence) {
	up := s.begin
	for _, t := range ev.starts {
		// A file begins at a whole second, because its name does, so that the start
		// of capd may be up to a second after the begin of its first file.
		if t > s.begin && t < s.end+int64(time.Second) {
			up = max(up, min(t, s.end))
		}
	}
	if up > s.begin {
		v.addMissing(s, interval{s.begin, up}, Missing{Cause: CauseStopped})
	}
	live := s.end // from here on a growing file has what came
	if ev.question.Live && len(i.unended) > 0 {
		live = min(s.end, max(up, nano(i.unended[0].Start)))
	}
	if live-up < int64(time.Second) && live < s.end {
		live = up // a name has the whole second of its file's begin
	}
	if up < live {
		v.addMissing(s, interval{up, live}, Missing{Cause: CauseUnknown})
	}
	if live < s.end {
		v.addMissing(s, interval{live, s.end}, Missing{Cause: CauseLive, Where: i.unended[0].String() + store.Partial})
	}
}
