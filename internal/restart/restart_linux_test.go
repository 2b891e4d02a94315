package restart

import (
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"capd/capture/device"
	"capd/config"
	"capd/pcap"
	"capd/store"
)

// A keeper keeps descriptors by name.
type keeper map[string]*os.File

func (k keeper) Store(name string, files ...*os.File) error {
	for _, f := range files {
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			return err
		}
		k[name] = os.NewFile(uintptr(fd), name)
	}
	return nil
}

func (k keeper) Remove(name string) error {
	if f := k[name]; f != nil {
		_ = f.Close()
	}
	delete(k, name)
	return nil
}

// inherit does what the next process does.
func (k keeper) inherit(t testing.TB) ([]*State, map[string]*Seen, []Refusal) {
	t.Helper()
	var files []File
	for name, f := range k {
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{name, os.NewFile(uintptr(fd), name)})
	}
	return Inherit(k, files, slog.New(slog.DiscardHandler))
}

// fill gives every field of a value another value than zero.
func fill(v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n+i+1)
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", n%7+1))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(int64(n + 1))
	case reflect.Uint, reflect.Uint64, reflect.Uint32:
		v.SetUint(uint64(n + 1))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n+i)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	}
}

func settings() *config.Interface {
	c := config.Default()
	c.Fanout = 2
	return &config.Interface{Name: "eth0", Recording: c.Recording}
}

