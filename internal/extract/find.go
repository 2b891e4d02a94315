package extract

import (
	"container/heap"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"capd/filter"
	"capd/internal/read"
	"capd/internal/text"
	"capd/pcap"
)

// Output says where the packets of an answer go.
type Output struct {
	Path    string                    // of a file that is made; empty: see To
	To      io.Writer                 // nil: packets are counted
	Format  pcap.Format               // of it; pcap takes packets of one link type
	Micro   bool                      // pcap with microseconds
	Through func(io.Reader) io.Reader // wraps the readers of the files; may be nil
	Reached func(time.Time)           // is called by Follow when all that had come at a time is written; may be nil
}

// An extraction is a question that is being answered. One goroutine reads and writes.
type extraction struct {
	question Question
	filter   *read.Filter
	chooser  chooser
	sure     *filter.Condition // that a packet may pass, whatever was not captured of it; nil: any
	answer   Answer
	stopped  atomic.Bool // by Find's context
	failure  error       // of writing

	sink
	file    merged
	wrap    func(io.Reader) io.Reader
	prompt  bool
	streams streams

	follows bool      // files that grow are not at their end where no more is in them
	horizon int64     // no packet is given yet that is later, but not by more than reorderTime; 0: none
	resting []*stream // whose next packet is not there yet
}

// Find reads the files of the plan and writes the packets that are asked for, in order of time. When the context ends it
// stops behind a whole packet, which is in the answer as well. The error is one of writing, or a limit of the format; the
// answer has what was written up to then.
func (p *Plan) Find(ctx context.Context, out Output) (*Answer, error) {
	x, err := p.begin(out)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { x.stopped.Store(true) })()
	x.fail(x.merge())
	return x.finish(x.stopped.Load() && ctx.Err() != nil)
}

// begin makes the file, and opens nothing else yet.
func (p *Plan) begin(out Output) (*extraction, error) {
	x := &extraction{question: p.Question, filter: read.NewFilter(p.Question.Expression), answer: p.Answer, wrap: out.Through}
	x.sure = p.condition
	if len(p.Question.Flows) > 0 {
		x.chooser.flows = p.Question.Flows.Set()
	}
	x.answer.Missing, x.answer.said = append([]Missing{}, p.Answer.Missing...), maps.Clone(p.Answer.said)
	x.answer.Interfaces = []*Part{}
	switch {
	case out.Path != "":
		if err := x.create(out.Path); err != nil {
			return nil, err
		}
	case out.To != nil:
		x.to(out.To)
		x.prompt = true
	}
	x.file = newMerged(out, p.Question.Software)
	x.fail(x.write(x.file.header(p.comment())))
	for i, s := range p.Sources {
		if !s.Reading.none {
			x.streams = append(x.streams, &stream{Source: s, x: x, order: i})
		}
	}
	heap.Init(&x.streams)
	return x, nil
}

// finish says what is missing, and ends the file.
func (x *extraction) finish(interrupted bool) (*Answer, error) {
	for _, s := range slices.Concat(x.streams, x.resting) {
		s.close()
	}
	for _, part := range x.answer.Interfaces {
		if part.Cut > 0 {
			x.answer.miss(Missing{Directory: part.Directory, Interface: part.Interface, Cause: CauseSnaplen, Frames: part.Cut})
		}
	}
	if interrupted {
		x.answer.miss(Missing{Cause: CauseStopped, Begin: x.answer.Last})
	}
	err := x.end()
	x.answer.Complete = x.answer.Complete && err == nil
	return &x.answer, err
}

// fail keeps the first failure.
func (x *extraction) fail(err error) {
	if x.failure == nil {
		x.failure = err
	}
}

// end writes the end of the file.
func (x *extraction) end() error {
	if x.failure == nil {
		x.fail(x.write(x.file.end(&x.answer)))
	}
	if x.failure == nil {
		x.fail(x.flush())
	}
	if x.made != nil {
		x.fail(x.made.Close())
	}
	return x.failure
}

