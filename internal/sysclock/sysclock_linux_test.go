package sysclock

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestState(t *testing.T) {
	for want, r := range map[string]*reading{
		"not synchronised (adjtimex)":                             read(&unix.Timex{Status: statusUnsynchronised}),
		"synchronised (adjtimex), offset 5µs, at most 1.5ms off":  read(&unix.Timex{Offset: 5, Maxerror: 1500}),
		"synchronised (adjtimex), offset -5ns, at most 1.5ms off": read(&unix.Timex{Offset: -5, Maxerror: 1500, Status: statusNano}),
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	now := time.Now()
	if got := fromFile(now.Add(-90*time.Second), now); got != "synchronised (systemd-timesyncd, 1m30s ago)" {
		t.Error(got)
	}
	if got := fromFile(time.Time{}, now); got != "unknown" {
		t.Error(got)
	}
	if s := State(); s == "" || strings.Contains(s, "\n") {
		t.Errorf("%q", s)
	}
}
