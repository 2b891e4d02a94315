package nflog

import (
	"encoding/binary"
	"math"

	"capd/pcap"
)

// host is the byte order of netlink, and of a file's lengths and types.
var host = binary.NativeEndian

// Layout of messages (linux/netlink.h, linux/netfilter/nfnetlink.h and nfnetlink_log.h).
const (
	headerLen    = 16 // struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port
	generalLen   = 4  // struct nfgenmsg: u8 family, u8 version, u16 group in network order
	attributeLen = 4  // struct nlattr: u16 length, u16 type

	typeError  = 2     // NLMSG_ERROR
	typeConfig = 0x401 // NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG
	typePacket = 0x400 // NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET

	attrHeader    = 1  // NFULA_PACKET_HDR: u16 protocol in network order, u8 hook
	attrTimestamp = 3  // NFULA_TIMESTAMP: u64 seconds and u64 microseconds, in network order
	attrSequence  = 12 // NFULA_SEQ: u32 in network order

	hookOutput = 3 // NF_INET_LOCAL_OUT, and NF_INET_POST_ROUTING above it
)

// A message is a packet and what the group says of it.
type message struct {
	pcap.Packet
	numbered bool
	number   uint32 // of the group's packets
}

// next splits the first message off. rest is nil at the end, and where the bytes make no sense.
func next(b []byte) (kind uint16, body, rest []byte) {
	if len(b) < headerLen {
		return 0, nil, nil
	}
	size := host.Uint32(b)
	if size < headerLen || uint64(size) > uint64(len(b)) {
		return 0, nil, nil
	}
	kind, body = host.Uint16(b[4:]), b[headerLen:size:size]
	if end := int(size+3) &^ 3; end < len(b) {
		rest = b[end:]
	}
	return kind, body, rest
}

// parse makes a packet of the body of a message; ok is false if it is none. The packet has no time unless the message says one.
func parse(body []byte, snaplen int) (m message, ok bool) {
	if len(body) < generalLen {
		return m, false
	}
	m.Data = body[:min(len(body), snaplen)]
	m.Length = uint32(len(body))
	for b := body[generalLen:]; len(b) >= attributeLen; {
		size, kind := int(host.Uint16(b)), host.Uint16(b[2:])
		if size < attributeLen || size > len(b) {
			break
		}
		m.attribute(kind, b[attributeLen:size])
		b = b[min((size+3)&^3, len(b)):]
	}
	return m, true
}

func (m *message) attribute(kind uint16, v []byte) {
	switch {
	case kind == attrHeader && len(v) >= 3:
		m.Flags = pcap.FlagInbound
		if v[2] >= hookOutput {
			m.Flags = pcap.FlagOutbound
		}
	case kind == attrTimestamp && len(v) >= 16:
		sec, usec := binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
		if sec <= math.MaxUint32 && usec < 1e6 {
			m.Sec, m.Nsec = uint32(sec), uint32(usec)*1000
		}
	case kind == attrSequence && len(v) >= 4:
		m.numbered, m.number = true, binary.BigEndian.Uint32(v)
	}
}

// Commands and attributes of a configuration.
const (
	commandBind   = 1 // NFULNL_CFG_CMD_BIND
	commandUnbind = 2 // NFULNL_CFG_CMD_UNBIND

	configCommand   = 1 // NFULA_CFG_CMD: u8
	configMode      = 2 // NFULA_CFG_MODE: u32 bytes of a packet, u8 what of it, u8
	configBuffer    = 3 // NFULA_CFG_NLBUFSIZ: u32
	configTimeout   = 4 // NFULA_CFG_TIMEOUT: u32 hundredths of a second
	configThreshold = 5 // NFULA_CFG_QTHRESH: u32 packets
	configFlags     = 6 // NFULA_CFG_FLAGS: u16

	copyPacket = 2 // NFULNL_COPY_PACKET
	flagNumber = 1 // NFULNL_CFG_F_SEQ
)

// configure returns the message that sets a group up for a socket, or gives it up. All is in one message, so that no packet comes
// in another way.
func configure(group uint16, command byte, snaplen, timeout int) []byte {
	b := make([]byte, headerLen, 128)
	host.PutUint16(b[4:], typeConfig)
	host.PutUint16(b[6:], 1) // NLM_F_REQUEST
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, group)
	b = appendAttribute(b, configCommand, []byte{command})
	if command == commandBind {
		const buffer, threshold = 64 << 10, 256
		be := binary.BigEndian
		b = appendAttribute(b, configMode, append(be.AppendUint32(nil, uint32(snaplen)), copyPacket, 0))
		b = appendAttribute(b, configBuffer, be.AppendUint32(nil, buffer))
		b = appendAttribute(b, configTimeout, be.AppendUint32(nil, uint32(max(timeout/10, 1))))
		b = appendAttribute(b, configThreshold, be.AppendUint32(nil, threshold))
		b = appendAttribute(b, configFlags, be.AppendUint16(nil, flagNumber))
	}
	host.PutUint32(b, uint32(len(b)))
	return b
}

func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = host.AppendUint16(b, uint16(attributeLen+len(value)))
	b = host.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}
