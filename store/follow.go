package store

import (
	"context"
	"encoding/binary"
	"log/slog"
	"time"
)

// Intervals at which Follow lists a directory again. Where the system reports changes, listings are
// still needed for changes that it does not see, such as those by another host in a network file
// system.
const (
	ListEvery        = 5 * time.Minute
	listEveryWatched = time.Hour
)

// watchPause is the shortest time between two reads of the changes: a recorder changes several
// names for each file that ends.
const watchPause = 100 * time.Millisecond

// A watcher reports changes in a directory.
type watcher interface {
	// next waits for changes and returns the names that changed, and whether they are gone since. If
	// all is set, more names may have changed, and the directory has to be listed. After an error, no
	// more changes will be reported.
	next() (gone map[string]bool, all bool, err error)
	close() error
}

// Follow keeps d current until the context ends. After OpenWatched it uses the changes that the
// system reports. After Open, and on systems that report none, it lists the directory at the
// interval; 0 means ListEvery.
func (d *Directory) Follow(ctx context.Context, every time.Duration, log *slog.Logger) {
	if every == 0 {
		every = ListEvery
	}
	defer d.Close()
	failing := false
	w := d.watcher
	for ctx.Err() == nil {
		if w != nil {
			d.followWatcher(ctx, w, max(every, listEveryWatched))
			w = nil
		} else {
			wait(ctx, every)
		}
		if ctx.Err() != nil {
			return
		}
		if d.watched {
			w, _ = watch(d.path) // before the listing, so that no change between the two is missed
		}
		err := d.List()
		if (err != nil) != failing {
			failing = err != nil
			log.Warn("list the directory", "directory", d.path, "error", err)
		}
	}
	if w != nil {
		_ = w.close()
	}
}

// followWatcher applies changes until the context ends, the watcher fails, or the directory has to
// be listed again. It closes the watcher.
func (d *Directory) followWatcher(ctx context.Context, w watcher, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = w.close()
	})
	defer func() {
		if stop() {
			_ = w.close()
		} else {
			<-closed
		}
	}()
	for ctx.Err() == nil {
		names, all, err := w.next()
		if err != nil || all {
			return
		}
		for s, gone := range names {
			d.follow(s, gone)
		}
		wait(ctx, watchPause)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Constants from linux/inotify.h. A struct inotify_event consists of an i32 watch, a u32 mask, a
// u32 cookie and a u32 length of the name that follows, padded with zeros, all in host byte order.
const (
	eventMask   = 4
	eventLen    = 12
	eventHeader = 16

	inMovedFrom  = 0x40
	inDelete     = 0x200
	inUnmount    = 0x2000
	inOverflow   = 0x4000
	inIgnored    = 0x8000
	inDeleteSelf = 0x400
	inMoveSelf   = 0x800
)

// follow takes over that a name has changed. The disk is asked only where the event does not say how: if a
// name that is gone has come again, another event follows.
func (d *Directory) follow(base string, gone bool) {
	name, state, err := Parse(base)
	switch {
	case err != nil || state == Foreign:
	case gone && state != Hold: // of several holds, one may remain
		d.put(name, name.String(), state, false, 0)
	default:
		d.lookAt(base, name, name.String(), state)
	}
}

// parseEvents parses inotify(7) events. It returns the names in them, and for each whether it was gone
// after the last one, whether the kernel's queue overflowed, and whether the watch has ended.
func parseEvents(b []byte) (gone map[string]bool, overflow, ended bool) {
	gone = make(map[string]bool)
	for len(b) >= eventHeader {
		mask := binary.NativeEndian.Uint32(b[eventMask:])
		n := binary.NativeEndian.Uint32(b[eventLen:])
		b = b[eventHeader:]
		if uint64(n) > uint64(len(b)) {
			return gone, true, ended // a truncated event, which the kernel never delivers
		}
		overflow = overflow || mask&inOverflow != 0
		ended = ended || mask&(inUnmount|inIgnored|inDeleteSelf|inMoveSelf) != 0
		name := b[:n]
		b = b[n:]
		for len(name) > 0 && name[len(name)-1] == 0 {
			name = name[:len(name)-1]
		}
		if len(name) > 0 {
			gone[string(name)] = mask&(inDelete|inMovedFrom) != 0
		}
	}
	return gone, overflow, ended
}
