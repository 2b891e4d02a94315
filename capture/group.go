package capture

import "fmt"

// A Spread says which device of a group gets a frame.
type Spread uint8

// Spreads.
const (
	ByFlow Spread = iota // by a hash of addresses and ports: the frames of a flow stay together and in order
	ByCPU                // by the processor that received it
)

// OpenGroup opens n devices that share the frames of one interface: each frame
// comes out of one of them, and out of another than it should if that one's
// ring is full. Fragments are not put together, so that they are recorded as
// they were on the wire; ByFlow looks at the addresses only of those.
//
// Linux has groups (PACKET_FANOUT, packet(7)), and only of interfaces that are
// up: OpenGroup returns an error that wraps ErrDown for others.
func OpenGroup(c Config, n int, s Spread) ([]*Device, error) {
	if n == 1 {
		d, err := Open(c)
		return []*Device{d}, err
	}
	devices, err := openGroup(c, n, s)
	if err != nil {
		return nil, fmt.Errorf("open group of %d: %w", n, err)
	}
	return devices, nil
}
