package afpacket

import (
	"fmt"
	"net/netip"
	"slices"

	"capd/capture/device"
	"capd/pcap"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Interfaces lists the interfaces.
func Interfaces() ([]device.Interface, error) {
	links, err := getLinks(netlink.Dump, make([]byte, unix.SizeofIfInfomsg))
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	ips := addresses()
	var all []device.Interface
	for _, l := range links {
		all = append(all, device.Interface{
			Index:        int(l.Index),
			Name:         l.Attributes.Name,
			AltNames:     l.altNames,
			HardwareType: l.Type,
			LinkType:     linkType(l.Type),
			MTU:          int(l.Attributes.MTU),
			Up:           l.Flags&unix.IFF_UP != 0,
			Running:      l.Flags&unix.IFF_RUNNING != 0,
			Loopback:     l.Flags&unix.IFF_LOOPBACK != 0,
			Address:      l.Attributes.Address,
			IPs:          ips[l.Index],
			NIC:          counters(&l.LinkMessage),
			XDP:          xdp(&l.LinkMessage),
		})
	}
	slices.SortFunc(all, func(a, b device.Interface) int { return a.Index - b.Index })
	return all, nil
}

// A Prober asks interfaces for their link types. It opens one socket, as a device
// does but without a ring, and binds it to each: the kernel takes about ten
// milliseconds to close a packet socket.
type Prober struct {
	fd     int
	opened bool
}

// LinkTypes returns the link types of the interface of that name.
func (p *Prober) LinkTypes(name string) ([]pcap.LinkType, error) {
	links, index, err := lookup(name)
	if err != nil {
		return nil, err
	}
	if !p.opened {
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return nil, named("socket", err)
		}
		p.opened = true
	}
	if err := bind(p.fd, 0, index); err != nil {
		return nil, named("bind", err)
	}
	return links, nil
}

// Close closes the socket.
func (p *Prober) Close() error {
	if !p.opened {
		return nil
	}
	p.opened = false
	return unix.Close(p.fd)
}

// addresses returns the IP addresses by interface index. One request returns all of them: with many
// interfaces, a request for each would take seconds.
func addresses() map[uint32][]netip.Prefix {
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil
	}
	defer conn.Close()
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

// nicCounters returns the counters of the interface; 0 if they can't be known.
func nicCounters(index int) device.NIC {
	if index <= 0 {
		return device.NIC{}
	}
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return device.NIC{}
	}
	defer conn.Close()
	link, err := conn.Link.Get(uint32(index))
	if err != nil {
		return device.NIC{}
	}
	return counters(&link)
}

// counters returns those of an interface. Documentation/networking/statistics.rst
// of Linux says what they are; docs/metrics.md says it shorter.
func counters(link *rtnetlink.LinkMessage) device.NIC {
	if link.Attributes == nil || link.Attributes.Stats64 == nil {
		return device.NIC{}
	}
	s := link.Attributes.Stats64
	return device.NIC{NICDropped: s.RXMissedErrors + s.RXFIFOErrors, NICDiscarded: s.RXDropped}
}

// xdp returns the XDP program of an interface.
func xdp(link *rtnetlink.LinkMessage) device.XDP {
	if link.Attributes == nil || link.Attributes.XDP == nil {
		return device.XDP{}
	}
	x := link.Attributes.XDP
	modes := [...]string{"", "native", "generic", "offloaded"} // XDP_ATTACHED_
	mode := "several"
	if int(x.Attached) < len(modes) {
		mode = modes[x.Attached]
	}
	found := device.XDP{Mode: mode, Program: x.ProgID}
	if found.Attached() && found.Program != 0 {
		found.Name = programName(found.Program)
	}
	return found
}
