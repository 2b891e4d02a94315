package hint

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

type silent struct{ error }

func (silent) Hints() []string { return nil }
func (s silent) Unwrap() error { return s.error }

func TestOf(t *testing.T) {
	full := New("full", "delete something", "or buy a disk")
	for text, c := range map[string]struct {
		err  error
		want []string
	}{
		"none":                   {nil, nil},
		"without":                {errors.New("x"), nil},
		"itself":                 {full, []string{"delete something", "or buy a disk"}},
		"wrapped":                {fmt.Errorf("write: %w", full), []string{"delete something", "or buy a disk"}},
		"joined":                 {errors.Join(errors.New("x"), full), []string{"delete something", "or buy a disk"}},
		"the first that has any": {silent{full}, []string{"delete something", "or buy a disk"}},
		"the outermost":          {&hinted{full, []string{"wait"}}, []string{"wait"}},
	} {
		if got := Of(c.err); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", text, got, c.want)
		}
	}
	if !errors.Is(fmt.Errorf("x: %w", full), full) || errors.Is(full, New("full")) {
		t.Error("an error is itself only")
	}
}
