package writer

import (
	"fmt"

	"capd/store"
)

// sync requests a sync of the current file, which protects what is on disk from a power cut. It is
// skipped while the previous sync is still running.
func (w *Writer) sync() {
	w.synced = w.schedule.mono
	f := w.file
	if f == nil {
		return
	}
	f.pending.Add(1)
	select {
	case w.disk.syncing <- f:
	default:
		f.pending.Done()
	}
}

// keepSyncing runs in its own goroutine, because a sync may take as long as many writes.
func (d *disk) keepSyncing() {
	call := &d.calls[writers+1]
	for f := range d.syncing {
		d.begin(call)
		d.syncNow(f)
		d.end(call)
	}
}

func (d *disk) syncNow(f *file) {
	defer f.pending.Done()
	if f.failed.Load() {
		return
	}
	f.io.Lock()
	h := f.handle()
	f.io.Unlock()
	if h == nil {
		return
	}
	if err := d.syncs.time(func() error { return store.SyncData(h) }); err != nil {
		f.syncFailed.Store(true)
		d.fail(f, fmt.Errorf("sync: %w", err))
	}
}
