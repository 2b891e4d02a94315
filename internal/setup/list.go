package setup

import (
	"fmt"
	"net/netip"

	"capd/capture"
	"capd/pcap"
)

// An Interface is what can be recorded, as commands print it.
type Interface struct {
	Name      string         `json:"name"`
	AltNames  []string       `json:"alt_names,omitempty"` // each stands for the interface as Name does
	Index     int            `json:"index"`               // 0: all interfaces together
	State     string         `json:"state"`               // up, down or no carrier
	LinkType  string         `json:"link_type"`
	LinkTypes []string       `json:"link_types,omitempty"` // to choose from, the one above first
	MTU       int            `json:"mtu,omitempty"`        // bytes
	Address   string         `json:"address,omitempty"`    // of the hardware
	IPs       []netip.Prefix `json:"ips,omitempty"`
	Error     string         `json:"error,omitempty"` // why it can't be opened
	Err       error          `json:"-"`               // the same
}

// List returns the interfaces of the system, and Any.
func List() ([]Interface, error) {
	all, err := capture.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	list := make([]Interface, 0, len(all)+1)
	for _, i := range all {
		list = append(list, Interface{
			Name: i.Name, AltNames: i.AltNames, Index: i.Index, State: linkState(i), LinkType: i.LinkType.String(), MTU: i.MTU,
			Address: i.Address.String(), IPs: i.IPs,
		})
	}
	list = append(list, Interface{Name: capture.Any, State: "up", LinkType: AnyLinkType.String()})
	probe, end := capture.ProbeLinkTypes()
	defer end()
	for n := range list {
		list[n].Probe(probe)
	}
	return list, nil
}

// Probe opens the interface for its link types.
func (i *Interface) Probe(open func(name string) ([]pcap.LinkType, error)) {
	types, err := open(i.Name)
	if err != nil {
		i.Err, i.Error = err, err.Error()
		return
	}
	for _, t := range types {
		i.LinkTypes = append(i.LinkTypes, t.String())
	}
	i.LinkType = i.LinkTypes[0]
}

func linkState(i capture.Interface) string {
	switch {
	case !i.Up:
		return "down"
	case !i.Running:
		return "no carrier"
	}
	return "up"
}
