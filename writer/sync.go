package writer

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

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

// Bounds of a shared sync.
const (
	togetherFrom = 8                      // files; fewer are synced one by one
	patience     = 250 * time.Millisecond // from then on, other programs' bytes are to blame
	aloneFor     = time.Minute            // how long files are then synced one by one
)

// syncFileSystem is replaced in tests.
var syncFileSystem = store.SyncFileSystem

// A sharedSync syncs the files of a group by one sync of their file system. It saves the flush of the
// disk's cache that each sync of a file ends with, and most of the processor time. But it waits for
// what other programs have written too. So a group that has waited long enough goes on without it.
type sharedSync struct {
	running atomic.Bool
	barred  time.Time // until then it is not tried
}

// syncGroup waits until the files of the group are on the disk.
func (s *sharedSync) syncGroup(d *disk, group []*file, call *call) {
	d.begin(call)
	if len(group) >= togetherFrom && s.sync(group, &d.syncs) {
		return
	}
	for _, f := range group {
		d.begin(call)
		f.sync(&d.syncs)
	}
}

// sync reports whether all files of the group that have not failed are on the disk.
func (s *sharedSync) sync(group []*file, syncs *stopwatch) bool {
	if s.running.Load() || time.Now().Before(s.barred) {
		return false
	}
	synced := func(f *file) bool { return f.handle() == nil || f.syncFailed.Load() } // or can't be
	i := slices.IndexFunc(group, func(f *file) bool { return !synced(f) })
	if i < 0 {
		return true
	}
	wait, err := syncFileSystem(group[i].handle())
	if err != nil {
		return false
	}
	for _, f := range group[i:] {
		if synced(f) {
			continue
		}
		// The file system's sync may not say that pages could not be written, or say it of other files.
		// This is said once only, so the file's own sync must not follow.
		if err := store.SyncPages(f.handle()); err != nil {
			f.syncFailed.Store(true)
			f.fail(fmt.Errorf("sync: %w", err))
		}
	}
	done := make(chan error, 1)
	s.running.Store(true)
	go func() {
		defer s.running.Store(false)
		done <- syncs.time(wait)
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-done:
		return err == nil
	case <-late.C:
		s.barred = time.Now().Add(aloneFor)
		return false
	}
}

// sync waits until the file is on the disk.
func (f *file) sync(syncs *stopwatch) {
	h := f.handle()
	if h == nil || f.syncFailed.Load() {
		return
	}
	if err := syncs.time(func() error { return store.SyncData(h) }); err != nil {
		f.fail(fmt.Errorf("sync: %w", err))
	}
}
