package text

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"capd/config"
)

var (
	seconds = regexp.MustCompile(`^@?(\d{9,10})(?:\.(\d{1,9}))?$`) // since 1970; fewer digits are more likely a slip
	longer  = regexp.MustCompile(`^\d{13,19}$`)
	zoned   = regexp.MustCompile(`^(.*\S) ?(Z|UTC|[+-]\d\d:?\d\d)$`)
	tee     = regexp.MustCompile(`(\d)T(\d)`)
)

// ParseTime reads a time as people write it; the command line's help has the forms. A time without a zone is in the zone
// of now, which says too what day it is. The result has the zone that was given or taken.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if s = strings.Join(strings.Fields(s), " "); strings.EqualFold(s, "now") {
		return now, nil
	}
	var ago config.Duration
	if err := ago.Set(strings.TrimPrefix(s, "-")); err == nil && ago >= 0 {
		return now.Add(-time.Duration(ago)), nil
	}
	if m := seconds.FindStringSubmatch(s); m != nil {
		sec, _ := strconv.ParseInt(m[1], 10, 64)
		nsec, _ := strconv.ParseInt((m[2] + "000000000")[:9], 10, 64)
		return time.Unix(sec, nsec).In(now.Location()), nil
	}
	if longer.MatchString(s) {
		return time.Time{}, fmt.Errorf("%q has too many digits for seconds since 1970: write %s.%s", s, s[:10], s[10:])
	}
	wall, zone, err := cutZone(strings.ToUpper(s), now.Location())
	if err != nil {
		return time.Time{}, unreadable(s)
	}
	wall = addDate(wall, now.In(zone))
	if day, err := time.Parse(time.DateOnly, wall); err == nil {
		return time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone), nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "20060102 150405"} {
		if w, err := time.Parse(layout, wall); err == nil {
			return in(w, zone)
		}
	}
	return time.Time{}, unreadable(s)
}

func unreadable(s string) error {
	return fmt.Errorf("%q is neither a time, as 14:03, 14:03:27, yesterday 14:03, 2026-11-27 14:03, 2026-11-27T14:03:27Z or 1795788207 (seconds since 1970), "+
		"nor how long ago, as 90m or -2h", clip(s))
}

// clip leaves the start of long text.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// cutZone cuts the zone off the end of a time.
func cutZone(s string, local *time.Location) (wall string, zone *time.Location, err error) {
	m := zoned.FindStringSubmatch(s)
	switch {
	case m == nil:
		return s, local, nil
	case m[2] == "Z", m[2] == "UTC":
		return m[1], time.UTC, nil
	}
	t, err := time.Parse("-0700", strings.Replace(m[2], ":", "", 1))
	_, offset := t.Zone()
	return m[1], time.FixedZone("", offset), err
}

// addDate puts a date before the time of a day, and in the place of a day's name.
func addDate(s string, now time.Time) string {
	s = tee.ReplaceAllString(s, "$1 $2")
	day, clock, _ := strings.Cut(s, " ")
	switch {
	case day == "TODAY":
		day = now.Format(time.DateOnly)
	case day == "YESTERDAY":
		day = time.Date(now.Year(), now.Month(), now.Day()-1, 12, 0, 0, 0, time.UTC).Format(time.DateOnly)
	case clock == "" && strings.Contains(s, ":"):
		day, clock = now.Format(time.DateOnly), s
	}
	return strings.TrimSpace(day + " " + clock)
}

// in returns the time at which clocks of the zone show the wall time. Where they are set back they show some times twice:
// it is one of them, and its zone says which.
func in(wall time.Time, zone *time.Location) (time.Time, error) {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), zone)
	if t.Hour() != wall.Hour() || t.Minute() != wall.Minute() {
		return t, fmt.Errorf("clocks never show %s in this zone: they are set forward then", wall.Format("2006-01-02 15:04:05"))
	}
	return t, nil
}
