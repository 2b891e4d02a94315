//go:build !linux

package daemon

import "testing"

func newVeths(t *testing.T) network {
	t.Skip("needs Linux")
	return nil
}
