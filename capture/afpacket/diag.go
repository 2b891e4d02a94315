package afpacket

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
)

// Questions and answers about packet sockets (linux/packet_diag.h), in host byte order.
const (
	diagFamily  = 17        // AF_PACKET
	diagRequest = 20        // sizeof(struct packet_diag_req)
	diagShowAt  = 8         // pdiag_show
	diagShow    = 1 | 2 | 4 // PACKET_SHOW_INFO, _MCLIST, _RING_CFG
	diagMessage = 16        // sizeof(struct packet_diag_msg)
	diagInode   = 4         // pdiag_ino

	diagInfo    = 0 // PACKET_DIAG_INFO: struct packet_diag_info
	diagMembers = 1 // PACKET_DIAG_MCLIST: structs packet_diag_mclist
	diagRing    = 2 // PACKET_DIAG_RX_RING: struct packet_diag_ring

	infoVersion = 4  // pdi_version
	infoReserve = 8  // pdi_reserve
	infoLen     = 24 // sizeof(struct packet_diag_info)

	memberIndex = 0  // pdmc_index
	memberType  = 8  // u16 pdmc_type
	memberLen   = 44 // sizeof(struct packet_diag_mclist)

	ringBlockSize = 0  // pdr_block_size
	ringBlocks    = 4  // pdr_block_nr
	ringTimeout   = 16 // pdr_retire_tmo, in milliseconds
	ringPrivate   = 20 // pdr_sizeof_priv
	ringLen       = 28 // sizeof(struct packet_diag_ring)
)

// memberPromiscuous is PACKET_MR_PROMISC of linux/if_packet.h.
const memberPromiscuous = 1

// A diagnosis is what the kernel says of a packet socket.
type diagnosis struct {
	inode       uint32
	version     uint32
	reserve     uint32
	promiscuous []uint32 // indexes of interfaces
	ring        geometry
}

// A geometry describes a ring; it is zero without one.
type geometry struct {
	blockSize, blocks uint32
	timeout           uint32 // milliseconds
	private           uint32 // bytes of each block that are user space's own
}

// diagQuestion returns a request for all packet sockets.
func diagQuestion() []byte {
	q := make([]byte, diagRequest)
	q[0] = diagFamily
	host.PutUint32(q[diagShowAt:], diagShow)
	return q
}

// parseDiag parses an answer about one socket.
func parseDiag(b []byte) (diagnosis, error) {
	var d diagnosis
	if len(b) < diagMessage || b[0] != diagFamily {
		return d, errors.New("no answer about a packet socket")
	}
	d.inode = host.Uint32(b[diagInode:])
	attributes, err := netlink.NewAttributeDecoder(b[diagMessage:])
	if err != nil {
		return d, fmt.Errorf("answer about a packet socket: %w", err)
	}
	for attributes.Next() {
		data := attributes.Bytes()
		switch kind := attributes.Type(); {
		case kind == diagInfo && len(data) >= infoLen:
			d.version, d.reserve = host.Uint32(data[infoVersion:]), host.Uint32(data[infoReserve:])
		case kind == diagRing && len(data) >= ringLen:
			d.ring = geometry{
				host.Uint32(data[ringBlockSize:]), host.Uint32(data[ringBlocks:]),
				host.Uint32(data[ringTimeout:]), host.Uint32(data[ringPrivate:]),
			}
		case kind == diagMembers:
			for ; len(data) >= memberLen; data = data[memberLen:] {
				if host.Uint16(data[memberType:]) == memberPromiscuous {
					d.promiscuous = append(d.promiscuous, host.Uint32(data[memberIndex:]))
				}
			}
		}
	}
	if err := attributes.Err(); err != nil {
		return d, fmt.Errorf("answer about a packet socket: %w", err)
	}
	return d, nil
}
