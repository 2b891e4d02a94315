package config

import (
	"math"
	"testing"
	"testing/quick"
	"time"
)

// value is what a flag requires of a setting's type (pflag.Value).
type value interface {
	String() string
	Set(string) error
	Type() string
}

func TestUnitsAreFlagValues(t *testing.T) {
	for _, c := range []struct {
		v                value
		text, back, kind string
	}{
		{new(Size), "64 mib", "64MiB", "size"},
		{new(Duration), "90s", "1m30s", "duration"},
		{new(FileMode), "640", "0640", "mode"},
	} {
		if err := c.v.Set(c.text); err != nil || c.v.String() != c.back || c.v.Type() != c.kind {
			t.Errorf("%q became %s %s, %v", c.text, c.v.Type(), c.v, err)
		}
		if err := c.v.Set("x"); err == nil || c.v.String() != c.back {
			t.Errorf("x became %s, %v", c.v, err)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "4096": 4096, "010": 10, "64MiB": 64 << 20, "10GB": 10e9, "1.5GiB": 3 << 29, "1 kib": 1024, "7b": 7,
		"2TiB": 2 << 40, "3 TB": 3e12, "0.001MB": 1000, "1.50KB": 1500, "9007199254740993": 1<<53 + 1,
		"9223372036854775807": math.MaxInt64, "0.5KiB": 512, ".5KiB": 512, "8388607TiB": 8388607 << 40,
	} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                    "it does not start with a number",
		"MiB":                 "it does not start with a number",
		"-5MiB":               "it does not start with a number",
		"1.5":                 "it does not come to whole bytes",
		"0.1KiB":              "it does not come to whole bytes",
		"8388608TiB":          "it does not fit in 63 bits of bytes",
		"9223372036854775808": "it does not fit in 63 bits of bytes",
		"1.2.3MB":             "1.2.3 is not a number",
		".":                   ". is not a number",
		"64M":                 "write 64MiB (powers of 1024) or 64MB (powers of 1000)",
		"64k":                 "write 64KiB (powers of 1024) or 64KB (powers of 1000)",
		"1e3":                 `"e3" is not a unit; units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB`,
		"5 parsecs":           `"parsecs" is not a unit; units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB`,
		"5MiB ":               `"MiB " is not a unit; units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB`,
	} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err == nil || err.Error() != want || got != 0 {
			t.Errorf("%q is %d, %v; want %s", text, got, err, want)
		}
	}
}

func TestDuration(t *testing.T) {
	const h = Duration(time.Hour)
	for text, want := range map[string]Duration{
		"0": 0, "-0": 0, "0s": 0, "90s": h / 40, "1h30m": h * 3 / 2, "250ms": h / 14400, "7d": 168 * h, "2w": 336 * h,
		"1w2d3h": 219 * h, "1.5h": h * 3 / 2, "-5s": -h / 720, "1us": 1000, "1µs": 1000, "1μs": 1000, "3ns": 3, ".5d": 12 * h,
		"-9223372036854775808ns": math.MinInt64, "1s1s": h / 1800,
	} {
		var got Duration
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                    "it does not start with a number",
		"-":                   "it does not start with a number",
		"s":                   `no number at "s"`,
		"--5s":                `no number at "-5s"`,
		"5":                   "no unit after 5; write 5s for seconds",
		"1h30":                "no unit after 30; write 30s for seconds",
		"5 s":                 `" s" is not a unit; units are w, d, h, m, s, ms, us, ns`,
		"1y":                  `"y" is not a unit; units are w, d, h, m, s, ms, us, ns`,
		"0.1ns":               "it does not come to whole nanoseconds",
		"15251w":              "it does not fit in 63 bits of nanoseconds",
		"9223372036854775808": "no unit after 9223372036854775808; write 9223372036854775808s for seconds",
		"1..5s":               "1..5 is not a number",
	} {
		var got Duration
		if err := got.UnmarshalText([]byte(text)); err == nil || err.Error() != want || got != 0 {
			t.Errorf("%q is %d, %v; want %s", text, got, err, want)
		}
	}
}

func TestUnitsAsText(t *testing.T) {
	for want, v := range map[string]interface{ String() string }{
		"10GB": Size(10e9), "64MiB": 64 * MiB, "1536MiB": 3 * GiB / 2, "1001B": Size(1001), "1KB": Size(1000), "-1KiB": -KiB,
		"100ms": Duration(1e8), "1h": Duration(time.Hour), "1s500ms": Duration(15e8), "30d": 30 * day, "2w": 2 * week,
		"1d12h": Duration(36 * time.Hour), "-5s": -Duration(5 * time.Second), "0007": FileMode(7),
	} {
		if v.String() != want {
			t.Errorf("%#v is %s, want %s", v, v, want)
		}
	}
}

func TestUnitsSurviveText(t *testing.T) {
	size := func(n int64) bool {
		want := Size(n &^ math.MinInt64)
		var got Size
		return got.Set(want.String()) == nil && got == want
	}
	duration := func(n int64) bool {
		var got Duration
		return got.Set(Duration(n).String()) == nil && got == Duration(n)
	}
	mode := func(n uint32) bool {
		var got FileMode
		return got.Set(FileMode(n).String()) == nil && got == FileMode(n)
	}
	round := func(n int64, shift uint8) bool { // such numbers divide by large units
		n = n >> (shift % 64) << (shift % 40)
		return size(n) && size(n/1e6*1e6) && duration(n/1e9*1e9) && duration(n/int64(week)*int64(week))
	}
	for _, f := range []any{size, duration, mode, round} {
		if err := quick.Check(f, nil); err != nil {
			t.Error(err)
		}
	}
	for _, n := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MinInt64 + 1} {
		if !size(n) || !duration(n) {
			t.Errorf("%d does not survive", n)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, seed := range []string{"", "0", "64MiB", "1.5 gib", "9223372036854775807", "8388608TiB", "1e9", "..", "-1", "5µ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a, b Size
		if a.Set(text) != nil {
			return
		}
		if err := b.Set(a.String()); err != nil || a != b || a < 0 {
			t.Errorf("%q is %d, its text %s is %d, %v", text, a, a, b, err)
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"", "0", "1h30m", "-5s", "1w2d3h4m5s6ms7us8ns", "1.5d", "9223372036854775807ns", "1µs", "-", "1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a, b Duration
		err := a.Set(text)
		if std, stdErr := time.ParseDuration(text); err == nil && stdErr == nil && a != Duration(std) && std.Abs() < 1<<52 {
			t.Errorf("%q is %d, and %d for package time", text, a, std)
		}
		if err != nil {
			return
		}
		if err := b.Set(a.String()); err != nil || a != b {
			t.Errorf("%q is %d, its text %s is %d, %v", text, a, a, b, err)
		}
	})
}
