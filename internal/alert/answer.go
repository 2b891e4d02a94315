package alert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"capd/internal/extract"
	"capd/internal/text"
	"capd/pcap"
)

// An Asker gets the packets of alerts.
type Asker struct {
	Question    extract.Question                        // without times and flows
	Recorders   func(until time.Time) extract.Recorders // for a question up to then
	Window      Window
	MostPackets uint64 // of an answer; 0: no limit
	MostBytes   int64  // of its file; 0: no limit

	Directory string                                 // a file is made in it for each answer; empty: see All
	All       *File                                  // takes the packets of all answers; nil: packets are counted
	Asked     func(done []*Done, of *extract.Answer) // is called when answers are done, in the order of their windows, which were read together
}

// A Done is the answer to alerts of one flow.
type Done struct {
	Alerts     []*Alert  `json:"alerts"`
	Flow       string    `json:"flow"`
	Question   string    `json:"question"` // about the same flow and time
	File       string    `json:"file,omitempty"`
	Already    bool      `json:"already,omitempty"` // the file was there: nothing was read
	AskedSince time.Time `json:"asked_since"`
	AskedUntil time.Time `json:"asked_until"`
	*extract.Answer
	Failed string `json:"error,omitempty"` // the file can't be written

	group *Group
	file  *File // nil: none is written
	full  bool  // a limit is reached
}

// Answer answers alerts. The error is one of all of them; what is wrong with one is in its answer. When the context ends, what is
// not answered yet says so.
func (q *Asker) Answer(ctx context.Context, groups []*Group) error {
	var failed error
	for _, b := range batches(groups) {
		failed = errors.Join(failed, q.answer(ctx, b))
		if failed != nil && q.All != nil {
			break
		}
	}
	return failed
}

// answer answers a batch in one reading.
func (q *Asker) answer(ctx context.Context, b *batch) (err error) {
	all := make([]*Done, len(b.groups))
	var of *extract.Answer
	defer func() { q.Asked(all, of) }()
	d := &splitter{asker: q}
	names := make(map[string]int)
	for i, g := range b.groups {
		all[i] = newDone(q, g)
		name := g.first().Name()
		if names[name]++; names[name] > 1 { // another flow, of an alert of the same time
			name += "-" + strconv.Itoa(names[name])
		}
		if ctx.Err() == nil {
			q.open(all[i], name)
		}
		if !all[i].Already {
			d.add(all[i])
		}
	}
	if len(d.done) == 0 {
		return nil
	}
	question := q.Question
	question.Since, question.Until, question.Flows = b.since, b.until, d.flows
	var files map[string]span
	if ctx.Err() == nil {
		var plan *extract.Plan
		if plan, err = question.Plan(ctx, q.Recorders(b.until)); err == nil {
			files = spans(plan)
			of, err = d.run(ctx, plan)
		}
	}
	for _, done := range d.done {
		done.judge(of, files, err)
		if done.file != nil && done.file != q.All && done.Failed == "" {
			done.end(of != nil && ctx.Err() == nil)
		}
	}
	return err
}

// newDone returns the answer to a group, without packets.
func newDone(q *Asker, g *Group) *Done {
	d := &Done{
		Alerts: g.Alerts, Flow: g.first().Flow(), group: g, AskedSince: g.Since, AskedUntil: g.Until,
		Answer: &extract.Answer{Complete: true, Interfaces: []*extract.Part{}, Missing: []extract.Missing{}},
	}
	d.Question = q.spell(d)
	return d
}

// open makes the answer's file.
func (q *Asker) open(d *Done, name string) {
	if q.All != nil {
		d.file, d.File = q.All, q.All.path
	}
	if q.Directory == "" {
		return
	}
	file, err := newFile(q.Directory, name)
	d.File = file.path
	switch {
	case errors.Is(err, errAlready):
		d.Already = true
	case err != nil:
		d.fail(err)
	default:
		d.file = file
		d.file.begin(q.Question.Software, d.comment(&q.Question))
	}
}

// fail says that the answer's file can't be written, which then is none.
func (d *Done) fail(err error) {
	d.Failed, d.Complete = err.Error(), false
	if d.file != nil && d.file.partial != "" {
		_ = os.Remove(d.file.partial)
	}
}

// spell returns the command that asks for the same flow and time.
func (q *Asker) spell(d *Done) string {
	words := []string{"capd", "extract"}
	for _, dir := range q.Question.Directories {
		words = append(words, quote(dir))
	}
	words = append(words, "--since", text.Zoned(d.AskedSince), "--until", text.Zoned(d.AskedUntil))
	flows := d.group.flows()
	for i := range flows {
		if f := &flows[i]; f.IsID() {
			words = append(words, "--community-id", f.String())
		} else {
			words = append(words, "--flow", quote(f.String()))
		}
	}
	for _, names := range q.Question.Interfaces {
		words = append(words, "-i", quote(names[0]))
	}
	if q.Question.Expression != "" {
		words = append(words, quote(q.Question.Expression))
	}
	return strings.Join(words, " ")
}

