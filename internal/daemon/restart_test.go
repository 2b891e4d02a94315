package daemon

import (
	"testing"

	"capd/internal/recorder"
	"capd/writer"
)

// TestBusy: before a restart, recorders go on until the disk has caught up, unless it fails.
func TestBusy(t *testing.T) {
	const chunks, blocks = 100, 80
	for name, c := range map[string]struct {
		status     recorder.Status
		unfinished bool
		want       bool
	}{
		"idle":        {recorder.Status{State: recorder.Recording, Writer: writer.Stats{FreeChunks: chunks - 1}}, false, false},
		"keeps up":    {recorder.Status{State: recorder.Recording, RingFilled: blocks / 8, Writer: writer.Stats{FreeChunks: chunks - 3}}, false, false},
		"chunks":      {recorder.Status{State: recorder.Recording, Writer: writer.Stats{FreeChunks: chunks - 4}}, false, true},
		"ring":        {recorder.Status{State: recorder.Recording, RingFilled: blocks/8 + 1, Writer: writer.Stats{FreeChunks: chunks}}, false, true},
		"a file":      {recorder.Status{State: recorder.Recording, Writer: writer.Stats{FreeChunks: chunks}}, true, true},
		"disk fails":  {recorder.Status{State: recorder.Suspended, Writer: writer.Stats{FreeChunks: 0}}, true, false},
		"nothing yet": {recorder.Status{State: recorder.Waiting, Writer: writer.Stats{FreeChunks: 0}}, true, false},
	} {
		c.status.RingBlocks, c.status.Writer.Chunks = blocks, chunks
		if got := isBusy(&c.status, c.unfinished); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
