package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestLease: leases protect the files from the earliest of their times on, those that come later too, and end by themselves.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
		add := func(n int) {
			d.Add(Name{Interface: "eth0", Start: begin.Add(time.Duration(n) * time.Minute), Sequence: uint64(n + 1)}, 1)
		}
		for n := range 5 {
			add(n)
		}
		leased := func() (all []uint64) {
			for n := range maps.Keys(d.Leased()) {
				all = append(all, n.Sequence)
			}
			slices.Sort(all)
			return all
		}
		expect := func(want ...uint64) {
			t.Helper()
			if got := leased(); !slices.Equal(got, want) {
				t.Errorf("%v, not %v", got, want)
			}
		}
		lease := func(holder string, since int, lasts time.Duration) {
			t.Helper()
			if err := d.Lease(holder, begin.Add(time.Duration(since)*time.Minute+30*time.Second), lasts); err != nil {
				t.Error(err)
			}
		}
		expect()
		lease("a", 3, time.Minute)
		expect(4, 5)
		add(5)
		expect(4, 5, 6)
		lease("b", 1, 30*time.Second)
		expect(2, 3, 4, 5, 6)
		time.Sleep(30 * time.Second)
		expect(4, 5, 6)
		lease("a", 4, time.Minute)
		expect(5, 6)
		time.Sleep(59 * time.Second)
		expect(5, 6)
		lease("a", 4, 0)
		expect()
		for i := range maxHolders {
			lease(fmt.Sprint(i), 0, time.Minute)
		}
		if err := d.Lease("more", begin, time.Minute); !errors.Is(err, ErrHolders) {
			t.Error(err)
		}
		lease("1", 2, time.Minute)
		time.Sleep(time.Minute)
		lease("more", 4, time.Minute)
		expect(5, 6)
	})
}
