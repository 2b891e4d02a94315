package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// A Size is a number of bytes. As text it is a number and a unit: "64MiB", "10GB", "1.5 gib";
// without a unit it is in bytes. It implements pflag.Value.
type Size int64

// Sizes for defaults and documents.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// An AutoSize is a Size that capd may choose itself: 0 is "auto". It implements pflag.Value.
type AutoSize Size

// A Duration is a time.Duration. As text it is a sequence of numbers and units, from w (7 days) and
// d (24 hours) down to ns: "90s", "1h30m", "7d". It implements pflag.Value.
type Duration time.Duration

const (
	day  = Duration(24 * time.Hour)
	week = 7 * day
)

// A FileMode is the permission bits of a file; as text they are octal: "0640". It implements
// pflag.Value.
type FileMode fs.FileMode

type unit struct {
	name string
	n    int64
}

// sizeUnits are sorted from the largest, as String requires.
func sizeUnits() []unit {
	return []unit{
		{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9},
		{"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1},
	}
}

// durationUnits are sorted from the largest, as String requires.
func durationUnits() []unit {
	return []unit{
		{"d", int64(day)}, {"h", int64(time.Hour)}, {"m", int64(time.Minute)}, {"s", int64(time.Second)},
		{"ms", int64(time.Millisecond)}, {"us", int64(time.Microsecond)}, {"ns", 1},
	}
}

// String returns the size in the largest unit that divides it.
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	units := sizeUnits()
	for _, u := range units[:len(units)-1] {
		if int64(s)%u.n == 0 {
			return strconv.FormatInt(int64(s)/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText returns String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a size. A fraction must result in whole bytes.
func (s *Size) UnmarshalText(text []byte) error {
	number, name := cutNumber(string(text))
	name = strings.TrimLeft(name, " ")
	if name == "" {
		name = "B"
	}
	for _, u := range sizeUnits() {
		if strings.EqualFold(u.name, name) {
			n, err := product(number, u.n)
			if err != nil {
				return err
			}
			whole, err := toInt64(n)
			if err != nil {
				return fmt.Errorf("%w bytes", err)
			}
			*s = Size(whole)
			return nil
		}
	}
	return sizeUnitError(number, name)
}

func sizeUnitError(number, name string) error {
	if number == "" {
		return errors.New("it does not start with a number")
	}
	if up := strings.ToUpper(name); len(up) == 1 && strings.Contains("KMGT", up) {
		return fmt.Errorf("write %s%siB (powers of 1024) or %s%sB (powers of 1000)", number, up, number, up)
	}
	return fmt.Errorf("%s is not a unit; units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB", strconv.Quote(clip(name)))
}

// Set is UnmarshalText for flags.
func (s *Size) Set(text string) error { return s.UnmarshalText([]byte(text)) }

// Type names the type in the usage of flags.
func (s *Size) Type() string { return "size" }

const auto = "auto"

func (s AutoSize) String() string {
	if s == 0 {
		return auto
	}
	return Size(s).String()
}

// MarshalText returns String.
func (s AutoSize) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "auto" or a size above 0.
func (s *AutoSize) UnmarshalText(text []byte) error {
	if string(text) == auto {
		*s = 0
		return nil
	}
	var n Size
	if err := n.UnmarshalText(text); err != nil {
		return err
	}
	if n == 0 {
		return errors.New(`write "auto" or a size above 0`)
	}
	*s = AutoSize(n)
	return nil
}

// Set is UnmarshalText for flags.
func (s *AutoSize) Set(text string) error { return s.UnmarshalText([]byte(text)) }

// Type names the type in the usage of flags.
func (s *AutoSize) Type() string { return "size" }

// String returns the duration without units that are zero: "1h30m". Weeks appear alone, as in "2w".
func (d Duration) String() string {
	if d == 0 {
		return "0"
	}
	var b strings.Builder
	rest := uint64(d)
	if d < 0 {
		b.WriteByte('-')
		rest = -rest
	}
	if rest%uint64(week) == 0 {
		fmt.Fprintf(&b, "%dw", rest/uint64(week))
		return b.String()
	}
	for _, u := range durationUnits() {
		if n := rest / uint64(u.n); n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			rest -= n * uint64(u.n)
		}
	}
	return b.String()
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration. A fraction must result in whole nanoseconds.
func (d *Duration) UnmarshalText(text []byte) error {
	rest, negative := strings.CutPrefix(string(text), "-")
	if rest == "0" {
		*d = 0
		return nil
	}
	if rest == "" {
		return errors.New("it does not start with a number")
	}
	sum := new(big.Rat)
	for rest != "" {
		n, tail, err := durationTerm(rest)
		if err != nil {
			return err
		}
		sum.Add(sum, n)
		rest = tail
	}
	if negative {
		sum.Neg(sum)
	}
	whole, err := toInt64(sum)
	if err != nil {
		return fmt.Errorf("%w nanoseconds", err)
	}
	*d = Duration(whole)
	return nil
}

// durationTerm reads one number and its unit from the start of the text.
func durationTerm(text string) (n *big.Rat, rest string, err error) {
	number, rest := cutNumber(text)
	if number == "" {
		return nil, "", fmt.Errorf("no number at %s", strconv.Quote(clip(text)))
	}
	end := strings.IndexAny(rest, "-.0123456789")
	if end < 0 {
		end = len(rest)
	}
	name, rest := rest[:end], rest[end:]
	if name == "" {
		return nil, "", fmt.Errorf(`no unit after %s; write %[1]ss for seconds`, clip(number))
	}
	if name == "µs" || name == "μs" { // U+00B5 and U+03BC, both of which time.ParseDuration accepts
		name = "us"
	}
	for _, u := range append(durationUnits(), unit{"w", int64(week)}) {
		if u.name == name {
			n, err := product(number, u.n)
			return n, rest, err
		}
	}
	return nil, "", fmt.Errorf("%s is not a unit; units are w, d, h, m, s, ms, us, ns", strconv.Quote(clip(name)))
}

// Set is UnmarshalText for flags.
func (d *Duration) Set(text string) error { return d.UnmarshalText([]byte(text)) }

// Type names the type in the usage of flags.
func (d *Duration) Type() string { return "duration" }

// String returns the mode as four octal digits.
func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText returns String.
func (m FileMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads an octal number.
func (m *FileMode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(string(text), "0o"), 8, 32)
	if err != nil {
		return errors.New("it is not an octal number")
	}
	*m = FileMode(n)
	return nil
}

// Set is UnmarshalText for flags.
func (m *FileMode) Set(text string) error { return m.UnmarshalText([]byte(text)) }

// Type names the type in the usage of flags.
func (m *FileMode) Type() string { return "mode" }

// cutNumber splits off the digits and points that the text starts with.
func cutNumber(text string) (number, rest string) {
	rest = strings.TrimLeft(text, ".0123456789")
	return text[:len(text)-len(rest)], rest
}

// product multiplies exactly: a float would round sizes above 2^53.
func product(number string, n int64) (*big.Rat, error) {
	const longest = 64 // more digits have no use and cost time
	if number == "" || len(number) > longest {
		return nil, errors.New("it does not start with a number")
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return nil, fmt.Errorf("%s is not a number", number)
	}
	return r.Mul(r, new(big.Rat).SetInt64(n)), nil
}

// toInt64 converts r. Its errors end where the caller appends the unit.
func toInt64(r *big.Rat) (int64, error) {
	switch {
	case !r.IsInt():
		return 0, errors.New("it does not come to whole")
	case !r.Num().IsInt64():
		return 0, errors.New("it does not fit in 63 bits of")
	}
	return r.Num().Int64(), nil
}

// clip shortens text for messages, because it may be hostile.
func clip(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// A Share is a size in bytes or, if Percent is not 0, a percentage of a whole.
type Share struct {
	Bytes   Size
	Percent float64
}

// Of returns the share of total bytes.
func (s Share) Of(total uint64) uint64 {
	return max(uint64(max(s.Bytes, 0)), uint64(float64(total)*s.Percent/100))
}

func (s Share) String() string {
	if s.Percent != 0 {
		return strconv.FormatFloat(s.Percent, 'f', -1, 64) + "%"
	}
	return s.Bytes.String()
}

// MarshalText returns the share in the form that UnmarshalText reads.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a size, or a number with a percent sign.
func (s *Share) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	if !percent {
		*s = Share{}
		return s.Bytes.UnmarshalText(text)
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return errors.New(`write a number before the percent sign, as "5%"`)
	}
	*s = Share{Percent: n}
	return nil
}