// newState stores a state as a recorder does, with a ring if that is to be.
func newState(t testing.TB, k keeper, c *config.Interface, group, follows string, ringed bool) *State {
	t.Helper()
	s, err := New(k, store.Lane{Interface: "eth0", Number: 2}, c, 8, group, follows)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := newMemory("chunks", 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	if err := s.Keep(memory); err != nil {
		t.Fatal(err)
	}
	if ringed {
		if err := s.KeepRing(memory, pcap.LinkTypeRaw); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestRoundTrip: the next process finds what a recorder has left: all settings, the ring and the
// chunks, and where it stands in a takeover.
func TestRoundTrip(t *testing.T) {
	k := make(keeper)
	c := settings()
	fill(reflect.ValueOf(c).Elem(), 3)
	c.Fanout, c.ChunkSize = 2, config.MiB
	group, before := NewGroup(), NewGroup()
	newState(t, k, c, group, before, true)
	if len(k) != Descriptors {
		t.Errorf("%d descriptors", len(k))
	}
	all, _, refused := k.inherit(t)
	if len(all) != 1 || len(refused) != 0 {
		t.Fatalf("%v, %v", all, refused)
	}
	s := all[0]
	if !reflect.DeepEqual(s.Settings, c) {
		t.Errorf("settings %+v, want %+v", s.Settings, c)
	}
	if s.Lane != (store.Lane{Interface: "eth0", Number: 2}) || s.Number() != 8 || s.LinkType() != pcap.LinkTypeRaw ||
		s.Group() != group || s.Follows() != before || !s.HadRing() || s.Ring == nil || s.Chunks == nil || s.Spent() {
		t.Errorf("%+v", s)
	}
	s.TookOver()
	s.Leaves()
	if s.Follows() != "" || s.Spent() {
		t.Error("a recorder that leaves a ring to be read is spent")
	}
	s.DropRing()
	if s.HadRing() || !s.Spent() || len(k) != Descriptors-1 {
		t.Errorf("%d descriptors, spent %t", len(k), s.Spent())
	}
	s.Forget()
	s.Close()
	if len(k) != 0 {
		t.Errorf("left: %v", k)
	}
}

// TestRingWithoutMark: a process may end when the ring is stored, and before the state says so.
func TestRingWithoutMark(t *testing.T) {
	k := make(keeper)
	newState(t, k, settings(), NewGroup(), "", true).memory.header().ringed.Store(0)
	if all, _, _ := k.inherit(t); len(all) != 1 || !all[0].HadRing() {
		t.Errorf("%+v", all)
	}
}

// TestRefused: what can't be used is removed, and the reason is known.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(k keeper, s *State)
		why    string
	}{
		"version":  {func(_ keeper, s *State) { s.memory.header().version++ }, "another version of capd has left it"},
		"layout":   {func(_ keeper, s *State) { s.memory.header().layout++ }, "another version of capd has left it"},
		"chunks":   {func(_ keeper, s *State) { s.memory.header().chunks = 1 << 40 }, "its header is damaged"},
		"lane":     {func(_ keeper, s *State) { s.memory.header().lane = 1 << 40 }, "its header is damaged"},
		"settings": {func(_ keeper, s *State) { s.memory.header().json[0] = 0 }, "its settings can't be read"},
		"magic":    {func(_ keeper, s *State) { s.memory.header().magic[0]++ }, "its state is missing"},
		"state":    {func(k keeper, s *State) { _ = k.Remove(prefix + s.id + state) }, "its state is missing"},
		"memory":   {func(k keeper, s *State) { _ = k.Remove(prefix + s.id + chunks) }, "the memory of its chunks is missing"},
		"tries":    {func(_ keeper, s *State) { s.memory.header().tries.Store(mostTries) }, "3 starts tried it before and failed"},
		"unborn": {func(k keeper, s *State) {
			s.DropRing()
			_ = k.Remove(prefix + s.id + chunks)
		}, ""},
		"over": {func(_ keeper, s *State) { s.memory.header().over.Store(1) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := make(keeper)
			c.damage(k, newState(t, k, settings(), NewGroup(), "", true))
			all, _, refused := k.inherit(t)
			if len(all) != 0 || len(k) != 0 {
				t.Errorf("%v; left %v", all, k)
			}
			switch {
			case c.why == "" && len(refused) == 0:
			case len(refused) != 1 || !strings.Contains(refused[0].Err.Error(), c.why):
				t.Errorf("%v", refused)
			}
		})
	}
}

// TestEnds: a recorder that ends with nobody after it is told from one that others follow, and can stay after all.
func TestEnds(t *testing.T) {
	k := make(keeper)
	s := newState(t, k, settings(), NewGroup(), "", true)
	s.Leaves()
	if s.IsLast() {
		t.Error("others follow")
	}
	s.Ends()
	s.Leaves()
	if !s.IsLast() || s.Spent() {
		t.Error("nobody follows, and there is a ring")
	}
	s.Stays()
	if s.IsLast() {
		t.Error("it stays")
	}
	s.Ends()
	s.DropRing()
	s.Stays()
	if !s.IsLast() || !s.Spent() {
		t.Error("a recorder whose ring is gone can't stay")
	}
}

// TestTries: three starts may fail. One that records counts anew.
func TestTries(t *testing.T) {
	k := make(keeper)
	newState(t, k, settings(), NewGroup(), "", true)
	for range 2 {
		for range mostTries {
			all, _, refused := k.inherit(t)
			if len(all) != 1 {
				t.Fatalf("refused: %v", refused)
			}
			defer all[0].Close()
		}
		all, _, _ := k.inherit(t)
		if len(all) == 1 {
			t.Fatal("a fourth try")
		}
		if len(k) != 0 {
			t.Errorf("left: %v", k)
		}
		newState(t, k, settings(), NewGroup(), "", true).Began()
	}
}

// TestSeen: the frames that old recorders have recorded are known to the next process.
func TestSeen(t *testing.T) {
	k := make(keeper)
	group := NewGroup()
	s, err := NewSeen(k, group)
	if err != nil {
		t.Fatal(err)
	}
	want := []FrameID{{Sec: 1, Nsec: 2, Length: 3, Sum: 4}, {Sec: 5, Nsec: 6, Length: 7, Sum: 8}}
	for _, id := range want {
		s.Add(id)
	}
	since := time.Unix(7, 8)
	if got := s.Since(since); !got.Equal(since) {
		t.Errorf("since %v", got)
	}
	_, frames, _ := k.inherit(t)
	if got := frames[group].All(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := frames[group].Since(time.Unix(9, 0)); !got.Equal(since) {
		t.Errorf("since %v in the next process", got)
	}
	frames[group].Forget()
	frames[group].Forget()
	if len(k) != 0 || frames[group].All() != nil {
		t.Errorf("left: %v", k)
	}
	var none *Seen
	none.Add(want[0])
	none.Forget()
	if none.All() != nil || !none.Since(since).Equal(since) {
		t.Error("nothing has frames")
	}
}

// FuzzState: whatever the memory of a state begins with, it is either refused or makes sense.
func FuzzState(f *testing.F) {
	valid, err := makeState(store.Lane{Interface: "eth0"}, settings(), 8, NewGroup(), "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(slices.Clone(valid.mem[:4096]), uint32(0))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255}, uint32(unsafe.Offsetof(header{}.chunks)))
	f.Add(make([]byte, 8), uint32(unsafe.Offsetof(header{}.chunks)))
	f.Fuzz(func(t *testing.T, damage []byte, at uint32) {
		k := make(keeper)
		s := newState(t, k, settings(), NewGroup(), "", true)
		copy(s.memory.mem[int(at)%len(s.memory.mem):], damage)
		all, _, refused := k.inherit(t)
		if len(all)+len(refused) > 1 {
			t.Fatalf("%v, %v", all, refused)
		}
		for _, s := range all {
			_, _, _, _ = s.Group(), s.Follows(), s.Spent(), s.LinkType()
			if s.Number() < 2 || s.Lane.Number > s.Settings.Fanout || s.Settings.ChunkSize < 4096 {
				t.Errorf("%+v", s)
			}
			s.Journal().Unfinished(store.Name{Interface: s.Lane.Interface})
			s.Account().Adopt(device.NIC{})
			s.Close()
			s.memory.close()
		}
		s.memory.close()
		for name := range k {
			_ = k.Remove(name)
		}
	})
}
