package store

import (
	"errors"
	"sync"
	"time"
)

// maxHolders is how many holders of leases a directory has at a time.
const maxHolders = 1000

// ErrHolders is returned for a lease when there are too many.
var ErrHolders = errors.New("too many holders of leases")

// leases protect files from being deleted, as a Hold does, but for a short time and in memory only: who needs files for a moment
// renews his lease, and if he is killed it ends by itself. A process that takes over knows none.
type leases struct {
	mu   sync.Mutex
	held map[string]lease // by holder
}

type lease struct {
	since time.Time // files with packets from then on
	ends  time.Time
}

// Lease protects the files that hold packets from a time on, for a while, those included that come later. A holder has one
// lease: a further call replaces it, and one for no time ends it.
func (d *Directory) Lease(holder string, since time.Time, lasts time.Duration) error {
	l := &d.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire()
	if lasts <= 0 {
		delete(l.held, holder)
		return nil
	}
	if _, known := l.held[holder]; !known && len(l.held) >= maxHolders {
		return ErrHolders
	}
	if l.held == nil {
		l.held = make(map[string]lease)
	}
	l.held[holder] = lease{since, time.Now().Add(lasts)}
	return nil
}

// Leased returns the names of the files that leases protect now.
func (d *Directory) Leased() map[Name]bool {
	since, any := d.leases.since()
	if !any {
		return nil
	}
	all := make(map[Name]bool)
	for _, n := range d.Since(since) {
		all[n] = true
	}
	return all
}

// since returns the earliest time from which on files are protected.
func (l *leases) since() (since time.Time, any bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire()
	for _, one := range l.held {
		if !any || one.since.Before(since) {
			since, any = one.since, true
		}
	}
	return since, any
}

// expire forgets leases that have ended. The caller holds mu.
func (l *leases) expire() {
	now := time.Now()
	for holder, one := range l.held {
		if !now.Before(one.ends) {
			delete(l.held, holder)
		}
	}
}
