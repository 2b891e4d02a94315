package text

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestSpelling(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.FixedZone("", 3600))
	for _, c := range []struct{ got, want string }{
		{Size(0), "0 B"}, {Size(1023), "1023 B"}, {Size(1024), "1 KiB"}, {Size(1536), "1.5 KiB"}, {Size(128 << 20), "128 MiB"},
		{Size(99.96 * (1 << 20)), "100 MiB"}, {Size(1023.9 * (1 << 20)), "1.0 GiB"}, {Size(uint64(math.MaxUint64)), "16 EiB"},
		{Metric(0), "0"}, {Metric(999.4), "999"}, {Metric(999.6), "1.0k"}, {Metric(9960), "10k"}, {Metric(123e6), "123M"}, {Metric(1e18), "999T"},
		{BitRate(0), "0 bit/s"}, {BitRate(999.7e3), "1.0 Mbit/s"}, {BitRate(1.25e9), "1.2 Gbit/s"}, {BitRate(10e9), "10 Gbit/s"},
		{Metric(12345), "12k"}, {Metric(9.96e6), "10M"}, {Latency(0.0005), "500us"}, {Latency(0.0012), "1.2ms"}, {Latency(0.05), "50ms"}, {Latency(75), "75s"},
		{Size(3e12), "2.7 TiB"}, {Line("Zürich 東京\x1b[0m\x00\u202e\xff"), "Zürich 東京\\x1b[0m\\x00\\u202e\ufffd"},
		{Percent(0.424), "42%"}, {Percent(1.5), "100%"}, {Percent(-1), "0%"},
		{Count(1, "file"), "1 file"}, {Count(uint64(0), "file"), "0 files"},
		{Name("eth0"), "eth0"}, {Name("a b"), "a b"}, {Name("\x1b[2J"), `"\x1b[2J"`}, {Name("été"), "été"}, {ASCII("été"), `"\u00e9t\u00e9"`},
		{Line("a\x1b\n\"é\u202e"), `a\x1b\n"é\u202e`},
		{Latency(0), "-"}, {Latency(850e-6), "850us"}, {Latency(0.00096), "960us"}, {Latency(0.00151), "1.5ms"}, {Latency(0.0151), "15ms"}, {Latency(2), "2.0s"},
		{Latency(1e9), "9999s"},
		{Ago(now, time.Time{}), "never"}, {Ago(now, now.Add(-time.Hour)), "1h ago"}, {Ago(now, now.Add(time.Hour)), "0s ago"},
		{Time(now), "2026-01-02T02:04:05.678Z"}, {Time(time.Time{}), "-"}, {Second(now), "2026-01-02T02:04:05Z"}, {Clock(now), "02:04:05Z"},
		{Duration(Seconds(math.Inf(1))), "106751d 23h"}, {Duration(Seconds(math.NaN())), "0s"}, {Duration(Seconds(-1)), "0s"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m 1s", time.Hour: "1h", 51*time.Hour + time.Minute: "2d 3h", -time.Second: "0s", 25 * time.Hour: "1d 1h", 119 * time.Minute: "1h 59m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
	for d, want := range map[time.Duration]string{119 * time.Second: "119s", 3 * time.Minute: "3m", 72 * time.Hour: "3d", 119 * time.Minute: "119m", 47 * time.Hour: "47h", math.MaxInt64: "99999d"} {
		if got := Short(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"2026-01-01T00:00:00+01:00": now.Add(-28*time.Hour - 4*time.Minute - 5*time.Second), "90m": now.Add(-90 * time.Minute), "1w": now.AddDate(0, 0, -7),
	} {
		if got, err := ParseTime(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "yesteryear", "5"} {
		if got, err := ParseTime(s, now); err == nil || !strings.Contains(err.Error(), "neither a time") {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

// berlin changes its clocks on 2026-03-29 and 2026-10-25.
func berlin(t testing.TB) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	return zone
}

// TestParseWrittenTime: times as people write them, in their zone or the one that they name.
func TestParseWrittenTime(t *testing.T) {
	now := time.Date(2026, 11, 28, 0, 30, 0, 0, berlin(t)) // still the 27th in UTC
	for s, want := range map[string]string{
		"now":                           "2026-11-28T00:30:00+01:00",
		"today":                         "2026-11-28T00:00:00+01:00",
		"yesterday":                     "2026-11-27T00:00:00+01:00",
		"Yesterday 14:03":               "2026-11-27T14:03:00+01:00",
		"yesterday  14:03:27":           "2026-11-27T14:03:27+01:00",
		"14:03":                         "2026-11-28T14:03:00+01:00",
		"9:05":                          "2026-11-28T09:05:00+01:00",
		"14:03:27.25":                   "2026-11-28T14:03:27.25+01:00",
		"14:03Z":                        "2026-11-27T14:03:00Z",
		"yesterday UTC":                 "2026-11-26T00:00:00Z",
		"14:03 +09:00":                  "2026-11-28T14:03:00+09:00",
		"2026-11-27":                    "2026-11-27T00:00:00+01:00",
		"2026-07-27 14:03":              "2026-07-27T14:03:00+02:00",
		"2026-11-27 14:03:27":           "2026-11-27T14:03:27+01:00",
		"2026-11-27T14:03":              "2026-11-27T14:03:00+01:00",
		"2026-11-27T14:03:27.123456Z":   "2026-11-27T14:03:27.123456Z",
		"2026-11-27 14:03 UTC":          "2026-11-27T14:03:00Z",
		"2026-11-27T14:03:27-0330":      "2026-11-27T14:03:27-03:30",
		"20261127T140327Z":              "2026-11-27T14:03:27Z", // as in the names of files
		"-2h":                           "2026-11-27T22:30:00+01:00",
		"2h":                            "2026-11-27T22:30:00+01:00",
		"-1h30m":                        "2026-11-27T23:00:00+01:00",
		"1795784607":                    "2026-11-27T14:03:27+01:00",
		"@1795784607.5":                 "2026-11-27T14:03:27.5+01:00",
		"2026-03-29 01:59":              "2026-03-29T01:59:00+01:00",
		" 2026-03-29 03:00 ":            "2026-03-29T03:00:00+02:00",
		"2026-03-29T02:30:00.000+01:00": "2026-03-29T02:30:00+01:00",
	} {
		if got, err := ParseTime(s, now); err != nil || Zoned(got) != want {
			t.Errorf("%q: %s, %v, want %s", s, Zoned(got), err, want)
		}
	}
	for s, want := range map[string]string{
		"25:00":            "as 14:03, 14:03:27",
		"yesterday-ish":    "as 14:03",
		"--2h":             "as 90m",
		"20261127":         "neither a time",
		"2026-13-01":       "neither a time",
		"14:03 CET":        "neither a time", // several zones have such names
		"1795784607000":    "write 1795784607.000",
		"2026-03-29 02:30": "set forward",
	} {
		if got, err := ParseTime(s, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", s, got, err, want)
		}
	}
}

// FuzzParseTime: what is read is read the same again as it is spelt.
func FuzzParseTime(f *testing.F) {
	now := time.Date(2026, 11, 28, 0, 30, 0, 0, berlin(f))
	for _, s := range []string{"yesterday 14:03", "14:03:27.5Z", "2026-11-27T14:03 +0100", "-1h30m", "@1795784607.5", "2026-03-29 02:30",
		"0226-03-29"} { // 53 minutes and 28 seconds before UTC
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTime(s, now)
		if err != nil {
			if len(err.Error()) > 600 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if y := got.Year(); y < 1 || y > 9999 {
			return // too long ago to be written
		}
		if again, err := ParseTime(Zoned(got), now); err != nil || !again.Equal(got) {
			t.Errorf("%q is %s, and that is %v, %v", s, Zoned(got), again, err)
		}
	})
}
