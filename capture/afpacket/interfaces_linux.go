package afpacket

import (
	"fmt"
	"net/netip"
	"slices"

	"capd/capture/device"
	"capd/pcap"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"
)

// Interfaces lists the interfaces.
func Interfaces() ([]device.Interface, error) {
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	defer conn.Close()
	links, err := conn.Link.List()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	ips := addresses(conn)
	var all []device.Interface
	for _, l := range links {
		if l.Attributes == nil {
			continue
		}
		all = append(all, device.Interface{
			Index:        int(l.Index),
			Name:         l.Attributes.Name,
			HardwareType: l.Type,
			LinkType:     linkType(l.Type),
			MTU:          int(l.Attributes.MTU),
			Up:           l.Flags&unix.IFF_UP != 0,
			Running:      l.Flags&unix.IFF_RUNNING != 0,
			Loopback:     l.Flags&unix.IFF_LOOPBACK != 0,
			Address:      l.Attributes.Address,
			IPs:          ips[l.Index],
			NICDropped:   dropped(&l),
		})
	}
	slices.SortFunc(all, func(a, b device.Interface) int { return a.Index - b.Index })
	return all, nil
}

// LinkTypes opens a socket as a device does, without a ring.
func LinkTypes(name string) ([]pcap.LinkType, error) {
	link, index, err := lookup(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, named("socket", err)
	}
	defer unix.Close(fd)
	if err := bind(fd, 0, index); err != nil {
		return nil, named("bind", err)
	}
	return []pcap.LinkType{link}, nil
}

// addresses returns the IP addresses by interface index. One request returns all of them: with many
// interfaces, a request for each would take seconds.
func addresses(conn *rtnetlink.Conn) map[uint32][]netip.Prefix {
	messages, err := conn.Address.List()
	if err != nil {
		return nil
	}
	all := make(map[uint32][]netip.Prefix)
	for _, m := range messages {
		if m.Attributes == nil {
			continue
		}
		// On a point-to-point link, Address is the peer's.
		ip := m.Attributes.Local
		if ip == nil {
			ip = m.Attributes.Address
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			all[m.Index] = append(all[m.Index], netip.PrefixFrom(addr.Unmap(), int(m.PrefixLength)))
		}
	}
	return all
}

// nicDropped returns how many frames the interface has dropped, or 0 if that is unknown.
func nicDropped(index int) uint64 {
	if index == 0 {
		return 0
	}
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return 0
	}
	defer conn.Close()
	link, err := conn.Link.Get(uint32(index))
	if err != nil {
		return 0
	}
	return dropped(&link)
}

func dropped(link *rtnetlink.LinkMessage) uint64 {
	if link.Attributes == nil || link.Attributes.Stats64 == nil {
		return 0
	}
	return link.Attributes.Stats64.RXDropped + link.Attributes.Stats64.RXMissedErrors
}

// enlarging are the kernel's names of the offloads that merge received frames, or that split sent
// frames after they were captured.
func enlarging() []string {
	return []string{
		"rx-gro", "rx-gro-hw", "rx-gro-list", "rx-udp-gro-forwarding", "rx-lro",
		"tx-generic-segmentation", "tx-tcp-segmentation", "tx-tcp6-segmentation",
		"tx-tcp-ecn-segmentation", "tx-udp-segmentation",
	}
}

// Inspect returns details that the driver of an interface reports.
func Inspect(name string) (device.Details, error) {
	d := device.Details{ClockIndex: -1}
	_, index, err := lookup(name)
	if err == nil && index == 0 {
		err = device.ErrNoInterface // Any is not one interface
	}
	if err != nil {
		return d, err
	}
	e, err := ethtool.NewEthtool()
	if err != nil {
		return d, err
	}
	defer e.Close()
	// Errors are ignored one by one: many drivers support only some of these.
	d.Driver, _ = e.DriverName(name)
	if features, err := e.Features(name); err == nil {
		for _, f := range enlarging() {
			if features[f] {
				d.Enlarging = append(d.Enlarging, f)
			}
		}
	}
	if speed, err := e.CmdGet(new(ethtool.EthtoolCmd), name); err == nil && int32(speed) > 0 {
		d.SpeedMbps = int(speed) // all ones means unknown
	}
	if ts, err := e.GetTimestampingInformation(name); err == nil {
		d.ClockIndex = int(ts.PhcIndex)
		d.Hardware = ts.SoTimestamping&unix.SOF_TIMESTAMPING_RX_HARDWARE != 0
	}
	return d, nil
}
