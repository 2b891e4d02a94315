package daemon

import (
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"capd/config"
	"capd/internal/testnet"
	"capd/pcap"
	"capd/writer"
)

// change returns the configuration with settings of the first interface changed.
func (r *rig) change(f func(*config.Interface)) *config.Config {
	c := *r.d.config()
	c.Interfaces = slices.Clone(c.Interfaces)
	f(&c.Interfaces[0])
	return &c
}

// TestReload: over reloads under load, every frame is recorded once; a bad
// configuration changes nothing; what changes in place keeps the file, and so
// does an interface whose settings stay.
func TestReload(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 65535)
	testnet.Veth(t, "w0", "w1", 1500)
	r := newRig(t, nil, "v1", "w1")
	r.start(r.options())
	r.await("start", func() bool { return r.status("v1").State == Recording && r.status("w1").State == Recording })
	other := testnet.NewSender(t, "w0")
	other.Send(appendFrame(nil, 2, 0))
	r.await("frame", func() bool { return r.status("w1").Writer.File != "" })
	kept := r.status("w1").Writer.File

	sender := testnet.NewSender(t, "v0")
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
			sender.Send(frame)
			sent.Store(n + 1)
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
			t.Fatal("a bad filter is taken")
		}
		r.await("frames", func() bool { return sent.Load() > before+500 && r.handed() })
	}
	close(stop)
	<-stopped
	r.await("frames", func() bool { return r.status("v1").Writer.Accepted == sent.Load() })
	if now := r.status("w1").Writer.File; now != kept {
		t.Errorf("an interface that did not change has the file %s, and had %s", now, kept)
	}
	all := r.end()
	s := all[0]
	if s.Written != sent.Load() || s.KernelDropped+s.Dropped != 0 {
		t.Errorf("sent %d: %+v", sent.Load(), s)
	}
	verify(t, r.files("v1"), 1, sent.Load(), 0)
	if n := len(r.files("v1")); n < 15 {
		t.Errorf("%d files after 20 handovers", n)
	}
	verifyVerdict(t, r.dir)
}

// handed reports whether no handover is under way.
func (r *rig) handed() bool {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	return len(r.d.leaving) == 0
}

func verifyVerdict(t *testing.T, dir string) {
	t.Helper()
	for e, err := range writer.ReadLedger(dir, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == writer.KindGap || e.CapdDropped+e.KernelDropped > 0 {
			t.Errorf("the ledger has %+v", e)
		}
	}
}

// TestReloadInPlace: the recorder and its file go on, with the new settings.
func TestReloadInPlace(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	r := newRig(t, nil, "v1")
	r.start(r.options())
	s := testnet.NewSender(t, "v0")
	s.Send(appendFrame(nil, 1, 0))
	r.await("frame", func() bool { return r.status("v1").Writer.Accepted == 1 })
	before := r.d.recorders[writer.Lane{Interface: "v1"}]
	next := r.change(func(i *config.Interface) { i.RotateInterval = config.Duration(time.Second) })
	if err := r.d.Reload(next); err != nil {
		t.Fatal(err)
	}
	r.await("rotation", func() bool { return r.status("v1").Writer.Files == 1 })
	r.d.mu.Lock()
	after := r.d.recorders[writer.Lane{Interface: "v1"}]
	r.d.mu.Unlock()
	if before != after {
		t.Error("the interface was opened anew")
	}
	r.end()
	verify(t, r.files("v1"), 1, 1, 0)
}

// TestReloadInterfaces: those that are added are recorded, those that are taken
// out are finished, and what can't be is refused.
func TestReloadInterfaces(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	testnet.Veth(t, "w0", "w1", 1500)
	r := newRig(t, nil, "v1")
	r.start(r.options())
	testnet.NewSender(t, "v0").Send(appendFrame(nil, 1, 0))
	r.await("frame", func() bool { return r.status("v1").Writer.Accepted == 1 })
	if err := r.d.Reload(r.change(func(i *config.Interface) { i.Directory = "/nowhere" })); err == nil ||
		!strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("another directory: %v", err)
	}
	if err := r.d.Reload(r.change(func(i *config.Interface) { i.Name = "w1" })); err != nil {
		t.Fatal(err)
	}
	r.await("the other interface", func() bool { return r.status("w1").State == Recording && r.status("v1").State == Ended })
	if files, _ := filepath.Glob(filepath.Join(r.dir, "v1-*.pcapng")); len(files) != 1 {
		t.Errorf("files %q", files)
	}
	testnet.NewSender(t, "w0").Send(appendFrame(nil, 1, 0))
	r.end()
	walked := 0
	walk(t, r.files("w1"), func(pcap.Packet) { walked++ })
	if walked != 1 {
		t.Errorf("%d frames of the new interface", walked)
	}
}
