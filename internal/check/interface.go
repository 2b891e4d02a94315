package check

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"capd/capture"
	"capd/config"
	"capd/internal/setup"
	"capd/internal/text"
	"capd/pcap"
)

// link looks at one interface, which is recorded by that name, and its driver.
func (c *Checker) link(name string, link capture.Interface, i *config.Interface) {
	if name != link.Name {
		c.add(OK, name, "", "is an alternative name of %s; files and ledger have it too", link.Name)
		link.Name = name
	}
	if !c.open(link, i) {
		return
	}
	if !link.Up {
		c.add(Warn, link.Name, "run waits until it is up: "+bringUp(link.Name), "is down")
	} else if !link.Running {
		c.add(Warn, link.Name, "", "has no carrier")
	}
	c.Findings = append(c.Findings, hidden(link)...)
	c.Findings = append(c.Findings, linkReaders(link.Name, chosen(link, i), nil)...)
	details, err := capture.Inspect(link.Name)
	if err != nil {
		c.add(Warn, link.Name, "", "driver: %v", err)
		return
	}
	c.Findings = append(c.Findings, large(link.Name, details.LargestFrame, i.Snaplen)...)
	if len(details.Enlarging) > 0 {
		c.add(Warn, link.Name, "to record frames as they are on the wire: ethtool -K "+link.Name+" gro off lro off tso off gso off",
			"offloads make frames larger than the wire's: %s", strings.Join(details.Enlarging, ", "))
	}
	if details.ClockIndex >= 0 && details.Hardware {
		c.add(OK, link.Name, "", "time is the system clock's; the NIC has a clock too, /dev/ptp%d", details.ClockIndex)
	} else {
		c.add(OK, link.Name, "", "time is the system clock's; the NIC has none for received frames")
	}
}

// hidden finds an XDP program that sees frames first.
func hidden(link capture.Interface) []Finding {
	if !link.XDP.Attached() {
		return nil
	}
	return []Finding{{
		Warn, link.Name, fmt.Sprintf("%s, is attached: frames may not reach capd", link.XDP),
		"frames that it drops, sends back or redirects can't be recorded here: record where they go to, or without it: ip link set " + link.Name + " xdp off",
	}}
}

// large finds that the host may join frames to such as no file keeps whole.
func large(name string, largest, snaplen int) []Finding {
	if largest <= capture.DefaultSnaplen || snaplen < capture.DefaultSnaplen {
		return nil
	}
	return []Finding{{
		Warn, name, fmt.Sprintf("offloads make frames of up to %d bytes (gso_max_size, gro_max_size): what is over %d is cut", largest, capture.DefaultSnaplen),
		fmt.Sprintf("ip link set %s gso_max_size 65536 gro_max_size 65536, and gso_ipv4_max_size and gro_ipv4_max_size the same", name),
	}}
}

// bringUp is the command that does it.
func bringUp(name string) string {
	if runtime.GOOS == "linux" {
		return "ip link set " + name + " up"
	}
	return "ifconfig " + name + " up"
}

// open opens the devices that recording would open, attaches to them, and closes them. It reports success.
func (c *Checker) open(link capture.Interface, i *config.Interface) bool {
	wanted := setup.For(link.Name, i)
	wanted.Config.RingSize = int(setup.RingSize(i, capture.Speed(link.Name)))
	lanes := wanted.Lanes
	devices, err := capture.OpenGroup(wanted.Config, lanes, wanted.Spread)
	if errors.Is(err, capture.ErrDown) && !link.Up {
		// The kernel makes no group of an interface that is down. One device proves the rest.
		c.add(Warn, link.Name, "", "its %d devices can't be joined into a group while it is down", lanes)
		lanes = 1
		devices, err = capture.OpenGroup(wanted.Config, lanes, wanted.Spread)
	}
	if err != nil {
		c.Refuse(link.Name, err)
		return false
	}
	handles, err := attach(devices)
	defer release(devices, handles)
	if err != nil {
		c.Refuse(link.Name, err)
		return false
	}
	if !c.filter(link.Name, i.Filter, handles[0].LinkType()) {
		return false
	}
	c.opened(link, i, devices, handles[0])
	return true
}

// attach maps the ring of each device.
func attach(devices []*capture.Device) (handles []*capture.Handle, err error) {
	for _, d := range devices {
		h, err := d.Attach()
		if err != nil {
			return handles, err
		}
		handles = append(handles, h)
	}
	return handles, nil
}

func release(devices []*capture.Device, handles []*capture.Handle) {
	for _, h := range handles {
		_ = h.Close()
	}
	for _, d := range devices {
		_ = d.Close()
	}
}

// opened says what the kernel gave: the smallest ring of all devices counts.
func (c *Checker) opened(link capture.Interface, i *config.Interface, devices []*capture.Device, h *capture.Handle) {
	s := fmt.Sprintf("opens; link type %s, %s", h.LinkType(), h.Mode())
	if link.MTU > 0 {
		s += fmt.Sprintf(", MTU %d", link.MTU)
	}
	of := ""
	if len(devices) > 1 {
		s += fmt.Sprintf(", a group of %d", len(devices))
		of = " each"
	}
	got := devices[0].RingSize()
	for _, d := range devices {
		got = min(got, d.RingSize())
	}
	asked := int64(setup.RingSize(i, capture.Speed(link.Name)))
	switch {
	case h.Mode() == capture.ModeSocket:
		c.add(Warn, link.Name, "the kernel gives no ring: expect losses at high rates", "%s", s)
	case h.Mode() == capture.ModeRing && int64(got) < asked:
		c.add(Warn, link.Name, "memory is short: set ring_size lower, or free some", "%s; ring of %s%s instead of %s", s, text.Size(got), of, text.Size(asked))
	default:
		c.add(OK, link.Name, "", "%s, buffer of %s%s", s, text.Size(got), of)
	}
	for _, w := range devices[0].Warnings() {
		c.add(Warn, link.Name, "", "%s", w)
	}
}

// filter says what a filter does on a device of the link type. It reports whether frames can pass.
func (c *Checker) filter(name, expr string, link pcap.LinkType) bool {
	if expr == "" {
		return true
	}
	p, err := setup.Compile(expr, link)
	switch {
	case err != nil:
		c.Refuse(name, err)
		return false
	case p.NeverMatches():
		c.add(Fail, name, "nothing would be recorded", "filter %q can never match", expr)
		return false
	case p.AlwaysMatches():
		c.add(Warn, name, "", "filter %q lets every frame pass", expr)
	default:
		c.add(OK, name, "", "filter %q is %d instructions", expr, len(p.Instructions))
	}
	return true
}
