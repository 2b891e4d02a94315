package daemon

import (
	"fmt"
	"testing"
	"time"
)

// TestFold: however many names come and go, only the last ones and those in use
// are remembered, and no count is lost.
func TestFold(t *testing.T) {
	const names, most = 1000, 10
	start := time.Unix(1e9, 0)
	used := func(name string) bool { return name == "veth3" }
	var ended []Status
	gone := 0
	for n := range names {
		for lane := range 2 {
			ended = append(ended, Status{
				Interface: fmt.Sprint("veth", n), Lane: lane + 1, Since: start.Add(time.Duration(n) * time.Second),
				State: Ended, Received: 3, Written: 2, Dropped: 1,
			})
		}
		var names []string
		ended, names = fold(ended, used, most)
		gone += len(names)
		if limit := 2*(most+1) + 1; len(ended) > limit {
			t.Fatalf("%d are remembered", len(ended))
		}
	}
	if gone != names-most-1 {
		t.Errorf("%d names went", gone)
	}
	if sum := Sum(ended); sum.Received != 6*names || sum.Written != 4*names || sum.Dropped != 2*names {
		t.Errorf("%+v", sum)
	}
	left := map[string]int{}
	for _, s := range ended {
		left[s.Interface]++
	}
	if left["veth3"] != 2 || left["veth999"] != 2 || left["veth990"] != 2 || left["veth989"] != 0 || left[others] != 1 {
		t.Errorf("%v", left)
	}
}
