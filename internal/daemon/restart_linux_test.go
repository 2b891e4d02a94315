package daemon

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"capd/capture/fake"
	"capd/config"
	"capd/internal/control"
	"capd/internal/restart"
	"capd/ledger"
)

// A keeper keeps descriptors as a service manager does.
type keeper struct {
	t     *testing.T
	mu    sync.Mutex
	files map[string]*os.File
}

func newKeeper(t *testing.T) *keeper {
	k := &keeper{t: t, files: make(map[string]*os.File)}
	t.Cleanup(func() {
		for name := range k.files {
			_ = k.Remove(name)
		}
	})
	return k
}

func duplicate(f *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(f.Fd()))
	return os.NewFile(uintptr(fd), f.Name()), err
}

func (k *keeper) Store(name string, files ...*os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range files {
		d, err := duplicate(f)
		if err != nil {
			return err
		}
		k.files[name] = d
	}
	return nil
}

func (k *keeper) Remove(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.files[name]; f != nil {
		_ = f.Close()
	}
	delete(k.files, name)
	return nil
}

// of returns the descriptors of a kind, by name.
func (k *keeper) of(kind string) (all []*os.File) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(k.files)) {
		if strings.HasSuffix(name, "-"+kind) {
			all = append(all, k.files[name])
		}
	}
	return all
}

// inherit returns what the next process gets.
func (k *keeper) inherit() Restart {
	var files []restart.File
	k.mu.Lock()
	for name, f := range k.files {
		d, err := duplicate(f)
		if err != nil {
			k.t.Error(err)
		}
		files = append(files, restart.File{Name: name, File: d})
	}
	k.mu.Unlock()
	r := Restart{Keeper: k}
	r.States, r.Seen, r.Refused = restart.Inherit(k, files, slog.New(slog.DiscardHandler))
	return r
}

// A restarted is an interface that one daemon after the other records.
type restarted struct {
	*rig
	t    *testing.T
	k    *keeper
	net  *fakeNetwork
	link wire
	sent uint64

	count uint64 // Options.Count
}

func newRestarted(t *testing.T, change func(*config.Config)) *restarted {
	n := &fakeNetwork{t: t, sys: fake.New()}
	r := &restarted{t: t, k: newKeeper(t), net: n, link: n.add("eth0")}
	r.begin(newRig(t, n, change, "eth0"))
	return r
}

func (r *restarted) begin(next *rig) {
	r.rig = next
	opt := next.options()
	opt.Restart, opt.Count = r.k.inherit(), r.count
	opt.Restart.Counts = true
	next.start(opt)
	<-next.ready
}

// again starts the next daemon, in the same directory.
func (r *restarted) again(change func(*config.Config)) {
	next := newRig(r.t, r.net, change, "eth0")
	next.cfg.Interfaces[0].Directory, next.dir = r.dir, r.dir
	r.begin(next)
}

// frames sends n frames.
func (r *restarted) frames(n uint64) {
	for range n {
		r.link.Send(appendFrame(nil, 1, r.sent))
		r.sent++
	}
}

// kill ends the daemon without letting it finish anything.
func (r *restarted) kill() {
	r.t.Helper()
	r.d.Abort()
	if err := <-r.done; err == nil {
		r.t.Error("the daemon has ended in order")
	}
}

// abort ends the daemon at once, whether something is to be finished or not.
func (r *restarted) abort() {
	r.d.Abort()
	<-r.done
}

