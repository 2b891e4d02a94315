//go:build unix && !linux

package sandbox

import "errors"

func enter(Policy) (Report, error) { return Report{}, ErrUnsupported }

// There are no capabilities on these systems: the user needs access to the BPF devices.
func beforeBecoming() error { return nil }

func afterBecoming(bool) error { return nil }

// DropCapabilities fails: the system has none.
func DropCapabilities() error { return errors.ErrUnsupported }

func passCapabilities() error { return nil }

func resume() error { return nil }
