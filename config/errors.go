package config

import (
	"fmt"
	"strings"
)

// An Error is one mistake in a configuration.
type Error struct {
	File   string // empty if the settings did not come from a file
	Line   int    // from 1; 0: unknown
	Column int    // from 1, in bytes; 0: unknown
	Key    string // such as `ring_size`, `log.level`, `interface "eth0": ring_size`; empty for invalid TOML
	Value  string // in TOML's syntax; empty if the key itself is the mistake
	Reason string // what is allowed, and why
	Hint   string // what to write instead; may be empty

	paths []string // paths of keys, as returned by keyLines, that may have caused the mistake; the likeliest first
}

// Error returns the mistake on one line: capd.toml:3: snaplen = 0: must be ...
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.Column > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	case e.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", e.File, e.Line)
	case e.File != "":
		fmt.Fprintf(&b, "%s: ", e.File)
	}
	if e.Key != "" {
		b.WriteString(e.Key)
		if e.Value != "" {
			b.WriteString(" = " + e.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Reason)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Errors are all mistakes in a configuration, in the order of its lines.
type Errors []*Error

// Error returns the mistakes, one per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Hints says where the keys are described.
func (e Errors) Hints() []string {
	return []string{"capd.toml(5) and capd.toml.example have every key with its unit and default"}
}

// Unwrap returns each mistake, for errors.As.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, one := range e {
		errs[i] = one
	}
	return errs
}

// Nearest returns the known key that is one typing error away from the one written, or "".
func Nearest(key string, known []string) string {
	key = strings.ToLower(clip(key))
	best, least := "", max(2, len(key)/3)+1
	for _, k := range known {
		if d := distance(key, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of bytes to insert, drop or change to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
