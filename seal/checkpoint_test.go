package seal

import (
	"strings"
	"testing"
	"time"
)

func sample() Checkpoint {
	return Checkpoint{
		Origin: "capd/host/var/lib/capd", Size: 9, Root: LeafHash([]byte("a")), Log: "8f3c2a9d01b4e657", Epoch: 3, Lines: 2,
		Batch: LeafHash([]byte("b")), Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Clock: "unknown",
	}
}

// FuzzCheckpoint: what is parsed is spelled as it was, and nothing makes it fail otherwise.
func FuzzCheckpoint(f *testing.F) {
	c := sample()
	f.Add(c.Text(), "", int64(5))
	f.Add("\n\n", "AAAA", int64(0))
	f.Fuzz(func(t *testing.T, text, frontier string, size int64) {
		if c, err := ParseCheckpoint(text); err == nil && c.Text() != text {
			t.Errorf("%q became %q", text, c.Text())
		}
		if c, err := Peek(text); err == nil {
			c.Size = size
			_, _ = Resume(c, frontier)
		}
		_, _ = ReadChain([]byte(text))
	})
}

// TestKeyLife: a key signs, evolves and is wiped; what it has signed verifies by
// its verification key alone.
func TestKeyLife(t *testing.T) {
	keys, dir := t.TempDir(), t.TempDir()
	if _, err := Open(keys, dir); err == nil {
		t.Error("a key that nobody made was opened")
	}
	first, created, err := Init(keys, dir, "a host+ü")
	if err != nil || !created {
		t.Fatal(created, err)
	}
	k, err := Open(keys, dir)
	if err != nil {
		t.Fatal(err)
	}
	k.Clock = func() string { return "syn\nchronised " }
	next, err := k.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	c := sample()
	c.Next = next
	signed, err := k.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(signed, first)
	if err != nil || got.Next != next || got.Epoch != 0 || got.Clock != "syn?chronised" || got.Size != c.Size {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := Verify(strings.Replace(signed, "\n9\n", "\n8\n", 1), first); err == nil {
		t.Error("a changed checkpoint was taken")
	}
	if _, err := Verify(signed, next); err == nil {
		t.Error("another key was taken")
	}
	if err := k.Evolve(signed, dir, 0o640); err != nil {
		t.Fatal(err)
	}
	if n, _ := k.Epoch(); n != 1 || k.Verifier() != next {
		t.Errorf("epoch %d", n)
	}
	again, created, err := Init(keys, dir, "host")
	if err != nil || created || again != first {
		t.Errorf("%q %v %v, want %q", again, created, err, first)
	}
}
