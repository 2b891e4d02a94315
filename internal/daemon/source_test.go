package daemon

import "testing"

func TestFilterFits(t *testing.T) {
	for _, c := range []struct {
		system       string
		instructions int
		ok           bool
	}{{"linux", 4096, true}, {"freebsd", 512, true}, {"freebsd", 513, false}, {"darwin", 4096, false}} {
		if err := fits(c.system, c.instructions); (err == nil) != c.ok {
			t.Errorf("%d instructions on %s: %v", c.instructions, c.system, err)
		}
	}
}
