package afpacket

import (
	"errors"

	"capd/capture/device"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// maxAltName is the most bytes of an alternative name: ALTIFNAMSIZ of linux/if.h without the zero.
const maxAltName = 127

// A linkMessage is the kernel's description of an interface. Package rtnetlink knows no alternative
// names.
type linkMessage struct {
	rtnetlink.LinkMessage
	altNames []string
}

// getLinks sends an RTM_GETLINK request with that body and returns the answers that have attributes.
func getLinks(flags netlink.HeaderFlags, body []byte) ([]linkMessage, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers, err := conn.Execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | flags}, Data: body})
	if err != nil {
		return nil, err
	}
	links := make([]linkMessage, 0, len(answers))
	for _, a := range answers {
		var l linkMessage
		if err := l.UnmarshalBinary(a.Data); err != nil {
			return nil, err
		}
		if l.Attributes == nil {
			continue
		}
		if l.altNames, err = altNames(a.Data[unix.SizeofIfInfomsg:]); err != nil {
			return nil, err
		}
		links = append(links, l)
	}
	return links, nil
}

// altNames returns the alternative names in the attributes of a link message.
func altNames(attributes []byte) (names []string, err error) {
	ad, err := netlink.NewAttributeDecoder(attributes)
	if err != nil {
		return nil, err
	}
	for ad.Next() {
		if ad.Type() != unix.IFLA_PROP_LIST {
			continue
		}
		ad.Nested(func(list *netlink.AttributeDecoder) error {
			for list.Next() {
				if list.Type() == unix.IFLA_ALT_IFNAME {
					names = append(names, list.String())
				}
			}
			return nil
		})
	}
	return names, ad.Err()
}

// byAltName finds the interface of a name that is longer than the system calls by name take.
func byAltName(name string) (link *linkMessage, err error) {
	if len(name) > maxAltName {
		return nil, device.ErrNoInterface
	}
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.IFLA_ALT_IFNAME, name)
	attributes, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	links, err := getLinks(0, append(make([]byte, unix.SizeofIfInfomsg), attributes...))
	switch {
	// A kernel without alternative names takes the request for one that names nothing.
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EINVAL), err == nil && len(links) != 1:
		return nil, device.ErrNoInterface
	case err != nil:
		return nil, named("get link", err)
	}
	return &links[0], nil
}

// mainName returns the name of the interface that all system calls by name take.
func mainName(index int) (string, error) {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", named("socket", err)
	}
	defer unix.Close(fd)
	ifr.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifr); err != nil {
		return "", named("get name", err)
	}
	return ifr.Name(), nil
}