// quote quotes a word for a shell, if it is not plain.
func quote(s string) string {
	if s != "" && safe(s) == strings.ReplaceAll(s, "/", "-") {
		return s
	}
	return "'" + strings.ReplaceAll(text.Line(s), "'", `'\''`) + "'"
}

// mostNamed is how many alerts the comment of a file has.
const mostNamed = 20

// comment is what the file says at its begin.
func (d *Done) comment(q *extract.Question) string {
	var b strings.Builder
	fmt.Fprintf(&b, "question: %s\nby: %s\n", d.Question, q.Software)
	for i, a := range d.Alerts {
		if i == mostNamed {
			fmt.Fprintf(&b, "and %d more alerts\n", len(d.Alerts)-i)
			break
		}
		fmt.Fprintf(&b, "alert: %s\n", a.Summary())
	}
	b.WriteString("the last block of the file has the verdict; without it the file is not complete")
	return b.String()
}

// Summary says in a line what the alert is.
func (a *Alert) Summary() string {
	words := []string{text.Zoned(a.Time), a.Event}
	for _, s := range []string{a.ID, clip(a.Title), a.Flow()} {
		if s != "" {
			words = append(words, text.Line(s))
		}
	}
	if !a.Outer.IsZero() {
		words = append(words, "in", a.Outer.String())
	}
	return strings.Join(append(words, fmt.Sprintf("(%s:%d)", text.Line(a.Source), a.Line)), " ")
}

// judge adds the verdict about all answers of a reading, as far as it is about the time of this one.
func (d *Done) judge(all *extract.Answer, files map[string]span, err error) {
	switch {
	case all == nil && err != nil:
		d.miss(extract.Missing{Cause: extract.CauseUnreadable, Why: err.Error()})
		return
	case all == nil:
		d.miss(extract.Missing{Cause: extract.CauseStopped})
		return
	}
	d.Since, d.Until = all.Since, all.Until
	if d.Since.Before(d.AskedSince) && !d.Since.IsZero() {
		d.Since = d.AskedSince
	}
	if d.Until.After(d.AskedUntil) {
		d.Until = d.AskedUntil
	}
	if d.Until.Before(d.Since) { // nothing is known of this time
		d.Since, d.Until = time.Time{}, time.Time{}
	}
	for _, m := range all.Missing {
		if m.Cause != extract.CauseSnaplen && d.during(&m, files) {
			d.miss(m)
		}
	}
	for _, p := range d.Interfaces {
		if p.Cut > 0 {
			d.miss(extract.Missing{Directory: p.Directory, Interface: p.Interface, Cause: extract.CauseSnaplen, Frames: p.Cut})
		}
	}
	d.Notes = all.Notes
}

// A span is the time of the packets in a file; a zero end is not known.
type span struct{ begin, end time.Time }

// spans returns the spans of the files that are read.
func spans(plan *extract.Plan) map[string]span {
	all := make(map[string]span)
	for _, s := range plan.Sources {
		all[s.Path()] = span{s.Earliest, s.Latest}
	}
	return all
}

// during reports whether packets that are missing may be of the time that is asked for.
func (d *Done) during(m *extract.Missing, files map[string]span) bool {
	begin, end := m.Begin, m.End
	if f, ok := files[filepath.Join(m.Directory, m.Where)]; ok && end.IsZero() { // packets of a file
		if end = f.end; begin.IsZero() {
			begin = f.begin
		}
	}
	return begin.Before(d.AskedUntil) && (end.IsZero() || !end.Before(d.AskedSince))
}

func (d *Done) miss(m extract.Missing) {
	d.Complete = false
	d.Missing = append(d.Missing, m)
}

// end ends the answer's file. There is none if nothing could be read or that was interrupted, so that it may be asked for again.
func (d *Done) end(read bool) {
	if read {
		if err := d.file.end(d.Answer); err != nil {
			d.fail(err)
		}
		return
	}
	_ = os.Remove(d.file.partial)
	d.File = ""
	if d.Complete {
		d.miss(extract.Missing{Cause: extract.CauseStopped})
	}
}

// Say spells the answer in a line.
func (d *Done) Say() string {
	s := text.Line(d.Alerts[0].Summary())
	if n := len(d.Alerts); n > 1 {
		s += fmt.Sprintf(" and %d more", n-1)
	}
	switch {
	case d.Failed != "":
		return s + ": " + d.Failed
	case d.Already:
		return s + ": it was answered before, in " + text.Name(d.File)
	}
	s += ": " + d.Verdict()
	if d.File != "" {
		s += "; in " + text.Name(d.File)
	}
	return s
}

