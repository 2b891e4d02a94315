package afpacket

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"capd/capture/device"
	"capd/pcap"
)

// maxOrigins is how many interfaces are remembered. With more, all are forgotten, and files describe them a second time.
const maxOrigins = 4096

// origins are the interfaces that the frames of a socket for all interfaces come from. Its methods may be called from any
// goroutine.
type origins struct {
	// ask returns the name that the interface with the index has now, and its address; "" if there is none.
	ask func(index uint32) (name string, address []byte)

	turn  atomic.Uint64 // number of the newest batch
	mu    sync.Mutex    // held to replace known
	known atomic.Pointer[map[originKey]*origin]
}

// An originKey tells interfaces apart whose frames the kernel marks differently.
type originKey struct {
	index    uint32
	hardware uint16
}

type origin struct {
	*pcap.Interface
	checked atomic.Uint64 // the turn in which its name was compared
}

func newOrigins(ask func(index uint32) (string, []byte)) *origins {
	o := &origins{ask: ask}
	o.known.Store(&map[originKey]*origin{})
	return o
}

// of returns the interface of a frame in the batch of that turn. An interface that has another name than in an earlier batch is
// another one.
func (o *origins) of(key originKey, turn uint64) *pcap.Interface {
	if one := (*o.known.Load())[key]; one != nil && one.checked.Load() >= turn {
		return one.Interface
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	known := *o.known.Load()
	name, address := o.ask(key.index)
	one := known[key]
	if one != nil && (name == "" || name == one.Name) { // the name of one that is gone stays
		one.checked.Store(max(turn, one.checked.Load()))
		return one.Interface
	}
	one = &origin{Interface: describe(key, name, address)}
	one.checked.Store(turn)
	if len(known) >= maxOrigins {
		known = nil
	}
	next := make(map[originKey]*origin, len(known)+1)
	maps.Copy(next, known)
	next[key] = one
	o.known.Store(&next)
	return one.Interface
}

func describe(key originKey, name string, address []byte) *pcap.Interface {
	i := &pcap.Interface{LinkType: linkType(key.hardware), Name: name, Comment: fmt.Sprintf("interface index %d", key.index)}
	if name == "" {
		i.Name = fmt.Sprintf("if%d", key.index)
		i.Comment += ", which was gone before its name was asked for"
	}
	if len(address) == 6 && i.LinkType == pcap.LinkTypeEthernet {
		i.MAC = address
	}
	return i
}

// linkType returns the link type that an interface of the hardware type has unless another one is chosen.
func linkType(hardware uint16) pcap.LinkType { return device.LinkTypes(hardware)[0] }
