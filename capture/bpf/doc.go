// Package bpf captures with the BPF devices of macOS, FreeBSD, NetBSD and
// OpenBSD (bpf(4)), and says what of them differs between those systems.
//
// All but the system calls themselves works over an interface, so that its
// tests run the four kernels' behaviour on any system.
package bpf

import "encoding/binary"

// host is the byte order of what the kernel shares.
var host = binary.NativeEndian
