//go:build !linux && !((darwin || freebsd || netbsd || openbsd) && (amd64 || arm64))

package capture

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"capd/pcap"
)

func unsupported() error { return fmt.Errorf("capture: not supported on %s", runtime.GOOS) }

func open(Config) (*Device, error)                      { return nil, unsupported() }
func openGroup(Config, int, Spread) ([]*Device, error)  { return nil, errors.ErrUnsupported }
func adopt(Config, *os.File, Position) (*Device, error) { return nil, errors.ErrUnsupported }
func copies() bool                                      { return true }
func interfaces() ([]Interface, error)                  { return nil, unsupported() }
func inspect(string) (Details, error)                   { return Details{}, unsupported() }
func speed(string) int                                  { return 0 }
func pin(int) error                                     { return errors.ErrUnsupported }

func probeLinkTypes() (probe func(name string) ([]pcap.LinkType, error), end func()) {
	return func(string) ([]pcap.LinkType, error) { return nil, unsupported() }, func() {}
}
