//go:build !linux

package restart

import (
	"fmt"
	"os"
)

// newMemory makes a file without a name of that size, which has to do for a file in memory.
func newMemory(name string, size int) (*os.File, error) {
	f, err := os.CreateTemp("", name)
	if err != nil {
		return nil, fmt.Errorf("make a file for what the next process needs: %w", err)
	}
	err = os.Remove(f.Name())
	if err == nil {
		err = f.Truncate(int64(size))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
