package main

import (
	"strings"
	"testing"
)

func TestCheckMemory(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		taken, total int64
		level, text  string
	}{
		{2 * gib, 8 * gib, levelOK, "rings and pools take 2.0 GiB of 8.0 GiB"},
		{5 * gib, 8 * gib, levelWarn, "rings and pools take 5.0 GiB of 8.0 GiB"},
		{2 * gib, 0, levelOK, "rings and pools take 2.0 GiB"},
	} {
		var got checker
		got.memory(c.taken, c.total)
		if f := got.found[0]; f.Level != c.level || f.Text != c.text || strings.Contains(f.Hint, "pool_size") != (c.level == levelWarn) {
			t.Errorf("%d of %d: %+v", c.taken, c.total, f)
		}
	}
}