// lines returns the ledger's lines of a kind.
func (r *restarted) lines(kind ledger.Kind) (all []ledger.Entry) {
	r.t.Helper()
	for e, err := range ledger.Read(r.dir, nil) {
		if err != nil {
			r.t.Error(err)
		}
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}

// goesOn checks that nothing was lost over the restarts.
func (r *restarted) goesOn() {
	r.t.Helper()
	if p := r.d.dirs.at(r.dir).pause; p != (control.Pause{}) {
		r.t.Errorf("a pause from %v to %v", p.Begin, p.End)
	}
	r.end()
	verify(r.t, r.files("eth0"), 1, r.sent, 0)
	for _, e := range r.lines(ledger.KindGap) {
		if e.Cause == ledger.CauseStopped {
			r.t.Errorf("a gap: %+v", e)
		}
	}
	for _, e := range r.lines(ledger.KindRestart) {
		if e.Why != "" || e.Begin.IsZero() || e.End.Before(e.Begin) {
			r.t.Errorf("%+v", e)
		}
	}
}

func inBubble(t *testing.T, change func(*config.Config), test func(r *restarted)) {
	onFake(t, func(t *testing.T, _ network) { test(newRestarted(t, change)) })
}

// TestRestartGoesOn: whether a daemon ends in order or not, the next one goes on with its rings and its
// files, and its counters add up.
func TestRestartGoesOn(t *testing.T) {
	inBubble(t, fine, func(r *restarted) {
		for i := range 6 {
			r.frames(500)
			time.Sleep(300 * time.Millisecond)
			r.frames(50)
			if i%2 == 0 {
				r.kill()
			} else {
				r.end()
			}
			r.frames(70)
			r.again(fine)
		}
		r.goesOn()
		if n := len(r.lines(ledger.KindRestart)); n != 6 {
			t.Errorf("%d lines of restarts", n)
		}
	})
}

// TestRestartWithOtherSettings: what was recorded by the old settings goes on by the new ones, as after
// a reload.
func TestRestartWithOtherSettings(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"in place":  func(c *config.Config) { c.RotateSize = 4 * config.MiB },
		"new ring":  func(c *config.Config) { c.RingSize = config.AutoSize(16 * config.MiB) },
		"new lanes": func(c *config.Config) { c.Fanout = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(r *restarted) {
				r.frames(300)
				r.kill()
				r.frames(300)
				r.again(change)
				time.Sleep(time.Second)
				r.frames(300)
				if name != "new lanes" {
					r.goesOn()
					return
				}
				var received uint64
				for _, s := range r.end() {
					received += s.Received
				}
				if received < 600 {
					t.Errorf("%d frames received", received)
				}
				if gaps := r.lines(ledger.KindGap); len(gaps) > 0 {
					t.Errorf("%+v", gaps)
				}
			})
		})
	}
}

// TestRestartWithoutInterface: an interface that is gone by the next start costs nothing that was
// received before, and is waited for as without a restart.
func TestRestartWithoutInterface(t *testing.T) {
	inBubble(t, nil, func(r *restarted) {
		r.frames(300)
		r.kill()
		r.frames(300)
		r.link.Remove()
		r.again(nil)
		r.await("a recorder that waits", func() bool { return r.status("eth0").State == Waiting })
		r.link = r.net.add("eth0")
		r.await("a recorder", func() bool { return r.status("eth0").State == Recording })
		r.frames(300)
		r.goesOn()
	})
}

// TestRestartAmidReload: a kill while the rings before and after a reload both get frames makes no frame come twice, however
// late the next process begins.
func TestRestartAmidReload(t *testing.T) {
	onFake(t, func(t *testing.T, _ network) {
		r := newUnbegun(t)
		r.beginAll(0, "eth0")
		if err := r.d.Reload(r.change(func(c *config.Interface) { c.Snaplen = 100_000 })); err != nil {
			t.Fatal(err)
		}
		time.Sleep(110 * time.Millisecond) // the old recorder looks up after 100 ms, and reads for 20 ms more
		r.frames(100)
		if n := len(r.k.of("ring")); n != 2 {
			t.Fatalf("%d rings", n)
		}
		r.abort()
		r.frames(100)
		time.Sleep(3 * time.Second)
		r.frames(100)
		r.beginAll(100_000, "eth0")
		r.await("the successor", func() bool { return r.d.set.quiet() && r.status("eth0").State == Recording })
		r.frames(300)
		r.goesOn()
	})
}

// TestRestartRenamed: an interface that has another name by the next start is recorded on under that.
func TestRestartRenamed(t *testing.T) {
	inBubble(t, nil, func(r *restarted) {
		r.frames(300)
		r.kill()
		r.frames(300)
		r.link.Rename("eth1")
		next := newRig(r.t, r.net, nil, "eth0", "eth1")
		for i := range next.cfg.Interfaces {
			next.cfg.Interfaces[i].Directory, next.dir = r.dir, r.dir
			next.cfg.Interfaces[i].Wait = true
		}
		r.begin(next)
		r.await("the new name", func() bool { return r.status("eth1").State == Recording })
		r.frames(300)
		r.end()
		verify(t, append(r.files("eth0"), r.files("eth1")...), 1, r.sent, 0)
	})
}

