//go:build !linux

package capture

import "errors"

func openGroup(Config, int, Spread) ([]*Device, error) { return nil, errors.ErrUnsupported }
