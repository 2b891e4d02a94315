package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"capd/config"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// change returns the configuration with changed settings of the first
// interface.
func (r *rig) change(f func(*config.Interface)) *config.Config {
	c := *r.d.config.Load()
	c.Interfaces = slices.Clone(c.Interfaces)
	f(&c.Interfaces[0])
	return &c
}

// TestReload: over reloads under load every frame is recorded once; an invalid
// configuration changes nothing; and an interface keeps its file if its
// settings are unchanged or change in place.
func TestReload(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		w1 := n.add("w1")
		r := newRig(t, n, nil, "v1", "w1")
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording && r.status("w1").State == Recording })
		other := w1
		other.Send(appendFrame(nil, 2, 0))
		r.await("frame", func() bool { return r.status("w1").Writer.File != "" })
		kept := r.status("w1").Writer.File

		var sent atomic.Uint64
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			var frame []byte
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				frame = appendFrame(frame[:0], 1, n)
				v1.Send(frame)
				sent.Store(n + 1)
				if n%100 == 99 {
					r.net.pace()
				}
				if n%100 == 99 { // as fast as the recorder, whatever the machine's load
					for s := r.status("v1"); s.Received > s.Writer.Accepted+4000+s.KernelDropped; s = r.status("v1") {
						time.Sleep(time.Millisecond)
					}
				}
			}
		}()
		steps := []func(*config.Interface){
			func(i *config.Interface) { i.RingSize *= 2 },
			func(i *config.Interface) { i.RotateSize = 8 * config.MiB },
			func(i *config.Interface) { i.Snaplen = 100_000 },
			func(i *config.Interface) { i.Filter = "ether proto 0x88b5" },
			func(i *config.Interface) { i.BlockSize *= 2 },
			func(i *config.Interface) { i.RingSize /= 2; i.BlockSize /= 2; i.Filter, i.Snaplen = "", 262144 },
		}
		for round := range 24 {
			before := sent.Load()
			if err := r.d.Reload(r.change(steps[round%len(steps)])); err != nil {
				t.Fatal(err)
			}
			bad := r.change(func(i *config.Interface) { i.Filter = "ether proto (" })
			if err := r.d.Reload(bad); err == nil {
				t.Fatal("an invalid filter is accepted")
			}
			r.await("frames", func() bool { return sent.Load() > before+500 && r.handed() })
		}
		close(stop)
		<-stopped
		r.await("frames", func() bool { return r.status("v1").Writer.Accepted == sent.Load() })
		if now := r.status("w1").Writer.File; now != kept {
			t.Errorf("an interface that did not change has the file %s, want %s", now, kept)
		}
		all := r.end()
		s := all[0]
		if s.Written != sent.Load() || s.KernelDropped+s.Dropped != 0 {
			t.Errorf("sent %d: %+v", sent.Load(), s)
		}
		verify(t, r.files("v1"), 1, sent.Load(), 0)
		if n := len(r.files("v1")); n < 15 {
			t.Errorf("%d files after 20 takeovers", n)
		}
		verifyVerdict(t, r.dir)
	})
}

// handed reports whether no takeover is in progress.
func (r *rig) handed() bool { return r.d.set.quiet() }

func verifyVerdict(t *testing.T, dir string) {
	t.Helper()
	for e, err := range ledger.Read(dir, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == ledger.KindGap || e.CapdDropped+e.KernelDropped > 0 {
			t.Errorf("the ledger has %+v", e)
		}
	}
}

// TestReloadInPlace: the recorder and its file continue, with the new settings.
func TestReloadInPlace(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		v1.Send(appendFrame(nil, 1, 0))
		r.await("frame", func() bool { return r.status("v1").Writer.Accepted == 1 })
		before := r.d.set.at(store.Lane{Interface: "v1"})
		next := r.change(func(i *config.Interface) { i.RotateInterval = config.Duration(time.Second) })
		if err := r.d.Reload(next); err != nil {
			t.Fatal(err)
		}
		r.await("rotation", func() bool { return r.status("v1").Writer.Files == 1 })
		if r.d.set.at(store.Lane{Interface: "v1"}) != before {
			t.Error("the interface was opened again")
		}
		r.end()
		verify(t, r.files("v1"), 1, 1, 0)
	})
}

// TestReloadInterfaces: added interfaces are recorded, removed ones are
// finished, and impossible ones are refused.
func TestReloadInterfaces(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		w1 := n.add("w1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		v1.Send(appendFrame(nil, 1, 0))
		r.await("frame", func() bool { return r.status("v1").Writer.Accepted == 1 })
		nowhere := filepath.Join(r.dir, "no", "where")
		if err := r.d.Reload(r.change(func(i *config.Interface) { i.Directory = nowhere })); err == nil ||
			!strings.Contains(err.Error(), nowhere) {
			t.Errorf("an impossible directory: %v", err)
		}
		if err := r.d.Reload(r.change(func(i *config.Interface) { i.Name = "w1" })); err != nil {
			t.Fatal(err)
		}
		r.await("the other interface", func() bool { return r.status("w1").State == Recording && r.status("v1").State == Ended })
		if files, _ := filepath.Glob(filepath.Join(r.dir, "v1-*.pcapng")); len(files) != 1 {
			t.Errorf("files %q", files)
		}
		w1.Send(appendFrame(nil, 1, 0))
		r.end()
		walked := 0
		walk(t, r.files("w1"), func(pcap.Packet) { walked++ })
		if walked != 1 {
			t.Errorf("%d frames of the new interface", walked)
		}
	})
}

