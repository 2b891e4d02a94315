//go:build !linux && !((darwin || freebsd || netbsd || openbsd) && (amd64 || arm64))

package capture

import (
	"fmt"
	"runtime"
	"time"

	"capd/pcap"
)

func unsupported() error { return fmt.Errorf("capture: not supported on %s", runtime.GOOS) }

// No device is ever opened here, so none of these methods but open is reached.
type device struct {
	name  string
	index int
}

func (*device) open(Config) error    { return unsupported() }
func (*device) attach(*handle) error { return unsupported() }
func (*device) ringSize() int        { return 0 }
func (*device) close() error         { return unsupported() }
func (*device) ungate() error        { return unsupported() }
func (*device) warnings() []string   { return nil }

type handle struct{}

func (*handle) next(time.Duration) (*Batch, error) { return nil, unsupported() }
func (*handle) stats() (Stats, error)              { return Stats{}, unsupported() }
func (*handle) refresh()                           {}
func (*handle) linkType() pcap.LinkType            { return 0 }
func (*handle) mode() Mode                         { return "" }
func (*handle) layout() Layout                     { return Layout{} }
func (*handle) stop() error                        { return unsupported() }
func (*handle) close() error                       { return unsupported() }

func interfaces() ([]Interface, error) { return nil, unsupported() }
func inspect(string) (Details, error)  { return Details{}, unsupported() }
