package writer

import (
	"fmt"

	"capd/store"
)

// A syncing is a request to sync a file.
type syncing struct {
	*file
	done func() // nil: nobody waits for it
}

// Sync requests a sync of the current file, which protects what is on disk from a power cut. It is
// skipped while another one waits. The function, which may be nil, is called when it is over.
func (w *Writer) Sync(done func()) {
	w.synced = w.schedule.mono
	if f := w.file; f != nil {
		f.pending.Add(1)
		select {
		case w.disk.syncing <- syncing{f, done}:
			return
		default:
			f.pending.Done()
		}
	}
	if done != nil {
		done()
	}
}

// keepSyncing runs in its own goroutine, because a sync may take as long as many writes.
func (d *disk) keepSyncing() {
	call := &d.calls[writers+1]
	for one := range d.syncing {
		d.begin(call)
		d.syncNow(one.file)
		d.end(call)
		if one.done != nil {
			one.done()
		}
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
