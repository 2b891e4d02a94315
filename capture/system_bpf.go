//go:build (darwin || freebsd || netbsd || openbsd) && (amd64 || arm64)

package capture

import (
	"errors"
	"os"

	"capd/capture/bpf"
	"capd/pcap"
)

func open(c Config) (*Device, error) { return bpf.Open(c) }

func openGroup(Config, int, Spread) ([]*Device, error) { return nil, errors.ErrUnsupported }

func adopt(c Config, f *os.File, at Position) (*Device, error) { return bpf.Adopt(c, f, at) }

func copies() bool { return true }

func interfaces() ([]Interface, error) { return bpf.Interfaces() }

func probeLinkTypes() (probe func(name string) ([]pcap.LinkType, error), end func()) {
	return bpf.LinkTypes, func() {}
}

func inspect(name string) (Details, error) { return bpf.Inspect(name) }

func speed(name string) int {
	d, err := bpf.Inspect(name)
	if err != nil {
		return 0
	}
	return d.SpeedMbps
}

func pin(int) error { return errors.ErrUnsupported }
