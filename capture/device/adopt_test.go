package device

import (
	"errors"
	"testing"
	"unsafe"
)

func counts(received, dropped uint64) func() (uint64, uint64, uint64, error) {
	return func() (uint64, uint64, uint64, error) { return received, dropped, 1, nil }
}

// TestAccount: counts go on in the next process; an account of a process that ended while it took
// counts from the kernel says so, for ever.
func TestAccount(t *testing.T) {
	var a Account
	a.Open(NIC{10, 10})
	_ = a.Count(counts(7, 2))
	a.Refresh(NIC{12, 10})
	b := a // as memory that outlives the process has it
	b.Adopt(NIC{99, 99})
	_ = b.Count(counts(3, 0))
	b.Refresh(NIC{13, 11})
	want := Stats{Received: 10, Dropped: 2, Freezes: 2, NIC: NIC{3, 1}}
	if s := b.Stats(8); s != want || !b.Drained(8) || b.Drained(7) {
		t.Errorf("%+v, want %+v", s, want)
	}
	if err := b.Count(func() (uint64, uint64, uint64, error) { return 0, 0, 0, errors.New("gone") }); err == nil || b.Stats(8) != want {
		t.Errorf("%v, %+v", err, b.Stats(8))
	}

	var killed Account
	_ = a.Count(func() (uint64, uint64, uint64, error) {
		killed = a
		return 5, 1, 0, nil
	})
	for range 2 { // and again in the process after that
		killed.Adopt(NIC{})
	}
	if s := killed.Stats(4); !s.Inexact || s.Received != 7 || s.Dropped != 2 || killed.Drained(1000) {
		t.Errorf("%+v", s)
	}
	if s := killed.Stats(20); s.Received != 22 {
		t.Errorf("%+v", s)
	}

	var unused Account
	unused.Adopt(NIC{5, 5})
	unused.Refresh(NIC{6, 5})
	if s := unused.Stats(3); !s.Inexact || s.Received != 3 || s.NIC != (NIC{1, 0}) {
		t.Errorf("%+v", s)
	}
}

// TestAccountLayout: processes of other versions read it, so that a change needs a new version of
// what it lies in.
func TestAccountLayout(t *testing.T) {
	var a Account
	if size := unsafe.Sizeof(a); size != 72 || unsafe.Offsetof(a.received) != 16 {
		t.Errorf("%d bytes", size)
	}
}