// A splitter gives packets of many flows to the answers that they belong to.
type splitter struct {
	asker *Asker
	done  []*Done
	flows extract.Flows
	of    []int // which answer a flow is of

	set       *extract.FlowSet
	frame     frame
	described [][]byte // interfaces of the stream
	explained [][]byte // names and secrets in it
	found     []int
	held      int // bytes that files have in memory
}

func (s *splitter) add(d *Done) {
	flows := d.group.flows()
	for range flows {
		s.of = append(s.of, len(s.done))
	}
	s.flows = append(s.flows, flows...)
	s.done = append(s.done, d)
}

// run reads what the plan says and splits it.
func (s *splitter) run(ctx context.Context, plan *extract.Plan) (*extract.Answer, error) {
	s.set = s.flows.Set()
	from, to := io.Pipe()
	type found struct {
		answer *extract.Answer
		err    error
	}
	ended := make(chan found, 1)
	go func() {
		answer, err := plan.Find(ctx, extract.Output{To: to, Format: pcap.PCAPNG})
		to.CloseWithError(err) // nil: the end
		ended <- found{answer, err}
	}()
	err := s.split(from)
	from.CloseWithError(err)
	f := <-ended
	return f.answer, errors.Join(f.err, err)
}

// split reads the packets of all flows.
func (s *splitter) split(src io.Reader) error {
	r, err := pcap.NewReader(src)
	if err != nil {
		return err
	}
	for {
		record, p, err := r.NextRecord()
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		case p != nil:
			if err := s.give(r, record, p); err != nil {
				return err
			}
		case r.Translator().Describes(record):
			s.described = append(s.described, r.Translator().AppendDescription(nil, record, ""))
		case r.Translator().Explains(record) && len(s.explained) < maxExplained:
			s.explained = append(s.explained, slices.Clone(record))
		}
	}
}

// maxExplained is how many blocks with names and secrets are kept.
const maxExplained = 1000

// give gives a packet to the answers whose flow and time it has.
func (s *splitter) give(r *pcap.Reader, record []byte, p *pcap.Packet) error {
	s.found = s.found[:0]
	at := p.Time()
	for _, flow := range s.frame.flows(s.set, r.Interface().LinkType, p) {
		i := s.of[flow]
		if d := s.done[i]; !at.Before(d.AskedSince) && at.Before(d.AskedUntil) && !slices.Contains(s.found, i) {
			s.found = append(s.found, i)
		}
	}
	var written *File
	for _, i := range s.found {
		d := s.done[i]
		if d.full || d.Failed != "" {
			continue
		}
		if s.over(d, len(record)) {
			d.full = true
			d.miss(extract.Missing{Cause: extract.CauseLimit, Begin: d.Last})
			continue
		}
		d.count(r.Interface().Name, s.asker.Question.Directories, p)
		if d.file == nil || d.file == written { // one file of all answers
			continue
		}
		written = d.file
		before := len(d.file.buf)
		err := d.file.give(s, r, record, p)
		if err != nil && d.file == s.asker.All {
			return err
		} else if err != nil {
			d.fail(err)
		}
		s.held += len(d.file.buf) - before
	}
	if s.held > maxHeld {
		s.flush()
	}
	return nil
}

// over reports whether another packet is beyond the limits.
func (s *splitter) over(d *Done, bytes int) bool {
	q := s.asker
	return q.MostPackets > 0 && d.Packets >= q.MostPackets ||
		q.MostBytes > 0 && d.file != nil && d.file != q.All && d.file.written+int64(len(d.file.buf)+bytes) > q.MostBytes
}

// maxHeld is how many bytes of all files are kept in memory before they are written.
const maxHeld = 32 << 20

// flush writes what all files have in memory.
func (s *splitter) flush() {
	s.held = 0
	for _, d := range s.done {
		if d.file == nil || d.Failed != "" {
			continue
		}
		if err := d.file.flush(); err != nil {
			d.fail(err)
		}
	}
}

// count counts a packet.
func (d *Done) count(iface string, directories []string, p *pcap.Packet) {
	at := p.Time()
	n := uint64(len(p.Data))
	d.Packets, d.Bytes = d.Packets+1, d.Bytes+n
	if d.First.IsZero() || at.Before(d.First) {
		d.First = at
	}
	if at.After(d.Last) {
		d.Last = at
	}
	i := slices.IndexFunc(d.Interfaces, func(p *extract.Part) bool { return p.Interface == iface })
	if i < 0 {
		i = len(d.Interfaces)
		part := &extract.Part{Interface: iface, First: at}
		if len(directories) == 1 {
			part.Directory = directories[0]
		}
		d.Interfaces = append(d.Interfaces, part)
	}
	part := d.Interfaces[i]
	part.Packets, part.Bytes, part.Last = part.Packets+1, part.Bytes+n, at
	if int(p.Length) > len(p.Data) {
		part.Cut++
	}
}
