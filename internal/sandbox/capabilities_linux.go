package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// A set is a set of capabilities, one bit for each.
type set uint64

func setOf(capabilities ...int) set {
	var s set
	for _, c := range capabilities {
		s |= 1 << c
	}
	return s
}

// names returns the names of the capabilities that Enter may keep.
func (s set) names() []string {
	var all []string
	for _, c := range []struct {
		number int
		name   string
	}{{unix.CAP_NET_RAW, "CAP_NET_RAW"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"}, {unix.CAP_CHOWN, "CAP_CHOWN"}} {
		if s&setOf(c.number) != 0 {
			all = append(all, c.name)
		}
	}
	return all
}

// needed returns the capabilities that recording needs. Root has no power over
// others' directories but by the second, and its captures may go there; by the
// third they belong to the directory's owner. netAdmin is Policy.NetAdmin.
func needed(netAdmin bool) set {
	all := setOf(unix.CAP_NET_RAW)
	if os.Geteuid() == 0 {
		all |= setOf(unix.CAP_DAC_OVERRIDE, unix.CAP_CHOWN)
	}
	if netAdmin {
		all |= setOf(unix.CAP_NET_ADMIN)
	}
	return all
}

// held returns the permitted and the effective capabilities of the calling thread.
func held() (permitted, effective set, err error) {
	var data [2]unix.CapUserData
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, 0, fmt.Errorf("read capabilities: %w", err)
	}
	permitted = set(data[0].Permitted) | set(data[1].Permitted)<<32
	return permitted, set(data[0].Effective) | set(data[1].Effective)<<32, nil
}

// hold sets the capabilities of all threads.
func hold(s set) error {
	low, high := uint32(s), uint32(s>>32)
	data := &[2]unix.CapUserData{{Effective: low, Permitted: low}, {Effective: high, Permitted: high}}
	hdr := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var pin runtime.Pinner // the stack may move before all threads have read them
	defer pin.Unpin()
	pin.Pin(hdr)
	pin.Pin(data)
	return everywhere(unix.SYS_CAPSET, uintptr(unsafe.Pointer(hdr)), uintptr(unsafe.Pointer(data)))
}

// noRoot is SECBIT_NOROOT, locked: programs get no capability because the user is root.
const noRoot = 1<<0 | 1<<1

// dropCapabilities drops all capabilities except the needed ones, and returns the remaining ones.
func dropCapabilities(netAdmin bool) (set, error) {
	permitted, effective, err := held()
	if err != nil {
		return 0, err
	}
	if effective&setOf(unix.CAP_SETPCAP) != 0 {
		var spared set // that PassCapabilities can pass on; programs that root starts otherwise do not get them
		if control(unix.PR_SET_SECUREBITS, noRoot) == nil {
			spared = needed(netAdmin)
		}
		for c := range unix.CAP_LAST_CAP + 1 {
			if spared&setOf(c) != 0 {
				continue
			}
			// The kernel may have fewer capabilities.
			if err := control(unix.PR_CAPBSET_DROP, uintptr(c)); err != nil && !errors.Is(err, unix.EINVAL) {
				return 0, fmt.Errorf("drop capability %d for good: %w", c, err)
			}
		}
	}
	if err := control(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return 0, fmt.Errorf("drop ambient capabilities: %w", err)
	}
	left := permitted & needed(netAdmin)
	// A service manager's system call filter may refuse the call. That does not matter if there is
	// nothing to drop.
	if err := hold(left); err != nil && permitted != left {
		return 0, fmt.Errorf("drop capabilities: %w", err)
	}
	return left, nil
}

// beforeBecoming makes the process keep its capabilities when its user changes.
func beforeBecoming() error { return control(unix.PR_SET_KEEPCAPS, 1) }

func afterBecoming(netAdmin bool) error {
	permitted, _, err := held()
	if err != nil {
		return err
	}
	return hold(permitted & needed(netAdmin))
}

// DropCapabilities drops all capabilities of the process, which keeps its user.
func DropCapabilities() error {
	if err := hold(0); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// control calls prctl(2) in all threads.
func control(option, argument uintptr) error {
	return everywhere(unix.SYS_PRCTL, option, argument)
}

// everywhere makes a system call in all threads of the process, because each thread has its own
// capabilities.
func everywhere(number, a, b uintptr) error {
	if _, _, errno := psx.Syscall6(number, a, b, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// passCapabilities makes the permitted capabilities of the calling thread inheritable and ambient.
func passCapabilities() error {
	permitted, effective, err := held()
	if err != nil {
		return err
	}
	part := func(shift int) unix.CapUserData {
		low := uint32(permitted >> shift)
		return unix.CapUserData{Permitted: low, Inheritable: low, Effective: uint32(effective >> shift)}
	}
	data := [2]unix.CapUserData{part(0), part(32)}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&hdr, &data[0]); err != nil && permitted != 0 {
		return fmt.Errorf("pass capabilities on: %w", err)
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if permitted&setOf(c) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil && os.Geteuid() != 0 {
			return fmt.Errorf("pass capability %d on: %w", c, err) // root has them anyway
		}
	}
	return nil
}

func resume() error {
	permitted, _, err := held()
	if err != nil {
		return err
	}
	if err := control(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	return hold(permitted)
}
