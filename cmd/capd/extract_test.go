package main

import (
	"testing"
	"time"
)

// FuzzAround: whatever stands behind --around, it is refused or is a time with a positive one around it.
func FuzzAround(f *testing.F) {
	for _, s := range []string{"14:03:27±30s", "14:03+-1m", "2026-11-27T14:03:27.5Z ± 2h", "yesterday 14:03+-7d", "1795788207±1s", "±", "+-", "14:03±-1s", "14:03±±1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var a around
		if err := a.Set(s); err == nil && (a.at.IsZero() || a.by <= 0 || a.String() != s) {
			t.Errorf("%q: %+v", s, a)
		}
	})
}

// TestAround: both spellings of the sign, with a zone or without.
func TestAround(t *testing.T) {
	for _, s := range []string{"2026-11-27T14:03:27+01:00±90s", "2026-11-27T14:03:27+01:00+-90s", "2026-11-27T13:03:27Z ± 1m30s"} {
		var a around
		if err := a.Set(s); err != nil || a.by != 90*time.Second || !a.at.Equal(time.Date(2026, 11, 27, 13, 3, 27, 0, time.UTC)) {
			t.Errorf("%s: %v, %v", s, a, err)
		}
	}
}
