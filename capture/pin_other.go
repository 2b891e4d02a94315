//go:build !linux

package capture

import "errors"

func pin(int) error { return errors.ErrUnsupported }
