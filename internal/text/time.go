package text

import (
	"fmt"
	"time"
)

var units = [...]struct {
	name string
	size time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

// Duration spells how long something lasts, in its two largest units: "2d 3h", "1m 5s", "1h".
func Duration(d time.Duration) string {
	d = max(d, 0)
	last := len(units) - 1
	for i, u := range units[:last] {
		if d < u.size {
			continue
		}
		s := fmt.Sprintf("%d%s", d/u.size, u.name)
		if rest := d % u.size / units[i+1].size; rest > 0 {
			s += fmt.Sprintf(" %d%s", rest, units[i+1].name)
		}
		return s
	}
	return fmt.Sprintf("%ds", d/units[last].size)
}

// Short spells it in one unit, and six characters at most.
func Short(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", min(d/(24*time.Hour), 99999))
}

// Latency spells the seconds that an operation took, in five characters: "850us", "1.5ms", "2.0s"; "-" is none.
func Latency(seconds float64) string {
	switch {
	case seconds <= 0:
		return "-"
	case seconds < 0.9995e-3:
		return fmt.Sprintf("%.0fus", 1e6*seconds)
	case seconds < 9.95e-3:
		return fmt.Sprintf("%.1fms", 1e3*seconds)
	case seconds < 0.9995:
		return fmt.Sprintf("%.0fms", 1e3*seconds)
	case seconds < 9.95:
		return fmt.Sprintf("%.1fs", seconds)
	}
	return fmt.Sprintf("%.0fs", min(seconds, 9999))
}

// Ago spells how long before now a time was; the zero time is "never".
func Ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return Duration(now.Sub(t)) + " ago"
}

// Time spells a time to the millisecond, in UTC as the names of files do. The zero time is "-".
func Time(t time.Time) string { return format(t, "2006-01-02T15:04:05.000Z") }

// Second spells a time to the second.
func Second(t time.Time) string { return format(t, "2006-01-02T15:04:05Z") }

// Zoned spells a time in the zone that it has, as precisely as it is. RFC 3339 has no seconds in an offset, as that of
// Monrovia had until 1972 and most others had before 1900: such a time is in UTC.
func Zoned(t time.Time) string {
	if _, offset := t.Zone(); offset%60 != 0 {
		t = t.UTC()
	}
	return t.Format(time.RFC3339Nano)
}

// Clock spells the time of the day.
func Clock(t time.Time) string { return format(t, "15:04:05Z") }

func format(t time.Time, layout string) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(layout)
}