// TestReloadDirectories: an added directory is recorded into, with no frame
// lost or duplicated. A directory that is no longer configured is finished and
// released, and so is one that was opened for a configuration that is refused.
func TestReloadDirectories(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, fine, "v1")
		out := filepath.Join(t.TempDir(), "out")
		r.cfg.Finished.Hook = []string{"/bin/sh", "-c", `echo "$CAPD_FILE" >>"$0"`, out}
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording })
		s := r.stream(v1, 1)
		dirs := []string{r.dir, filepath.Join(t.TempDir(), "made"), t.TempDir(), r.dir}
		for _, dir := range dirs[1:] {
			s.more(r)
			if err := r.d.Reload(r.change(func(i *config.Interface) { i.Directory = dir })); err != nil {
				t.Fatal(err)
			}
			r.await("the takeover", func() bool { return r.handed() && r.status("v1").State == Recording })
			r.await("the old one's end", func() bool { return len(r.d.dirs.unique()) == 1 && !locked(t, dirs, dir) })
		}
		bad := r.change(func(i *config.Interface) { i.Directory = dirs[1] })
		bad.Interfaces = append(bad.Interfaces, bad.Interfaces[0])
		bad.Interfaces[1].Name, bad.Interfaces[1].Directory = "v2", filepath.Join(r.dir, "no", "where")
		if err := r.d.Reload(bad); err == nil {
			t.Error("the configuration was accepted")
		}
		r.await("what was opened to be closed", func() bool { return len(r.d.dirs.unique()) == 1 && !locked(t, dirs, r.dir) })
		s.more(r)
		sent := s.end()
		r.accepted(sent)
		r.await("hooks", func() bool { b, _ := os.ReadFile(out); return strings.Count(string(b), "\n") == len(dirs)-1 })
		if all := r.end(); Sum(all).Written != sent {
			t.Errorf("sent %d: %+v", sent, all)
		}
		var files []string
		for _, dir := range dirs[:len(dirs)-1] {
			found, _ := filepath.Glob(filepath.Join(dir, "v1-*.pcapng"))
			files = append(files, found...)
			kinds := map[ledger.Kind]int{}
			for e, err := range ledger.Read(dir, nil) {
				if err != nil {
					t.Fatal(err)
				}
				kinds[e.Kind]++
			}
			runs := 1
			if dir == r.dir {
				runs = 2
			}
			if kinds[ledger.KindStart] != runs || kinds[ledger.KindStop] != runs || kinds[ledger.KindGap] != 0 {
				t.Errorf("%s: the ledger has %v", dir, kinds)
			}
		}
		once(t, files, 1, sent)
	})
}

// locked reports whether one of the directories, except for but, is in use.
func locked(t *testing.T, dirs []string, but string) bool {
	t.Helper()
	for _, dir := range dirs {
		if dir == but {
			continue
		}
		l, err := store.LockDirectory(dir)
		if errors.Is(err, store.ErrInUse) {
			return true
		}
		if err == nil {
			_ = l.Release()
		}
	}
	return false
}

// TestReloadFinished: after a reload, changed steps apply to new files.
func TestReloadFinished(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, nil, "v1")
		r.start(r.options())
		out := filepath.Join(t.TempDir(), "out")
		hook := func(word string) []string {
			return []string{"/bin/sh", "-c", `echo "` + word + ` ${CAPD_FILE##*-}" >>"$0"`, out}
		}
		said := func() string { b, _ := os.ReadFile(out); return string(b) }
		file := func(n int) {
			t.Helper()
			v1.Send(appendFrame(nil, 1, uint64(n)))
			r.await("frame", func() bool { return r.status("v1").Writer.Accepted == uint64(n+1) })
			if _, err := r.d.RotateFiles(t.Context(), "v1"); err != nil { // returns once the Directory lists the file
				t.Fatal(err)
			}
			r.await("file", func() bool { return r.status("v1").Writer.Files == uint64(n+1) })
		}
		change := func(f func(*config.Finished)) {
			t.Helper()
			c := *r.d.config.Load()
			f(&c.Finished)
			if err := r.d.Reload(&c); err != nil {
				t.Fatal(err)
			}
			r.await("the new configuration", func() bool {
				w := r.d.dirs.at(r.dir).finish
				w.mu.Lock()
				defer w.mu.Unlock()
				return !w.changing
			})
		}
		file(0) // no step is configured
		change(func(f *config.Finished) { f.Hook = hook("first") })
		file(1)
		r.await("the first hook", func() bool { return said() == "first 000002.pcapng\n" })
		change(func(f *config.Finished) { f.Hook, f.Compress, f.AtOnce = hook("second"), config.CompressGzip, 2 })
		file(2)
		r.await("the second hook", func() bool { return strings.HasSuffix(said(), "second 000003.pcapng.gz\n") })
		change(func(f *config.Finished) { f.Hook, f.Compress = nil, config.CompressNone })
		file(3)
		change(func(f *config.Finished) { f.Hook = hook("third") })
		file(4)
		r.await("the third hook", func() bool { return strings.HasSuffix(said(), "third 000005.pcapng\n") })
		r.end()
		if want := "first 000002.pcapng\nsecond 000003.pcapng.gz\nthird 000005.pcapng\n"; said() != want {
			t.Errorf("hooks said %q", said())
		}
	})
}
