package capture

import (
	"errors"
	"fmt"
	"os"

	"capd/capture/afpacket"
	"capd/capture/device"
	"capd/capture/nflog"
	"capd/pcap"
)

func open(c Config) (*Device, error) {
	if _, ok := device.LogGroup(c.Interface); ok {
		return nflog.Open(c)
	}
	return afpacket.Open(c)
}

func openGroup(c Config, n int, s Spread) ([]*Device, error) {
	if _, ok := device.LogGroup(c.Interface); ok {
		return nil, fmt.Errorf("%s: one socket alone gets its packets: %w", c.Interface, errors.ErrUnsupported)
	}
	return afpacket.OpenGroup(c, n, s)
}

func adopt(c Config, f *os.File, at Position) (*Device, error) { return afpacket.Adopt(c, f, at) }

func copies() bool { return false }

func interfaces() ([]Interface, error) { return afpacket.Interfaces() }

func probeLinkTypes() (probe func(name string) ([]pcap.LinkType, error), end func()) {
	var p afpacket.Prober
	return p.LinkTypes, func() { _ = p.Close() }
}

func inspect(name string) (Details, error) { return afpacket.Inspect(name) }

func speed(name string) int { return afpacket.Speed(name) }

func pin(cpu int) error { return afpacket.Pin(cpu) }
