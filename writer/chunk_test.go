package writer

import "testing"

// TestNeed: memory is there for more than what is in use, and never for more than there is.
func TestNeed(t *testing.T) {
	for _, c := range []struct{ used, count, want int }{
		{0, 8, 2}, {1, 8, 4}, {2, 8, 6}, {3, 8, 8}, {4, 8, 8}, {8, 8, 8}, {0, 2, 2}, {2, 2, 2}, {10, 384, 22},
	} {
		if got := need(c.used, c.count, 2); got != c.want {
			t.Errorf("%d of %d in use: %d, want %d", c.used, c.count, got, c.want)
		}
	}
}
