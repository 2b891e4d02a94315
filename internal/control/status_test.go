package control

import (
	"testing"

	"capd/internal/text"
)

// TestKeptForecast: no rate is not the same as no limit, in every command.
func TestKeptForecast(t *testing.T) {
	for _, c := range []struct {
		kept              Kept
		reaches, forecast string
	}{
		{Kept{}, "?", "no rate is known yet"},
		{Kept{Limit: "age", Reach: 60}, "?", "no rate is known yet"},
		{Kept{Rate: 10}, "-", "no limit"},
		{Kept{Rate: 10, Limit: "disk", Reach: 3660}, "1h 1m", "will reach 1h 1m (disk)"},
	} {
		if r, f := c.kept.Reaches(text.Duration), c.kept.Forecast(); r != c.reaches || f != c.forecast {
			t.Errorf("%+v: %q, %q", c.kept, r, f)
		}
	}
}
