package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"capd/internal/control"
	"capd/internal/restart"
)

// A roomer is a store of descriptors that says whether it is full.
type roomer interface {
	restart.Keeper
	StoreMax() (most int, known bool)
	HasRoom(timeout time.Duration) (bool, error)
}

// An outlast finds out whether what recorders leave outlasts the process: the
// service manager drops what is too much for its store without saying so. It
// counts what is stored.
type outlast struct {
	roomer
	log     *slog.Logger
	look    chan struct{}                   // wakes run
	verdict atomic.Pointer[control.Restart] // by the last answer of the manager

	mu     sync.Mutex // guards what follows; held for assignments only
	stored map[string]int
}

func newOutlast(m roomer, inherited []restart.File, log *slog.Logger) *outlast {
	o := &outlast{roomer: m, log: log, look: make(chan struct{}, 1), stored: make(map[string]int)}
	o.verdict.Store(&control.Restart{Loses: control.Unknown, Why: "the service manager was not asked yet"})
	for _, f := range inherited {
		o.stored[f.Name]++
	}
	return o
}

// Store implements restart.Keeper.
func (o *outlast) Store(name string, files ...*os.File) error {
	o.mu.Lock()
	o.stored[name] += len(files)
	o.mu.Unlock()
	return o.roomer.Store(name, files...)
}

// Remove implements restart.Keeper.
func (o *outlast) Remove(name string) error {
	o.mu.Lock()
	delete(o.stored, name)
	o.mu.Unlock()
	return o.roomer.Remove(name)
}

// count returns how many descriptors are stored, if there is room.
func (o *outlast) count() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, of := range o.stored {
		n += of
	}
	return n
}

// check makes run look once more: capd is ready, or was reloaded.
func (o *outlast) check() {
	if o == nil {
		return
	}
	select {
	case o.look <- struct{}{}:
	default:
	}
}

// lacks reports whether a restart of capd is known to cost frames.
func (o *outlast) lacks() bool { return o != nil && o.verdict.Load().Loses == control.Frames }

// survival returns what a restart of capd costs.
func (l *leaver) survival() control.Restart {
	switch {
	case l.outlast != nil:
		return *l.outlast.verdict.Load()
	case l.holder == nil:
		return control.Restart{Loses: control.Frames, Why: runtime.GOOS + " can't hand a recording to another process"}
	case l.managed:
		return control.Restart{Loses: control.Frames, Why: "the service manager keeps no descriptors: FileDescriptorStoreMax= in the unit; capd upgrade loses nothing"}
	}
	return control.Restart{Loses: control.Frames, Why: "no service manager keeps the rings; capd upgrade and capd run --take-over lose nothing"}
}

// survivalOf returns what a restart costs that records the interfaces: those without a ring have nothing to leave.
func survivalOf(r control.Restart, all []control.Interface) control.Restart {
	if r.Loses == control.Frames {
		return r
	}
	var names []string
	for i := range all {
		if one := &all[i]; one.State == control.Recording && one.Ring.Size == 0 {
			names = append(names, one.Name)
		}
	}
	if len(names) == 0 {
		return r
	}
	return control.Restart{Loses: control.Frames, Why: "no ring outlives capd for " + strings.Join(names, ", ")}
}

// The service manager may be busy, as at the start of the machine.
const (
	roomAnswer = time.Second // within which it answers
	roomPause  = 10 * time.Second
	roomTries  = 6
)

// run looks after each check whether there is room, until the context ends. It never
// holds up a recorder.
func (o *outlast) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.look:
			o.judge(ctx)
		}
	}
}

// judge asks the manager, and logs whether a restart will cost frames.
func (o *outlast) judge(ctx context.Context) {
	room, err := o.HasRoom(roomAnswer)
	for range roomTries - 1 {
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(roomPause):
		}
		room, err = o.HasRoom(roomAnswer)
	}
	n := o.count()
	most, known := o.StoreMax()
	reload := 2 * n // new recorders take over from the present ones
	switch {
	case err != nil:
		o.log.Info("it is not known whether a restart of capd costs frames", "error", err)
		if !o.lacks() {
			o.verdict.Store(&control.Restart{Loses: control.Unknown, Why: err.Error()})
		}
		return
	case !room:
		o.verdict.Store(&control.Restart{Loses: control.Frames, Why: fmt.Sprintf(
			"the service manager keeps too few of capd's descriptors, or none: it needs %d, and %d for a reload: FileDescriptorStoreMax= in the unit", n, reload)})
		o.log.Warn("a restart of capd will cost frames: the service manager keeps too few of its descriptors, or none",
			"needed", n, "hint", "FileDescriptorStoreMax= in the unit; a reload needs twice as many")
		return
	case known && most < reload:
		o.log.Warn("a restart of capd will cost frames after a reload: the service manager keeps too few of its descriptors",
			"needed", reload, "kept", most, "hint", "FileDescriptorStoreMax= in the unit")
	}
	o.verdict.Store(&control.Restart{Loses: control.Nothing})
}
