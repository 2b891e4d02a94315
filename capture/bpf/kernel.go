//go:build (darwin || freebsd || netbsd || openbsd) && (amd64 || arm64)

package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"capd/capture/device"
	"capd/pcap"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

// Open opens a device. The Config is complete.
func Open(c device.Config) (*device.Device, error) {
	d, err := openOn(kernel{}, native(), c)
	if err != nil {
		return nil, err
	}
	return d.device(), nil
}

// Adopt takes over a device of another process. The Config is complete.
func Adopt(c device.Config, f *os.File, _ device.Position) (*device.Device, error) {
	d, err := adoptOn(kernel{}, native(), c, f)
	if err != nil {
		return nil, err
	}
	return d.device(), nil
}

// LinkTypes returns the link types that an interface offers, the default first.
func LinkTypes(name string) ([]pcap.LinkType, error) { return offered(kernel{}, native(), name) }

// kernel is the sys of the running kernel.
type kernel struct{}

func (kernel) open(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (kernel) ioctl(fd int, code uint32, arg []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(code), uintptr(unsafe.Pointer(unsafe.SliceData(arg))))
	if errno != 0 {
		return errno
	}
	return nil
}

func (kernel) read(fd int, buf []byte) (int, error) { return unix.Read(fd, buf) }

func (kernel) close(fd int) error { return unix.Close(fd) }

func (kernel) share(fd int) (*os.File, error) {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(d), "bpf"), nil
}

func (kernel) take(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	outer := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(outer, err)
}

func (kernel) link(name string) (linkState, error) {
	i, err := net.InterfaceByName(name)
	if err == nil {
		return linkState{index: i.Index, up: i.Flags&net.FlagUp != 0, loopback: i.Flags&net.FlagLoopback != 0}, nil
	}
	if errors.As(err, new(syscall.Errno)) {
		return linkState{}, fmt.Errorf("look up: %w", err)
	}
	return linkState{}, device.ErrNoInterface
}

// Interfaces lists the interfaces.
func Interfaces() ([]device.Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	types, err := interfaceTypes()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var all []device.Interface
	for _, i := range list {
		all = append(all, device.Interface{
			Index:        i.Index,
			Name:         i.Name,
			HardwareType: types[i.Index],
			MTU:          i.MTU,
			Up:           i.Flags&net.FlagUp != 0,
			Running:      i.Flags&net.FlagRunning != 0,
			Loopback:     i.Flags&net.FlagLoopback != 0,
			Address:      i.HardwareAddr,
			IPs:          prefixes(&i),
		})
	}
	slices.SortFunc(all, func(a, b device.Interface) int { return a.Index - b.Index })
	fillLinkTypes(kernel{}, native(), all)
	return all, nil
}

// interfaceTypes returns the interfaces' types (IFT_) by index.
func interfaceTypes() (map[int]uint16, error) {
	rib, err := route.FetchRIB(unix.AF_UNSPEC, route.RIBTypeInterface, 0)
	if err != nil {
		return nil, err
	}
	messages, err := route.ParseRIB(route.RIBTypeInterface, rib)
	if err != nil {
		return nil, err
	}
	types := map[int]uint16{}
	for _, m := range messages {
		i, ok := m.(*route.InterfaceMessage)
		if !ok {
			continue
		}
		for _, s := range i.Sys() {
			if metrics, ok := s.(*route.InterfaceMetrics); ok {
				types[i.Index] = uint16(metrics.Type)
			}
		}
	}
	return types, nil
}

// prefixes returns the interface's IP addresses, or nil if the interface is gone.
func prefixes(i *net.Interface) []netip.Prefix {
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	var ips []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			ips = append(ips, p)
		}
	}
	return ips
}

// Inspect only checks that the interface exists: BPF devices report no details.
func Inspect(name string) (device.Details, error) {
	d := device.Details{ClockIndex: -1}
	if _, err := (kernel{}).link(name); err != nil {
		return d, err
	}
	return d, nil
}
