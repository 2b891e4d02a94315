package inventory

import (
	"testing"
	"time"
)

// TestSpan: all packets of a file lie in its span, and where nothing says so, its end is not known.
func TestSpan(t *testing.T) {
	at := func(minutes float64) time.Time { return noon.Add(time.Duration(minutes * float64(time.Minute))) }
	clean := &Contents{First: at(1.2), Last: at(1.8), Clean: true}
	inverted := &Contents{First: at(1.2), Last: at(1.1), Clean: true, Inversions: 1}
	for what, c := range map[string]struct {
		f          File
		begin, end time.Time
		ordered    bool
	}{
		"in order":                    {File{Begin: at(1), End: at(2), Contents: clean}, at(1), at(2), true},
		"of another clock":            {File{Begin: at(5), End: at(6), Contents: clean}, at(1.2), at(6), true},
		"out of order":                {File{Begin: at(1), End: at(2), Contents: inverted}, at(0), at(3), false},
		"without a line":              {File{Begin: at(1), End: at(2)}, at(0), time.Time{}, false},
		"not clean":                   {File{Begin: at(1), End: at(2), Contents: &Contents{}}, at(0), time.Time{}, false},
		"the clock was set back":      {File{Begin: at(5), End: at(3), Contents: inverted, clocks: []clock{{at(6), at(-30)}}}, at(-30), at(6), false},
		"elsewhere, back and forward": {File{Begin: at(5), End: at(6), Contents: inverted, clocks: []clock{{at(60), at(50)}, {at(1), at(2)}}}, at(0.1), at(7), false},
		"twice":                       {File{Begin: at(5), Contents: nil, clocks: []clock{{at(6), at(-30)}, {at(-20), at(-90)}}}, at(-90), time.Time{}, false},
	} {
		begin, end := c.f.Span()
		if !begin.Equal(c.begin) || !end.Equal(c.end) || c.f.Ordered() != c.ordered {
			t.Errorf("%s: %v to %v, %v; want %v to %v", what, begin, end, c.f.Ordered(), c.begin, c.end)
		}
	}
}