// TestRestartWaiting: a recorder that waited for its interface, and that a reload replaced then, records the interface
// when that comes, though capd is killed before and after.
func TestRestartWaiting(t *testing.T) {
	for _, early := range []bool{false, true} { // the interface is there by the next start
		t.Run(fmt.Sprint("early ", early), func(t *testing.T) {
			onFake(t, func(t *testing.T, _ network) {
				r := newUnbegun(t)
				r.link.Remove()
				r.beginAll(0, "eth0")
				if err := r.d.Reload(r.change(func(c *config.Interface) { c.Snaplen = 100_000 })); err != nil {
					t.Fatal(err)
				}
				r.await("the successor", func() bool { return r.d.set.quiet() && r.status("eth0").State == Waiting })
				r.abort()
				if early {
					r.link = r.net.add("eth0")
				}
				r.beginAll(100_000, "eth0")
				if !early {
					r.link = r.net.add("eth0")
				}
				for range 2 {
					r.await("a recorder", func() bool { return r.status("eth0").State == Recording })
					r.frames(300)
					r.kill()
					r.frames(300)
					r.beginAll(100_000, "eth0")
				}
				r.goesOn()
			})
		})
	}
}

// TestRestartRenamedToWaiting: an interface that gets the name for which another recorder waits, while capd is not
// there, is recorded once, whether the settings are others by then or not.
func TestRestartRenamedToWaiting(t *testing.T) {
	for _, snaplen := range []int{0, 100_000} {
		t.Run(fmt.Sprint("snaplen ", snaplen), func(t *testing.T) {
			onFake(t, func(t *testing.T, _ network) {
				r := newUnbegun(t)
				r.beginAll(0, "eth0", "eth1")
				r.frames(300)
				r.kill()
				r.frames(300)
				r.link.Rename("eth1")
				r.beginAll(snaplen, "eth0", "eth1")
				r.frames(100)
				r.kill()
				r.frames(100)
				r.beginAll(snaplen, "eth0", "eth1")
				r.await("the new name", func() bool { return r.status("eth1").State == Recording && r.d.set.quiet() })
				r.frames(300)
				r.end()
				once(t, append(r.files("eth0"), r.files("eth1")...), 1, r.sent)
			})
		})
	}
}

// newUnbegun returns one with an interface and no daemon yet.
func newUnbegun(t *testing.T) *restarted {
	n := &fakeNetwork{t: t, sys: fake.New()}
	return &restarted{t: t, k: newKeeper(t), net: n, link: n.add("eth0")}
}

// beginAll starts the next daemon, which waits for interfaces of these names, with a snaplen other than the default if
// that is not 0.
func (r *restarted) beginAll(snaplen int, names ...string) {
	next := newRig(r.t, r.net, nil, names...)
	if r.rig != nil {
		next.dir = r.dir
	}
	for i := range next.cfg.Interfaces {
		c := &next.cfg.Interfaces[i]
		c.Directory, c.Wait, c.Snaplen = next.dir, true, cmp.Or(snaplen, c.Snaplen)
	}
	r.begin(next)
}

// TestRestartOfLast: a recorder that was to end without a successor, when capd was killed, goes on if its interface is
// recorded, unless another one records that.
func TestRestartOfLast(t *testing.T) {
	for _, also := range []bool{false, true} {
		t.Run(fmt.Sprint("another ", also), func(t *testing.T) {
			inBubble(t, nil, func(r *restarted) {
				r.frames(300)
				r.kill()
				r.k.inherit().States[0].Ends()
				if also {
					other := newRig(r.t, r.net, nil, "eth0") // a directory and a ring of its own
					opt := other.options()
					opt.Restart = Restart{Keeper: r.k}
					other.start(opt)
					<-other.ready
					other.d.Abort()
					<-other.done
				}
				r.frames(300)
				r.again(nil)
				r.await("one recorder", func() bool { return r.d.set.quiet() && len(r.k.of("state")) == 1 })
				if !also {
					r.frames(300)
					r.goesOn()
				}
			})
		})
	}
}

// TestRestartOfLanes: a lane whose ring is missing begins anew, with a gap. The other one goes on.
func TestRestartOfLanes(t *testing.T) {
	lanes := func(c *config.Config) { c.Fanout = 2 }
	inBubble(t, lanes, func(r *restarted) {
		r.frames(300)
		time.Sleep(time.Second)
		r.kill()
		rings := r.k.of("ring")
		if len(rings) != 2 {
			t.Fatalf("%d rings", len(rings))
		}
		for name, f := range r.k.files {
			if f == rings[0] {
				if err := r.net.sys.Forget(f); err != nil {
					t.Fatal(err)
				}
				_ = r.k.Remove(name)
			}
		}
		r.again(lanes)
		r.await("both lanes", func() bool {
			n := 0
			for _, s := range r.d.Status() {
				if s.State == Recording {
					n++
				}
			}
			return n > 0 && r.d.set.quiet()
		})
		r.frames(300)
		r.end()
		var why []string
		for _, e := range r.lines(ledger.KindRestart) {
			why = append(why, e.Why)
		}
		slices.Sort(why)
		if !slices.Equal(why, []string{"", "its ring is missing"}) {
			t.Errorf("restarts: %q", why)
		}
	})
}

