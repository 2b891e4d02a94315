package finish

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"capd/ledger"
	"capd/store"
	"capd/writer"
)

// Run works until ctx is done or Close is called, and returns when all its
// goroutines have ended. When ctx is done, hooks under way are killed at once;
// Close gives them time.
func (q *Queue) Run(ctx context.Context) {
	q.mu.Lock()
	if q.started || q.stopped {
		q.mu.Unlock()
		return
	}
	q.started = true
	q.mu.Unlock()
	defer close(q.ended)
	defer context.AfterFunc(ctx, func() {
		q.halt()
		q.killAll()
	})()
	var workers sync.WaitGroup
	defer workers.Wait()
	workers.Go(q.keep)
	for i, l := range q.lines {
		for range l.workers {
			workers.Go(func() { q.work(i) })
		}
	}
}

// keep takes in new files, and looks for those that were left over when there
// is room for them or when they are to be tried again.
func (q *Queue) keep() {
	q.clean()
	q.record() // before the scan, which finds the same files without their facts
	q.scan()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		q.record()
		if q.due() {
			q.scan()
		}
		timer.Reset(q.untilRetry())
		select {
		case <-q.stop.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
	}
}

// nudge wakes keep.
func (q *Queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// record takes in what Add was given. The facts go to the journal first, so
// that a hook after a restart has them.
func (q *Queue) record() {
	q.mu.Lock()
	fresh := q.fresh
	q.fresh, q.taken = nil, len(fresh)
	q.mu.Unlock()
	for _, f := range fresh {
		if q.marks != nil {
			if err := q.marks.SetFacts(f.Name, factsOf(f)); err != nil {
				q.opt.Log.Warn("a restart will not know a file's facts", "file", f.Path, "error", err)
			}
		}
		file, _ := q.dir.File(f.Name)
		if !file.HasData() { // it is new, and nobody has seen it yet
			q.dir.Look(f.Name)
			file, _ = q.dir.File(f.Name)
		}
		q.offer(&file)
		q.mu.Lock()
		q.taken--
		q.mu.Unlock()
	}
}

func factsOf(f writer.File) store.Facts {
	return store.Facts{
		End: f.End, Packets: f.Packets, Bytes: f.Bytes, Lost: f.Lost, KernelDrops: f.KernelDrops,
		Reason: string(f.Reason), Clean: f.Reason != "" && f.Reason != ledger.ReasonError,
	}
}

// due reports whether the files are to be looked through.
func (q *Queue) due() bool {
	if q.marks != nil && q.marks.Bloated() {
		return true
	}
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.room() {
		return false
	}
	if q.missed {
		return true
	}
	for name, a := range q.failed {
		if !a.next.After(now) && !q.busy[name] {
			return true
		}
	}
	return false
}

// room reports whether the lines are short enough to be worth filling.
func (q *Queue) room() bool {
	return !slices.ContainsFunc(q.lines, func(l *line) bool { return len(l.files) > q.opt.Limit/2 })
}

// scanPause is the least time between two looks through the files for those
// that are to be tried again.
const scanPause = time.Second

func (q *Queue) untilRetry() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait := lastPause
	for name, a := range q.failed {
		if !q.busy[name] {
			wait = min(wait, time.Until(a.next))
		}
	}
	return max(wait, scanPause)
}

// clean removes what a compression left behind that was cut off.
func (q *Queue) clean() {
	for _, f := range q.dir.Files() {
		if !f.Is(store.Packing) {
			continue
		}
		for _, c := range compressions {
			path := filepath.Join(q.dir.Path(), f.Name.String()+c.Ext()+store.Packing.Ext())
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				q.opt.Log.Warn("remove an unfinished compression", "file", path, "error", err)
			}
		}
		q.dir.Look(f.Name)
	}
}

// scan offers every file of the directory that needs work, oldest first.
func (q *Queue) scan() {
	q.forget()
	if q.marks != nil && q.marks.Bloated() {
		if err := q.marks.Compact(q.present); err != nil {
			q.opt.Log.Warn("shorten the journal of marks", "error", err)
		}
	}
	for _, f := range q.pending() {
		if !q.offer(&f) {
			return
		}
	}
}

// present reports whether the directory has the finished file.
func (q *Queue) present(name store.Name) bool {
	f, _ := q.dir.File(name)
	return f.HasData()
}

// file returns what the directory has of the file of that name.
func (q *Queue) file(name string) store.File {
	n, _ := store.ParseName(name)
	f, _ := q.dir.File(n)
	return f
}

