//go:build unix && !linux

package store

import "errors"

// watch is refused: kqueue(2) reports names only of files that are open, and so
// wants every file of the directory open.
func watch(string) (watcher, error) { return nil, errors.ErrUnsupported }
