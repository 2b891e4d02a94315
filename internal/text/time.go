package text

import (
	"fmt"
	"time"

	"capd/config"
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

// Clock spells the time of the day.
func Clock(t time.Time) string { return format(t, "15:04:05Z") }

func format(t time.Time, layout string) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(layout)
}

// ParseTime reads a time that a command takes: one of RFC 3339, or how long before now it was, as 90m or 7d.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	var ago config.Duration
	if err := ago.Set(s); err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a time, as 2026-01-02T15:04:05Z, nor how long ago, as 90m", s)
	}
	return now.Add(-time.Duration(ago)), nil
}
