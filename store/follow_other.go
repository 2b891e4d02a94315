//go:build unix && !linux

package store

import "errors"

// watch is refused: kqueue(2) wants every file of the directory open to tell of
// their names.
func watch(string) (watcher, error) { return nil, errors.ErrUnsupported }