// through counts what is read of a file, and writes before that what was found if somebody waits for it.
func (x *extraction) through(src io.Reader) io.Reader {
	if x.prompt {
		src = x.Promptly(src)
	}
	if x.wrap != nil {
		src = x.wrap(src)
	}
	return countedReader{src, &x.answer.Read}
}

// A countedReader counts what it reads.
type countedReader struct {
	src io.Reader
	n   *int64
}

func (c countedReader) Read(b []byte) (int, error) {
	n, err := c.src.Read(b)
	*c.n += int64(n)
	return n, err
}

// write writes records, given how they were made.
func (x *extraction) write(records []byte, err error) error {
	if x.out == nil || len(records) == 0 || err != nil {
		return err
	}
	if err := x.room(len(records)); err != nil {
		x.fail(err)
		return err
	}
	x.buf = append(x.buf, records...)
	return nil
}

// merge gives the packets of all streams.
func (x *extraction) merge() error {
	for len(x.streams) > 0 && !x.stopped.Load() && x.failure == nil {
		s := x.streams[0]
		if over := s.key() - x.horizon; x.horizon > 0 && 0 < over && over <= int64(reorderTime) {
			return nil
		}
		if s.head != nil && !x.give(s.head) {
			return x.failure
		}
		more, err := s.advance()
		switch {
		case err != nil:
			return err
		case x.stopped.Load():
			return nil
		case more:
			heap.Fix(&x.streams, 0)
		case x.follows && s.grows():
			x.resting = append(x.resting, s)
			heap.Pop(&x.streams)
		default:
			s.close()
			heap.Pop(&x.streams)
		}
	}
	return nil
}

// give writes a packet. It returns false if that was the last.
func (x *extraction) give(f *found) bool {
	q := &x.question
	if q.MostPackets > 0 && x.answer.Packets == q.MostPackets ||
		q.MostBytes > 0 && x.whole+int64(len(x.buf)+len(f.record)) > q.MostBytes {
		x.answer.miss(Missing{Cause: CauseLimit, Begin: x.answer.Last})
		x.stopped.Store(true)
		return false
	}
	x.fail(x.write(f.record, nil))
	if x.failure != nil {
		return false
	}
	var at time.Time
	if f.timed {
		at = time.Unix(0, f.at).UTC()
	}
	x.answer.give(f.part, at, f.bytes)
	if f.cut {
		f.part.Cut++
	}
	return true
}

// comment is what the file says at its begin.
func (p *Plan) comment() string {
	q := &p.Question
	var b strings.Builder
	fmt.Fprintf(&b, "question: %s\nby: %s\n", q.Text, q.Software)
	for _, dir := range q.Directories {
		files, bytes := 0, int64(0)
		for _, s := range p.Sources {
			if s.Directory == dir {
				files, bytes = files+1, bytes+s.Size
			}
		}
		fmt.Fprintf(&b, "source: %s, %s, %s\n", text.Line(dir), text.Count(files, "file"), text.Size(bytes))
	}
	fmt.Fprintf(&b, "before the files were read, the verdict was %s\n", p.Answer.Word())
	appendMissing(&b, p.Answer.Missing)
	b.WriteString("the last block of the file has the verdict; without it the file is not complete")
	return b.String()
}

// mostSaid is how many reasons a comment has: all of them could be more than fit into one.
const mostSaid = 100

func appendMissing(b *strings.Builder, all []Missing) {
	for i := range all {
		if i == mostSaid {
			fmt.Fprintf(b, "and %d more\n", len(all)-i)
			return
		}
		fmt.Fprintf(b, "missing: %s\n", all[i].String())
	}
}

// streams are a heap: that of the oldest packet is the first.
type streams []*stream

func (s streams) Len() int { return len(s) }
func (s streams) Less(i, j int) bool {
	a, b := s[i].key(), s[j].key()
	return a < b || a == b && s[i].order < s[j].order
}
func (s streams) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *streams) Push(x any)   { *s = append(*s, x.(*stream)) }
func (s *streams) Pop() any {
	old := *s
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return x
}
