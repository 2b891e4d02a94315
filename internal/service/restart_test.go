package service

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"capd/config"
	"capd/internal/control"
	"capd/internal/restart"
)

// A fakeStore is a store of descriptors with room for some.
type fakeStore struct {
	room   int
	known  bool // it says how many
	silent int  // so often it does not answer
	stored int
}

func (f *fakeStore) Store(_ string, files ...*os.File) error { f.stored += len(files); return nil }
func (f *fakeStore) Remove(string) error                     { return nil }
func (f *fakeStore) StoreMax() (most int, known bool)        { return f.room, f.known }
func (f *fakeStore) HasRoom(time.Duration) (bool, error) {
	if f.silent > 0 {
		f.silent--
		return false, errors.New("no answer")
	}
	return f.stored < f.room, nil
}

// TestRoom: the log and the status say so if a restart will cost frames.
func TestRoom(t *testing.T) {
	for name, c := range map[string]struct {
		store fakeStore
		want  string
		lacks bool
	}{
		"room":              {fakeStore{room: 100}, "", false},
		"none":              {fakeStore{}, `will cost frames: the service manager keeps too few of its descriptors, or none" needed=6`, true},
		"too few":           {fakeStore{room: 6}, "needed=6", true},
		"none for a reload": {fakeStore{room: 11, known: true}, "needed=12 kept=11", false},
		"room for a reload": {fakeStore{room: 12, known: true}, "", false},
		"an answer at last": {fakeStore{room: 1, silent: roomTries - 1}, "needed=6", true},
		"no answer":         {fakeStore{room: 1, silent: roomTries}, "it is not known", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				o := newOutlast(&c.store, []restart.File{{Name: "gone"}, {Name: "gone"}}, slog.New(slog.NewTextHandler(&log, nil)))
				_ = o.Store("a", os.Stdin, os.Stdin, os.Stdin)
				_ = o.Store("b", os.Stdin, os.Stdin, os.Stdin)
				_ = o.Remove("gone")
				end := alongside(t.Context(), o.run)
				o.check()
				time.Sleep(time.Hour)
				end()
				if got := log.String(); !strings.Contains(got, c.want) || c.want == "" && got != "" {
					t.Errorf("%q", got)
				}
				if o.lacks() != c.lacks {
					t.Error(o.lacks())
				}
				r := (&leaver{outlast: o}).survival()
				loses := control.Nothing
				if c.lacks {
					loses = control.Frames
				} else if c.store.room == 1 {
					loses = control.Unknown
				}
				if r.Loses != loses || (r.Why == "") != (loses == control.Nothing) {
					t.Errorf("%+v, want %s", r, loses)
				}
			})
		})
	}
	(*outlast)(nil).check()
	if (*outlast)(nil).lacks() {
		t.Error("without a service manager")
	}
}

// TestSurvival: the status says what a restart costs, whoever runs capd and whatever it records.
func TestSurvival(t *testing.T) {
	asked := newOutlast(&fakeStore{room: 9}, nil, slog.New(slog.DiscardHandler))
	if r := (&leaver{outlast: asked}).survival(); r.Loses != control.Unknown {
		t.Errorf("before an answer: %+v", r)
	}
	asked.judge(t.Context())
	for _, c := range []struct {
		l           *leaver
		loses, says string
	}{
		{&leaver{outlast: asked, managed: true}, control.Nothing, ""},
		{&leaver{holder: new(restart.Holder), managed: true}, control.Frames, "FileDescriptorStoreMax"},
		{&leaver{holder: new(restart.Holder)}, control.Frames, "no service manager"},
		{&leaver{}, control.Frames, "can't hand"},
	} {
		if r := c.l.survival(); r.Loses != c.loses || !strings.Contains(r.Why, c.says) {
			t.Errorf("%+v, want %s: %s", r, c.loses, c.says)
		}
	}
	ring := control.Interface{Name: "eth0", State: control.Recording, Ring: control.Fill{Size: 1 << 20}}
	none := control.Interface{Name: "nflog:5", State: control.Recording}
	down := control.Interface{Name: "eth1", State: control.Down}
	nothing := control.Restart{Loses: control.Nothing}
	if r := survivalOf(nothing, []control.Interface{ring, down}); r != nothing {
		t.Errorf("%+v", r)
	}
	if r := survivalOf(nothing, []control.Interface{ring, none, down}); r.Loses != control.Frames || !strings.Contains(r.Why, "for nflog:5") {
		t.Errorf("%+v", r)
	}
	too := control.Restart{Loses: control.Frames, Why: "too few"}
	if r := survivalOf(too, []control.Interface{none}); r != too {
		t.Errorf("%+v", r)
	}
}

// TestFailedStart: under a service manager, which starts capd again at once, a start that fails takes
// a second.
func TestFailedStart(t *testing.T) {
	bad := errors.New("bad configuration")
	o := Options{Load: func() (*config.Config, error) { return nil, bad }}
	for path, want := range map[string]time.Duration{"": 0, "/nowhere": failure} {
		t.Setenv("NOTIFY_SOCKET", path)
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			if err := Run(context.Background(), o); !errors.Is(err, bad) || time.Since(began) != want {
				t.Errorf("%q: %v after %v", path, err, time.Since(began))
			}
		})
	}
}
