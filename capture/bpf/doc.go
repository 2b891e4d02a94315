// Package bpf captures with the BPF devices of macOS, FreeBSD, NetBSD and OpenBSD (bpf(4)), and
// holds the differences between these systems.
//
// All code except the system calls works on an interface, sys, so that tests on any system can
// simulate all four kernels.
package bpf

import "encoding/binary"

// host is the byte order of memory shared with the kernel.
var host = binary.NativeEndian
