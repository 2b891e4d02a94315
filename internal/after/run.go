package after

import (
	"capd/store"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
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
	workers.Go(func() { q.work(Compress, q.compress) })
	for range q.opt.HookAtOnce {
		workers.Go(func() { q.work(RunHook, q.runHook) })
	}
}

// keep is the keeper: it takes in new files, and looks for those that were
// left over when there is room for them or when they are to be tried again.
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

// nudge wakes the keeper.
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
		name := f.Name.String()
		if q.journal != nil {
			if err := q.journal.todo(name, factsOf(f)); err != nil {
				q.opt.Log.Warn("a restart will not know a file's facts", "file", f.Path, "error", err)
			}
		}
		q.offer(name, plain)
		q.mu.Lock()
		q.taken--
		q.mu.Unlock()
	}
}

// due reports whether the directory is to be looked through.
func (q *Queue) due() bool {
	if q.journal != nil && q.journal.bloated() {
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
	return max(len(q.lines[Compress]), len(q.lines[RunHook])) <= q.opt.Limit/2
}

// scanPause is the least time between two looks through the directory for
// files that are to be tried again.
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

// A presence says which forms of a file are in the directory.
type presence uint8

const (
	plain presence = 1 << iota
	packed
)

// A listing is what a directory holds.
type listing struct {
	files map[string]presence // by the name without compression
	stale []string            // compressed files that were not finished
}

func list(dir string) (listing, error) {
	l := listing{files: make(map[string]presence)}
	h, err := os.Open(dir)
	if err != nil {
		return l, err
	}
	defer h.Close()
	for {
		names, err := h.Readdirnames(4096)
		for _, s := range names {
			l.add(s)
		}
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			return l, err
		}
	}
}

func (l *listing) add(s string) {
	final, temporary := strings.CutSuffix(s, Temporary)
	base, isPacked := baseName(final)
	if _, err := store.ParseName(base); err != nil {
		return
	}
	switch {
	case temporary && isPacked:
		l.stale = append(l.stale, s)
	case temporary:
	case isPacked:
		l.files[base] |= packed
	default:
		l.files[base] |= plain
	}
}

// clean removes what a compression left behind that was cut off.
func (q *Queue) clean() {
	found, err := list(q.opt.Directory)
	if err != nil {
		return // scan says so
	}
	for _, s := range found.stale {
		path := filepath.Join(q.opt.Directory, s)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			q.opt.Log.Warn("remove an unfinished compression", "file", path, "error", err)
		}
	}
}

// scan offers every file of the directory that needs work, oldest first.
func (q *Queue) scan() {
	found, err := list(q.opt.Directory)
	if err != nil {
		q.opt.Log.Warn("look for files left over", "directory", q.opt.Directory, "error", err)
		q.retryScan()
		return
	}
	q.forget(found.files)
	if q.journal != nil && q.journal.bloated() {
		if err := q.journal.compact(found.files); err != nil {
			q.opt.Log.Warn("shorten the journal of hooks", "error", err)
		}
	}
	for _, name := range q.pending(found.files) {
		if !q.offer(name, found.files[name]) {
			return
		}
	}
}

// retryScan looks again later: an entry for no file is due then.
func (q *Queue) retryScan() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed[""] = attempt{firstPause, time.Now().Add(firstPause)}
}

// forget drops what is known of files that are gone or need nothing any more.
func (q *Queue) forget(files map[string]presence) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.missed = false
	for name := range q.failed {
		if q.needs(name, files[name]) == "" {
			delete(q.failed, name)
		}
	}
}

// pending returns the files that may be worked on now, oldest first.
func (q *Queue) pending(files map[string]presence) []string {
	var all []store.Name
	for s, p := range files {
		if q.needs(s, p) == "" || q.waits(s) {
			continue
		}
		n, _ := store.ParseName(s)
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b store.Name) int {
		if c := a.Start.Compare(b.Start); c != 0 {
			return c
		}
		return strings.Compare(a.String(), b.String())
	})
	names := make([]string, len(all))
	for i, n := range all {
		names[i] = n.String()
	}
	return names
}

// waits reports whether the file is in a line or is to be tried again later.
func (q *Queue) waits(name string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy[name] || q.failed[name].next.After(time.Now())
}

// needs returns the next step for the file, or "".
func (q *Queue) needs(name string, p presence) Step {
	switch {
	case p == plain && q.opt.Compression.Ext() != "":
		return Compress
	case p == plain|packed:
		return Compress // one was cut off before it removed the original
	case p != 0 && q.journal != nil && !q.journal.isDone(name):
		return RunHook
	}
	return ""
}

// offer puts the file into the line that it needs. It returns false when
// there is no room.
func (q *Queue) offer(name string, p presence) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	step := q.needs(name, p)
	if step == "" || q.busy[name] {
		return true
	}
	return q.enqueue(step, name)
}

func (q *Queue) enqueue(step Step, name string) bool {
	if len(q.lines[step]) >= q.opt.Limit {
		q.missed = true
		return false
	}
	q.lines[step] = append(q.lines[step], name)
	q.busy[name] = true
	q.changed.Broadcast()
	return true
}

// work does the step for one file after the other, on a thread of its own: on
// Linux the processes that it starts die with the thread.
func (q *Queue) work(step Step, do func(name string) (Outcome, error)) {
	runtime.LockOSThread()
	if err := dropPrivilege(); err != nil {
		q.opt.Log.Warn("what is started keeps privileges", "step", step, "error", err)
	}
	for {
		name, ok := q.next(step)
		if !ok {
			return
		}
		q.end(step, name, do)
	}
}

func (q *Queue) next(step Step) (name string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines[step]) == 0 && !q.stopped {
		q.changed.Wait()
	}
	if q.stopped {
		return "", false
	}
	name = q.lines[step][0]
	q.lines[step] = q.lines[step][1:]
	if q.missed && q.room() {
		q.nudge()
	}
	return name, true
}

// errNothing is a step's word that there was nothing to do: no file, a file
// that is done, or an order to stop in between.
var errNothing = errors.New("nothing to do")

// end does the step and what follows from its outcome.
func (q *Queue) end(step Step, name string, do func(name string) (Outcome, error)) {
	start := time.Now()
	out, err := do(name)
	q.mu.Lock()
	delete(q.busy, name)
	switch {
	case err == nil || errors.Is(err, errNothing):
		delete(q.failed, name)
		q.count(step, out, err)
		if step == Compress && q.journal != nil && !q.journal.isDone(name) {
			q.enqueue(RunHook, name)
		}
	default:
		q.count(step, out, err)
		pause := min(max(2*q.failed[name].pause, firstPause), lastPause)
		q.failed[name] = attempt{pause, time.Now().Add(pause)}
		q.nudge()
	}
	q.mu.Unlock()
	if errors.Is(err, errNothing) {
		return
	}
	out.Step, out.Took, out.Err = step, time.Since(start), err
	out.Name, _ = store.ParseName(name)
	q.opt.Report(out)
}

func (q *Queue) count(step Step, out Outcome, err error) {
	switch s := &q.stats; {
	case errors.Is(err, errNothing):
	case step == Compress && err == nil:
		s.Compressed++
		s.BytesBefore += uint64(out.Size)
		s.BytesAfter += uint64(out.Packed)
	case step == Compress:
		s.CompressFailed++
	case err == nil:
		s.Hooks++
	default:
		s.HooksFailed++
	}
}
