package finish

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"capd/internal/index"
	"capd/ledger"
	"capd/store"
	"capd/writer"
)

// Run works until ctx is done or Close is called, and returns when all its
// goroutines have ended. When ctx is done, running hooks are killed at once;
// Close gives them time.
func (q *Queue) Run(ctx context.Context) {
	q.mu.Lock()
	if q.started || q.stop.Err() != nil {
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
	for i, s := range q.steps {
		for range s.workers {
			workers.Go(func() { q.work(i) })
		}
	}
}

// keep takes in new files. It scans the directory when there is room for files
// that were missed and when failed files are due.
func (q *Queue) keep() {
	q.clean()
	q.record() // before the scan, which finds the same files without their facts
	q.scan()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		q.record()
		if q.backlog.due() || q.bloated() {
			q.scan()
		}
		timer.Reset(q.backlog.untilRetry())
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

// record takes the files from Add. It writes their facts to the journal before
// it puts them into the backlog, so that a hook after a restart has the facts.
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
		if !file.HasData() { // the Directory does not list it yet
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

// bloated reports whether the journal of marks should be shortened.
func (q *Queue) bloated() bool { return q.marks != nil && q.marks.Bloated() }

// scanPause is the least time between two scans for failed files.
const scanPause = time.Second

// clean removes temporary files of interrupted compressions, and of tables.
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
		table := index.TablePath(filepath.Join(q.dir.Path(), f.Name.String()))
		if _, err := os.Lstat(table + store.Packing.Ext()); err == nil {
			if draft, err := store.NewDraft(table, store.DefaultFileMode); err == nil { // nobody makes it now
				draft.Discard()
			}
		}
		q.dir.Look(f.Name)
	}
}

// scan puts every file of the directory that needs work into the backlog,
// oldest first, and forgets files that are gone.
func (q *Queue) scan() {
	for _, name := range q.backlog.rescan() {
		n, _ := store.ParseName(name)
		if f, _ := q.dir.File(n); q.steps.next(&f, 0) < 0 {
			q.backlog.forget(name)
		}
	}
	if q.bloated() {
		present := func(name store.Name) bool {
			f, _ := q.dir.File(name)
			return f.HasData()
		}
		if err := q.marks.Compact(present); err != nil {
			q.opt.Log.Warn("shorten the journal of marks", "error", err)
		}
	}
	for _, f := range q.pending() {
		if !q.offer(&f) {
			return
		}
	}
}

// pending returns the files that may be worked on now, oldest first.
func (q *Queue) pending() []store.File {
	var all []store.File
	for f := range q.dir.All() {
		if q.steps.next(f, 0) >= 0 {
			all = append(all, *f)
		}
	}
	all = slices.DeleteFunc(all, func(f store.File) bool { return q.backlog.waits(f.Name.String()) })
	slices.SortFunc(all, func(a, b store.File) int {
		if c := a.Name.Start.Compare(b.Name.Start); c != 0 {
			return c
		}
		return strings.Compare(a.Name.String(), b.Name.String())
	})
	return all
}

// offer puts the file into the line of the first step that it needs. It returns
// false if there is no room.
func (q *Queue) offer(f *store.File) bool {
	i := q.steps.next(f, 0)
	return i < 0 || q.backlog.put(i, f.Name.String())
}

// work does a step for one file after another, on a thread of its own: on Linux
// the processes that it starts die with the thread.
func (q *Queue) work(i int) {
	runtime.LockOSThread()
	if err := dropPrivilege(); err != nil {
		q.opt.Log.Warn("the step's processes keep the privileges of capd", "step", q.steps[i].name(), "error", err)
	}
	for {
		name, more, ok := q.backlog.take(i)
		if !ok {
			return
		}
		if more {
			q.nudge()
		}
		q.process(i, name)
	}
}

// errNothing is the error of a step that had nothing to do: the file is gone or
// done, or the Queue stopped in between.
var errNothing = errors.New("nothing to do")

// process does a step for a file, then puts the file into the line of the next
// step or schedules another try.
func (q *Queue) process(i int, name string) {
	start := time.Now()
	out, err := q.steps[i].do(name)
	out.Step, out.Took, out.Err = q.steps[i].name(), time.Since(start), err
	out.Name, _ = store.ParseName(name)
	q.dir.Look(out.Name) // the step may have changed the file, and a hook may have removed it
	file, _ := q.dir.File(out.Name)
	next := -1
	if err == nil || errors.Is(err, errNothing) || q.steps[i].optional {
		next = q.steps.next(&file, i+1)
	}
	if pause := q.backlog.end(name, &out, next); pause > 0 {
		q.opt.Log.Warn("a step failed and will be tried again", "step", out.Step, "file", out.Path, "in", pause, "error", err)
		q.nudge()
	}
	if !errors.Is(err, errNothing) {
		q.opt.Report(out)
	}
}
