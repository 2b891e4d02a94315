package daemon

import (
	"testing"
	"time"

	"capd/config"
	"capd/internal/retain"
)

// TestPolicyOfInterface: limits and rotation of an interface, also of a pattern, are in what check and status forecast by.
func TestPolicyOfInterface(t *testing.T) {
	c := config.Default()
	i := config.Interface{Name: "eth*", Recording: c.Recording}
	i.RetainCount, i.RotateSize, i.RotateInterval, i.Fanout = 7, 100, config.Duration(time.Minute), 2
	c.Interfaces = []config.Interface{i}
	p := Policy(c)
	for _, name := range []string{"eth0", "eth*"} {
		want := retain.Stream{Interface: name, Limits: retain.Limits{Count: 7}, Rate: 1, Files: 2.0 / 60}
		if got := p.Stream(name, 1); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if got := p.Stream("lo", 1); got.Limits != (retain.Limits{}) || got.Files != 0 {
		t.Errorf("not recorded: %+v", got)
	}
}