// TestRestartRefused: what another version of capd has left is not used; the ledger says so.
func TestRestartRefused(t *testing.T) {
	inBubble(t, nil, func(r *restarted) {
		r.frames(300)
		r.end()
		for _, f := range r.k.of("state") {
			if _, err := f.WriteAt([]byte{99}, 8); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		r.again(nil)
		if p := r.d.dirs.at(r.dir).pause; p.End.Sub(p.Begin) < time.Second {
			t.Errorf("a pause from %v to %v", p.Begin, p.End)
		}
		r.end()
		lines := r.lines(ledger.KindRestart)
		if len(lines) != 1 || !strings.Contains(lines[0].Why, "another version of capd") || lines[0].Interface != "eth0" {
			t.Errorf("%+v", lines)
		}
	})
}

// TestRestartWithoutDirectory: recorders whose directory can't be opened any more do not keep capd
// from recording to another one.
func TestRestartWithoutDirectory(t *testing.T) {
	inBubble(t, nil, func(r *restarted) {
		r.frames(300)
		r.end()
		old := r.dir
		if err := os.RemoveAll(old); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(old, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r.begin(newRig(r.t, r.net, nil, "eth0"))
		r.await("a recorder", func() bool { return r.status("eth0").State == Recording })
		r.end()
		if lines := r.lines(ledger.KindRestart); len(lines) != 1 || !strings.Contains(lines[0].Why, old) {
			t.Errorf("%+v", lines)
		}
	})
}

// TestSyncBeforeLeaving: before recorders leave their rings they sync their files, so that little is left for the
// sync during which nobody reads.
func TestSyncBeforeLeaving(t *testing.T) {
	inBubble(t, nil, func(r *restarted) {
		r.frames(300)
		time.Sleep(time.Second)
		before := r.d.Status()[0].Writer.Syncs.Count
		r.d.manager.rest()
		if s := r.d.Status()[0]; s.Writer.Syncs.Count != before+1 || s.State != "recording" {
			t.Errorf("%d syncs after %d, %s", s.Writer.Syncs.Count, before, s.State)
		}
		r.goesOn()
	})
}

// TestCountOutlives: what was recorded before a restart counts.
func TestCountOutlives(t *testing.T) {
	onFake(t, func(t *testing.T, _ network) {
		n := &fakeNetwork{t: t, sys: fake.New()}
		r := &restarted{t: t, k: newKeeper(t), net: n, link: n.add("eth0"), count: 1000}
		r.begin(newRig(t, n, fine, "eth0"))
		for i := range 3 {
			r.frames(300)
			time.Sleep(300 * time.Millisecond)
			r.frames(20)
			if i == 0 {
				r.kill()
			} else {
				r.end()
			}
			r.again(fine)
		}
		r.frames(200)
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		verify(t, r.files("eth0"), 1, 1000, 0)
	})
}

// TestSuccessorWithoutRing: a recorder from which another one was to take over, and whose successor had no ring yet, is
// an ordinary one again: it is not taken for one that others have followed once its ring is gone.
func TestSuccessorWithoutRing(t *testing.T) {
	inBubble(t, nil, func(r *restarted) {
		r.frames(300)
		r.kill()
		before := r.k.inherit().States[0]
		before.Leaves()
		next, err := restart.New(r.k, before.Lane, before.Settings, before.Number(), restart.NewGroup(), before.Group())
		if err != nil {
			t.Fatal(err)
		}
		if err := next.Keep(before.Chunks); err != nil {
			t.Fatal(err)
		}
		r.frames(100)
		r.again(nil)
		r.frames(100)
		time.Sleep(time.Second)
		states := r.k.inherit().States
		if len(states) != 1 {
			t.Fatalf("%d states", len(states))
		}
		r.goesOn()
		states[0].DropRing()
		if states[0].Spent() {
			t.Error("it is taken for one that others have followed")
		}
	})
}
