package afpacket

import "golang.org/x/sys/unix"

// Pin binds the calling thread to a processor.
func Pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}
