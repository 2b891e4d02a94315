// Package hint lets an error say what to do about it.
//
// An error with a method Hints() []string gives advice, a line for each string. Packages that make such errors need not
// know this one.
package hint

import "errors"

// New returns an error of this text, to be compared with, as errors.New does. The lines are its hints.
func New(text string, lines ...string) error { return &hinted{errors.New(text), lines} }

type hinted struct {
	error
	lines []string
}

// Hints returns the lines.
func (h *hinted) Hints() []string { return h.lines }

// Of returns the hints of an error, or of the first of those that it wraps that has any.
func Of(err error) []string {
	if h, ok := err.(interface{ Hints() []string }); ok {
		if lines := h.Hints(); len(lines) > 0 {
			return lines
		}
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return Of(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if lines := Of(one); len(lines) > 0 {
				return lines
			}
		}
	}
	return nil
}
