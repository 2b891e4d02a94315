package daemon

import (
	"slices"
	"strings"
	"testing"

	"capd/config"
	"capd/internal/recorder"
)

// long is a name that fits no struct ifreq.
const long = "enp3s0f0np0-port-to-core-a"

// TestAltName: an interface that the configuration names by an alternative name
// is recorded by that name, whatever its main name is and becomes.
func TestAltName(t *testing.T) {
	for _, configured := range []string{long, "enp*-[a-c]"} {
		onBoth(t, func(t *testing.T, n network) {
			v1 := n.add("v1")
			v1.AddAltName("port-a")
			v1.AddAltName(long)
			r := newRig(t, n, fine, configured)
			r.start(r.options())
			r.await("start", func() bool { return r.status(long).State == Recording })
			s := r.stream(v1, 1)
			s.more(r)
			v1.Rename("v2")
			r.await("a look", func() bool { return r.d.manager.interfaces.there()["v2"].Index != 0 })
			s.more(r)
			if others := r.d.Report().Interfaces[0].Others; !slices.Equal(others, []string{"v2", "port-a"}) {
				t.Errorf("other names: %q", others)
			}
			for _, name := range []string{"v2", "port-a", long} {
				if files, err := r.d.RotateFiles(t.Context(), name); len(files) != 1 || !strings.Contains(files[0], "/"+long+"-") || err != nil {
					t.Errorf("rotate %s: %q, %v", name, files, err)
				}
				s.more(r)
			}
			sent := s.end()
			r.accepted(sent)
			if all := r.end(); len(all) != 1 {
				t.Errorf("%d recorders", len(all))
			}
			once(t, r.files(long), 1, sent)
			if gaps := r.gaps(); len(gaps) > 0 {
				t.Errorf("%+v", gaps)
			}
		})
	}
}

// TestAltNameComes: a name that is waited for may be given to an interface, and
// may be taken from it.
func TestAltNameComes(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, fine, "port-a")
		r.start(r.options())
		r.await("start", func() bool { return r.status("port-a").State == Waiting })
		v1.AddAltName("port-a")
		r.await("the name", func() bool { return r.status("port-a").State == Recording })
		v1.Send(appendFrame(nil, 1, 0))
		r.await("frame", func() bool { return r.status("port-a").Writer.Accepted == 1 })
		v1.RemoveAltName("port-a")
		r.await("the end of the name", func() bool { return r.status("port-a").State == Waiting })
		r.end()
		verify(t, r.files("port-a"), 1, 1, 0)
	})
}

// TestAltNameTwice: an interface that the configuration names twice is recorded
// once, by its main name, and the log says so once.
func TestAltNameTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		v1.AddAltName("port-a")
		r := newRig(t, n, fine, "port-a", "v1", "port-*")
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording })
		v1.Send(appendFrame(nil, 1, 0))
		v1.AddAltName("port-b")
		r.await("a look", func() bool { return r.d.manager.interfaces.there()["port-b"].Index != 0 })
		v1.Send(appendFrame(nil, 1, 1))
		r.await("frames", func() bool { return r.status("v1").Writer.Accepted == 2 })
		if all := r.end(); len(all) != 1 {
			t.Errorf("%d recorders", len(all))
		}
		verify(t, r.files("v1"), 1, 2, 0)
		if n := strings.Count(r.log.String(), `"two names of one interface are configured: it is recorded once" interface=v1 not_as=port-a`); n != 1 {
			t.Errorf("the log says so %d times", n)
		}
	})
}

// TestAltNameReload: a configuration that has another name for the interface
// takes it over without a gap.
func TestAltNameReload(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		v1.AddAltName(long)
		r := newRig(t, n, fine, "v1")
		r.start(r.options())
		r.await("start", func() bool { return r.status("v1").State == Recording })
		s := r.stream(v1, 1)
		for _, name := range []string{long, "v1"} {
			s.more(r)
			next := *r.cfg
			next.Interfaces = []config.Interface{{Name: name, Recording: r.cfg.Recording}}
			if err := r.d.Reload(&next); err != nil {
				t.Fatal(err)
			}
			r.await(name, func() bool { return r.status(name).State == Recording && r.handed() })
		}
		s.more(r)
		sent := s.end()
		r.accepted(sent)
		sum := Sum(r.end())
		if sum.Received != sent || sum.Written != sent {
			t.Errorf("sent %d: %+v", sent, sum)
		}
		once(t, slices.Concat(r.files("v1"), r.files(long)), 1, sent)
		if gaps := r.gaps(); len(gaps) > 0 {
			t.Errorf("%+v", gaps)
		}
	})
}

// TestAltNameExcluded: an exclude takes an interface by any of its names, and a
// reload that has a new one ends its recorder.
func TestAltNameExcluded(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		n.add("v0").AddAltName("port-b")
		n.add("v1").AddAltName("port-a")
		r := newRig(t, n, func(c *config.Config) { c.Exclude = []string{"port-a"} }, "v*")
		r.start(r.options())
		r.await("start", func() bool { return r.status("v0").State == Recording })
		next := *r.cfg
		next.Exclude = []string{"port-b"}
		if err := r.d.Reload(&next); err != nil {
			t.Fatal(err)
		}
		r.await("the other", func() bool { return r.status("v0").State == Ended && r.status("v1").State == Recording })
		r.end()
	})
}

// TestSecondName: a recorder that waits for a name which is then given to an
// interface that has a recorder opens nothing as long as that one has it.
func TestSecondName(t *testing.T) {
	onFake(t, func(t *testing.T, n network) {
		v1 := n.add("v1")
		r := newRig(t, n, fine, "v1", "port-a")
		opens := &counting{System: n.system()}
		opt := r.options()
		opt.System = opens
		r.start(opt)
		r.await("start", func() bool { return r.status("v1").State == Recording && r.status("port-a").State == Waiting })
		v1.AddAltName("port-a")
		r.await("a look", func() bool { return r.d.manager.interfaces.there()["port-a"].Index != 0 })
		before := opens.opened.Load()
		r.rest(10 * recorder.Linger)
		if n := opens.opened.Load() - before; n > 2 {
			t.Errorf("opened %d times in vain", n)
		}
		v1.Rename("v2") // away from its own name: the recorder of the other one takes over
		r.await("the second name", func() bool { return r.status("port-a").State == Recording })
		r.end()
	})
}
