package setup

import (
	"fmt"
	"runtime"
	"strings"

	"capd/capture"
	"capd/internal/hint"
)

// ErrNoInterfaces is returned for a configuration that names none.
var ErrNoInterfaces = hint.New("no interface to record",
	"name one with -i; capd interfaces lists them", "or in an [[interface]] of /etc/capd/capd.toml, or of the file that -c names")

// errMixed is returned for a link type that takes pcapng.
var errMixed = hint.New("link type MIXED takes format pcapng: a pcap file has one link type for all packets",
	"pcapng, or one of the link types LINUX_SLL2 and LINUX_SLL")

// A MissingError names an interface that is not there and may not be waited
// for.
type MissingError struct {
	Name  string
	There []string // the interfaces that are there
}

func (e *MissingError) Error() string { return fmt.Sprintf("interface %s: no such interface", e.Name) }

// Hints lists the interfaces that are there.
func (e *MissingError) Hints() []string {
	there := e.There
	if runtime.GOOS == "linux" {
		there = append(there[:len(there):len(there)], capture.Any)
	}
	return []string{
		"there are: " + strings.Join(there, ", "),
		"--wait, or wait = true in the configuration, waits for one that comes later",
	}
}

// A linkTypeError says that no link type has the name.
type linkTypeError struct{ error }

func (e *linkTypeError) Unwrap() error { return e.error }

// Hints says where the names are.
func (e *linkTypeError) Hints() []string {
	return []string{"capd interfaces lists the link types of each interface"}
}
