//go:build !linux

package store

// Unmounted returns nothing: a system that does not mount what its fstab lists does
// not start.
func Unmounted(string) (point, where string) { return "", "" }

// Discards returns false: other systems don't say.
func Discards(string) bool { return false }
