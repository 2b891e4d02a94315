//go:build !linux

package service

// RelaxTimers has nothing to do: other systems choose by themselves how late a
// timer may be.
func RelaxTimers() error { return nil }
