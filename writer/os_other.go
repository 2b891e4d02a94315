//go:build unix && !linux

package writer

import "errors"

func adviseHuge([]byte) {}

func populate([]byte) error { return errors.ErrUnsupported }
