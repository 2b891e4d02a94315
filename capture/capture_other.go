//go:build !linux && !((darwin || freebsd || netbsd || openbsd) && (amd64 || arm64))

package capture

import (
	"fmt"
	"runtime"

	"capd/pcap"
)

func unsupported() error { return fmt.Errorf("capture: not supported on %s", runtime.GOOS) }

func open(Config) (backend, error)              { return nil, unsupported() }
func interfaces() ([]Interface, error)          { return nil, unsupported() }
func linkTypes(string) ([]pcap.LinkType, error) { return nil, unsupported() }
func inspect(string) (Details, error)           { return Details{}, unsupported() }
