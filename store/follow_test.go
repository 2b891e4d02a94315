package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// event returns an inotify event in the kernel's format.
func event(mask uint32, name string) []byte {
	b := make([]byte, eventHeader, eventHeader+len(name))
	binary.NativeEndian.PutUint32(b[eventMask:], mask)
	if name != "" {
		padded := append([]byte(name), make([]byte, 16-len(name)%16)...)
		binary.NativeEndian.PutUint32(b[eventLen:], uint32(len(padded)))
		b = append(b, padded...)
	}
	return b
}

func TestParseEvents(t *testing.T) {
	gone, overflow, ended := parseEvents(slices.Concat(
		event(0x100, "a"), event(inDelete, "a"), event(inMovedFrom, "b"), event(0x80, "b"), event(0x80, "a name of 16 byte"), event(0, "")))
	if !maps.Equal(gone, map[string]bool{"a": true, "b": false, "a name of 16 byte": false}) || overflow || ended {
		t.Errorf("%v, %v, %v", gone, overflow, ended)
	}
	if _, overflow, ended := parseEvents(event(inOverflow, "")); !overflow || ended {
		t.Errorf("overflow: %v, %v", overflow, ended)
	}
	for _, mask := range []uint32{inUnmount, inIgnored, inDeleteSelf, inMoveSelf} {
		if _, _, ended := parseEvents(event(mask, "")); !ended {
			t.Errorf("%#x did not end it", mask)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add(event(0x100, "eth0-20260102T030405Z-000001.pcapng"))
	f.Add(event(inOverflow, "")[:eventHeader-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		gone, _, _ := parseEvents(b)
		for s := range gone {
			if s == "" || !bytes.Contains(b, []byte(s)) {
				t.Errorf("%q is not in the events", s)
			}
		}
	})
}

// followed is a directory that Follow keeps current.
type followed struct {
	*Directory
	t *testing.T
}

func follow(t *testing.T, path string) followed {
	t.Helper()
	d, err := OpenWatched(path)
	if err != nil {
		t.Fatal(err)
	}
	if d.watcher == nil {
		d.Close()
		t.Skip("the system does not report changes")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { d.Follow(ctx, time.Hour, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() { cancel(); tasks.Wait() })
	return followed{d, t}
}

func (d followed) await(what string, ok func() bool) {
	d.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			d.t.Fatalf("%s: not seen; there is %+v", what, d.Files())
		}
		time.Sleep(time.Millisecond)
	}
}

// TestFollow: changes by other programs are seen soon, without a listing.
func TestFollow(t *testing.T) {
	path := t.TempDir()
	d := follow(t, path)
	name := nameOf("eth0", 7)
	base := filepath.Join(path, name.String())
	is := func(states ...State) func() bool {
		return func() bool {
			f, _ := d.File(name)
			var want uint16
			for _, s := range states {
				want |= 1 << s
			}
			return f.states == want
		}
	}
	do := func(err ...error) {
		t.Helper()
		if err := errors.Join(err...); err != nil {
			t.Fatal(err)
		}
	}
	do(os.WriteFile(base+Partial, []byte("12"), 0o600))
	d.await("a file that is written", is(Recording))
	do(os.Rename(base+Partial, base))
	d.await("a file that is finished", func() bool { f, _ := d.File(name); return is(Finished)() && f.Size() == 2 })
	do(os.WriteFile(base+".zst", []byte("1"), 0o600), os.WriteFile(base+".hold", nil, 0o600))
	d.await("a compressed file that is held", func() bool { f, _ := d.File(name); return is(Finished, Zstd)() && f.Size() == 3 && f.Held })
	do(os.Remove(base), os.Remove(base+".hold"))
	d.await("the original's end", func() bool { f, _ := d.File(name); return is(Zstd)() && !f.Held })
	do(os.Remove(base + ".zst"))
	d.await("the end", func() bool { return d.Len() == 0 })
	if n := d.Sequence(name.Of()); n != 7 {
		t.Errorf("sequence number %d", n)
	}
}

// TestFollowEnds: Follow ends with its context while nothing changes, and Close releases the
// watcher of a directory that is not followed.
func TestFollowEnds(t *testing.T) {
	follow(t, t.TempDir())
	d, err := OpenWatched(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}
