package daemon

import "testing"

// hold stops the recorder between two batches: told of new links it looks at
// its state, which it can't. release lets it go on.
func (r *recorder) hold(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	same := *r.d.links.Load()
	r.d.links.Store(&same)
}

func (r *recorder) release() { r.mu.Unlock() }
