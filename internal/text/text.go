// Package text spells sizes, rates, durations, times and names for people, in every command and log the same way. What
// capd.toml and flags take is spelt by package config: exactly, and to be read again.
package text

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size spells a number of bytes: "512 B", "1.5 GiB", "128 MiB".
func Size[N int | int64 | uint64 | float64](n N) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, i := float64(n), 0
	for f >= 1023.5 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 || f >= 99.95 || f == math.Trunc(f) {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// Metric spells a number in four characters at most: "940", "1.5k", "12M".
func Metric(f float64) string {
	digits, prefix := metric(f)
	return digits + prefix
}

// BitRate spells bits per second: "940 bit/s", "1.5 Gbit/s".
func BitRate(bits float64) string {
	digits, prefix := metric(bits)
	return digits + " " + prefix + "bit/s"
}

func metric(f float64) (digits, prefix string) {
	for _, prefix := range []string{"", "k", "M", "G", "T"} {
		if f < 999.5 {
			if f < 9.95 && prefix != "" && f != math.Trunc(f) {
				return fmt.Sprintf("%.1f", f), prefix
			}
			return fmt.Sprintf("%.0f", f), prefix
		}
		f /= 1000
	}
	return "999", "T"
}

// Percent spells a part of 1: "42%".
func Percent(part float64) string { return fmt.Sprintf("%.0f%%", 100*min(max(part, 0), 1)) }

// Count spells a number of things: "1 file", "2 files".
func Count[N int | int64 | uint64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// Name quotes a name that a terminal could take for something else.
func Name(name string) string { return unlessPlain(name, strconv.Quote(name)) }

// ASCII quotes a name that is anything but plain ASCII.
func ASCII(name string) string { return unlessPlain(name, strconv.QuoteToASCII(name)) }

func unlessPlain(name, quoted string) string {
	if quoted == `"`+name+`"` {
		return name
	}
	return quoted
}

// Line spells text of others on one line: whatever can't be printed is escaped.
func Line(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// Seconds makes a duration of seconds, however many they are.
func Seconds(seconds float64) time.Duration {
	if math.IsNaN(seconds) {
		return 0
	}
	return time.Duration(min(max(seconds, 0), math.MaxInt64/1e9-1) * 1e9)
}
