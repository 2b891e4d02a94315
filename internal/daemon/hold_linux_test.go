package daemon

import "testing"

// hold stops the recorder between two batches: its next look at the counters
// for the log of a rotation waits. release lets it go on.
func (r *recorder) hold(t *testing.T) {
	t.Helper()
	r.rotate.Store(true)
	r.mu.Lock()
}

func (r *recorder) release() { r.mu.Unlock() }
