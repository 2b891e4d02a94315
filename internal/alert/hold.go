package alert

import (
	"context"
	"sync"
	"time"
)

// LeaseTime is how long files stay held by a process that does not renew that, as it was killed.
const LeaseTime = time.Minute

// A Holder keeps files from being deleted by limits while they are needed. The zero time needs none.
type Holder struct {
	// Lease holds all files with packets from a time on for LeaseTime, or ends that, given the zero time.
	Lease func(ctx context.Context, since time.Time) error
	// Failed is called when Lease does not work, and with nil when it does again.
	Failed func(error)

	mu      sync.Mutex
	since   time.Time
	failing bool
}

// Need says from when on files are needed from now on. It returns once they are held.
func (h *Holder) Need(ctx context.Context, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if since.Equal(h.since) {
		return
	}
	h.since = since
	h.lease(ctx)
}

// lease asks for the lease. The caller holds mu.
func (h *Holder) lease(ctx context.Context) {
	err := h.Lease(ctx, h.since)
	if (err != nil) != h.failing {
		h.failing = err != nil
		h.Failed(err)
	}
}

// Keep renews the lease until the context ends, and then ends it.
func (h *Holder) Keep(ctx context.Context) {
	tick := time.NewTicker(LeaseTime / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			h.Need(context.WithoutCancel(ctx), time.Time{})
			return
		case <-tick.C:
			h.mu.Lock()
			if !h.since.IsZero() {
				h.lease(ctx)
			}
			h.mu.Unlock()
		}
	}
}
