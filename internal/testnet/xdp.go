//go:build linux

package testnet

import (
	"runtime"
	"testing"
	"unsafe"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"
)

// XDPDrop is the action of an XDP program that drops every frame.
const XDPDrop = 1 // XDP_DROP

// AttachXDP attaches an XDP program of the name to the interface that takes the
// action for every frame, in the generic mode. The test is skipped where only
// others may do that: it takes the machine's root.
func AttachXDP(tb testing.TB, iface, name string, action uint32) {
	tb.Helper()
	fd, err := loadXDP(name, action)
	if err == unix.EPERM || err == unix.ENOSYS {
		tb.Skipf("needs privilege: load an XDP program: %v", err)
	}
	if err != nil {
		tb.Fatalf("load an XDP program: %v", err)
	}
	defer unix.Close(fd) // the interface holds the program
	setXDP(tb, iface, int32(fd))
}

// DetachXDP takes the XDP program off the interface.
func DetachXDP(tb testing.TB, iface string) {
	tb.Helper()
	setXDP(tb, iface, -1)
}

func setXDP(tb testing.TB, iface string, fd int32) {
	tb.Helper()
	conn := dial(tb)
	defer conn.Close()
	err := conn.Link.Set(&rtnetlink.LinkMessage{
		Index:      uint32(Index(tb, iface)),
		Attributes: &rtnetlink.LinkAttributes{XDP: &rtnetlink.LinkXDP{FD: fd, Flags: unix.XDP_FLAGS_SKB_MODE}},
	})
	if err != nil {
		tb.Fatalf("set the XDP program of %s: %v", iface, err)
	}
}

// loadXDP loads the program r0 = action; exit.
func loadXDP(name string, action uint32) (int, error) {
	const movImmediate, exit = 0xb7, 0x95
	code := &[2]struct {
		op, registers uint8
		offset        int16
		immediate     uint32
	}{{op: movImmediate, immediate: action}, {op: exit}}
	license := &[4]byte{'M', 'I', 'T'}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(code)
	pin.Pin(license)
	// The first fields of union bpf_attr for BPF_PROG_LOAD.
	attr := struct {
		kind, instructions      uint32
		code, license           uint64
		logLevel, logSize       uint32
		log                     uint64
		kernel, flags           uint32
		name                    [16]byte
		ifindex, expectedAttach uint32
	}{
		kind: unix.BPF_PROG_TYPE_XDP, instructions: uint32(len(code)),
		code: uint64(uintptr(unsafe.Pointer(code))), license: uint64(uintptr(unsafe.Pointer(license))),
	}
	copy(attr.name[:15], name)
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}
