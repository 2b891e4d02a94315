package alert

import (
	"context"
	"sync"
	"time"
)

const (
	// maxPending is how many alerts wait for their answers. When there are more, no more are read.
	maxPending = 100_000
	// pace is the least time from one reading to the next: alerts that come in between are answered together.
	pace = 100 * time.Millisecond
)

// A Follower answers alerts as they come: when what comes after them has come, or at once if their window is over.
type Follower struct {
	Asker  *Asker
	Holder *Holder
	Failed func(error) // is called when alerts could not be answered

	holding sync.Mutex // is held by hold: leases are changed in the order of what was needed

	mu       sync.Mutex // guards what follows
	waiting  map[key]*waiting
	pending  int       // alerts in waiting
	reading  time.Time // from when on files are needed by the answers that are being made; zero: none is
	held     time.Time // from when on files are held; zero: none is
	next     time.Time // when answer looks for what is due
	changed  chan struct{}
	room     chan struct{} // closed and replaced when alerts are taken out
	noSource bool
}

// waiting is alerts of one flow that wait for what comes after them.
type waiting struct {
	alerts []*Alert
	since  time.Time // from when on files are needed
	first  time.Time // when the first would have been due
	due    time.Time
}

// Run answers the alerts that a source calls each for, until it ends and all are answered, or the context ends. It returns the
// alerts that it has not answered, and the source's error.
func (f *Follower) Run(ctx context.Context, source func(ctx context.Context, each func(*Alert) error) error) (left []*Alert, err error) {
	f.waiting, f.changed, f.room = make(map[key]*waiting), make(chan struct{}, 1), make(chan struct{})
	var all sync.WaitGroup
	keeping, ended := context.WithCancel(context.WithoutCancel(ctx))
	all.Go(func() { f.Holder.Keep(keeping) })
	reading, stop := context.WithCancel(ctx)
	all.Go(func() {
		err = source(reading, func(a *Alert) error { return f.add(reading, a) })
		f.mu.Lock()
		f.noSource = true
		f.mu.Unlock()
		f.wake()
	})
	f.answer(ctx)
	stop()
	ended()
	all.Wait()
	for _, w := range f.waiting {
		left = append(left, w.alerts...)
	}
	return left, err
}

func (f *Follower) wake() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// add takes an alert, and holds its files.
func (f *Follower) add(ctx context.Context, a *Alert) error {
	w := f.Asker.Window
	since, until := w.Of(a)
	now := time.Now()
	due := until
	if latest := now.Add(w.After); due.After(latest) {
		due = latest
	}
	f.mu.Lock()
	for f.pending >= maxPending {
		room := f.room
		f.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
		f.mu.Lock()
	}
	f.pending++
	one := f.waiting[a.key()]
	if one == nil {
		one = &waiting{since: since, first: due, due: due}
		f.waiting[a.key()] = one
	}
	one.alerts = append(one.alerts, a)
	if since.Before(one.since) {
		one.since = since
	}
	if latest := one.first.Add(w.After); due.After(latest) { // a flow with an alert a second is answered too
		due = latest
	}
	if due.After(one.due) {
		one.due = due
	}
	isHeld, early := !f.held.IsZero() && !since.Before(f.held), one.due.Before(f.next)
	f.mu.Unlock()
	if !isHeld {
		f.hold(ctx)
	}
	if early {
		f.wake()
	}
	return nil
}

// hold holds what the alerts need that wait or are being answered.
func (f *Follower) hold(ctx context.Context) {
	f.holding.Lock()
	defer f.holding.Unlock()
	f.mu.Lock()
	since := f.reading
	for _, w := range f.waiting {
		if since.IsZero() || w.since.Before(since) {
			since = w.since
		}
	}
	if !since.IsZero() {
		since = since.Truncate(time.Minute) // not a lease for each alert
	}
	f.held = since
	f.mu.Unlock()
	f.Holder.Need(ctx, since)
}

// answer answers what is due.
func (f *Follower) answer(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		begun := time.Now()
		due, next, over := f.due(begun)
		if over {
			return
		}
		if len(due) > 0 {
			if err := f.Asker.Answer(ctx, Groups(due, f.Asker.Window)); err != nil {
				f.Failed(err)
			}
			f.mu.Lock()
			f.reading = time.Time{}
			f.mu.Unlock()
			f.hold(context.WithoutCancel(ctx))
			f.wait(ctx, timer, pace-time.Since(begun), nil)
			continue
		}
		f.wait(ctx, timer, next, f.changed)
	}
}

// wait waits for a time, or for news.
func (f *Follower) wait(ctx context.Context, timer *time.Timer, d time.Duration, news <-chan struct{}) {
	timer.Reset(d)
	select {
	case <-timer.C:
	case <-news:
	case <-ctx.Done():
	}
}

// due takes out the alerts that are due, and says how long it is up to the next one, and whether there will be none.
func (f *Follower) due(now time.Time) (all []*Alert, next time.Duration, over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next = time.Hour
	for k, w := range f.waiting {
		if left := w.due.Sub(now); left > 0 {
			next = min(next, left)
			continue
		}
		all = append(all, w.alerts...)
		if f.reading.IsZero() || w.since.Before(f.reading) {
			f.reading = w.since
		}
		delete(f.waiting, k)
	}
	if len(all) > 0 {
		f.pending -= len(all)
		close(f.room)
		f.room = make(chan struct{})
	}
	f.next = now.Add(next)
	return all, next, f.noSource && len(f.waiting) == 0 && len(all) == 0
}