// forget drops what is known of files that are gone or need nothing any more.
func (q *Queue) forget() {
	q.mu.Lock()
	q.missed = false
	names := slices.Collect(maps.Keys(q.failed))
	q.mu.Unlock()
	for _, name := range names {
		f := q.file(name)
		if q.lineOf(&f, 0) < 0 {
			q.mu.Lock()
			delete(q.failed, name)
			q.mu.Unlock()
		}
	}
}

// pending returns the files that may be worked on now, oldest first.
func (q *Queue) pending() []store.File {
	var all []store.File
	for f := range q.dir.All() {
		if q.lineOf(f, 0) >= 0 {
			all = append(all, *f)
		}
	}
	all = slices.DeleteFunc(all, func(f store.File) bool { return q.waits(f.Name.String()) })
	slices.SortFunc(all, func(a, b store.File) int {
		if c := a.Name.Start.Compare(b.Name.Start); c != 0 {
			return c
		}
		return strings.Compare(a.Name.String(), b.Name.String())
	})
	return all
}

// waits reports whether the file is in a line or is to be tried again later.
func (q *Queue) waits(name string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy[name] || q.failed[name].next.After(time.Now())
}

// offer puts the file into the line that it needs. It returns false when
// there is no room.
func (q *Queue) offer(f *store.File) bool {
	i := q.lineOf(f, 0)
	name := f.Name.String()
	q.mu.Lock()
	defer q.mu.Unlock()
	if i < 0 || q.busy[name] {
		return true
	}
	return q.enqueue(i, name)
}

func (q *Queue) enqueue(i int, name string) bool {
	l := q.lines[i]
	if len(l.files) >= q.opt.Limit {
		q.missed = true
		return false
	}
	l.files = append(l.files, name)
	q.busy[name] = true
	q.changed.Broadcast()
	return true
}

// work does a line's step for one file after the other, on a thread of its own:
// on Linux the processes that it starts die with the thread.
func (q *Queue) work(i int) {
	runtime.LockOSThread()
	if err := dropPrivilege(); err != nil {
		q.opt.Log.Warn("what is started keeps privileges", "step", q.lines[i].name(), "error", err)
	}
	for {
		name, ok := q.take(q.lines[i])
		if !ok {
			return
		}
		q.process(i, name)
	}
}

// take waits for the next file of the line. It returns false when the Queue
// stops.
func (q *Queue) take(l *line) (name string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(l.files) == 0 && !q.stopped {
		q.changed.Wait()
	}
	if q.stopped {
		return "", false
	}
	name = l.files[0]
	l.files = l.files[1:]
	if q.missed && q.room() {
		q.nudge()
	}
	return name, true
}

// errNothing is a step's error when there was nothing to do: no file, a file
// that is done, or an order to stop in between.
var errNothing = errors.New("nothing to do")

// process does the step for a file and what follows from its outcome: the next
// step, or another try.
func (q *Queue) process(i int, name string) {
	start := time.Now()
	step := q.lines[i].name()
	out, err := q.lines[i].do(name)
	out.Name, _ = store.ParseName(name)
	q.dir.Look(out.Name) // the step may have changed it, a hook may even have removed it
	file, _ := q.dir.File(out.Name)
	next := q.lineOf(&file, i+1)
	q.mu.Lock()
	delete(q.busy, name)
	q.count(step, &out, err)
	if err == nil || errors.Is(err, errNothing) {
		delete(q.failed, name)
		if next >= 0 {
			q.enqueue(next, name)
		}
	} else {
		pause := min(max(2*q.failed[name].pause, firstPause), lastPause)
		q.failed[name] = attempt{pause, time.Now().Add(pause)}
		q.opt.Log.Warn("a step failed: it is tried again", "step", step, "file", out.Path, "in", pause, "error", err)
		q.nudge()
	}
	q.mu.Unlock()
	if errors.Is(err, errNothing) {
		return
	}
	out.Step, out.Took, out.Err = step, time.Since(start), err
	q.opt.Report(out)
}

func (q *Queue) count(step string, out *Outcome, err error) {
	switch {
	case errors.Is(err, errNothing):
	case err != nil:
		q.stats.Failed[step]++
	default:
		q.stats.Done[step]++
		q.stats.BytesBefore += uint64(out.Size)
		q.stats.BytesAfter += uint64(out.Packed)
	}
}
