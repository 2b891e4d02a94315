package bpf

import (
	"time"

	"capd/capture/device"
	"capd/pcap"
)

// The code of an ioctl holds the direction of its argument, seen from the
// caller, the argument's size in bytes, a group and a number (sys/ioccom.h,
// the same on all four systems). BPF's group is 'B'.
const (
	ioVoid  = 0x20000000
	ioOut   = 0x40000000 // the kernel writes the argument
	ioIn    = 0x80000000 // the kernel reads the argument
	ioSize  = 16         // position of the size in the code
	ioBPF   = 'B' << 8
	ioSizes = 0x1fff // IOCPARM_MASK
)

// ioctlSize returns the size in bytes of the argument of an ioctl.
func ioctlSize(code uint32) int { return int(code >> ioSize & ioSizes) }

// Sizes of arguments.
const (
	sizeUint    = 4
	sizeVersion = 4  // struct bpf_version: two 16-bit numbers
	sizeProgram = 16 // struct bpf_program: a count, padding, a pointer
	sizeTimeval = 16 // struct timeval: two 64-bit numbers; on Darwin the second one is shorter, and padded
	sizeStat    = 8  // struct bpf_stat: received and dropped
	sizeStatNet = 128
	sizeIfreq   = 32 // struct ifreq begins with a name of at most 15 bytes and a zero
	sizeIfreqNB = 144
	sizeDLTs    = 16 // struct bpf_dltlist: a count, padding, a pointer
	sizeDLTsMac = 12 // without the padding
)

// Ioctls that have the same code on all four systems (net/bpf.h).
const (
	biocGetLen    = ioOut | sizeUint<<ioSize | ioBPF | 102        // BIOCGBLEN
	biocSetLen    = ioIn | ioOut | sizeUint<<ioSize | ioBPF | 102 // BIOCSBLEN
	biocSetFilter = ioIn | sizeProgram<<ioSize | ioBPF | 103      // BIOCSETF
	biocPromisc   = ioVoid | ioBPF | 105                          // BIOCPROMISC
	biocGetDLT    = ioOut | sizeUint<<ioSize | ioBPF | 106        // BIOCGDLT
	biocImmediate = ioIn | sizeUint<<ioSize | ioBPF | 112         // BIOCIMMEDIATE
	biocVersion   = ioOut | sizeVersion<<ioSize | ioBPF | 113     // BIOCVERSION
)

// Ioctls of macOS. The one for the direction is private: it is in XNU's net/bpf.h, but not in the
// SDK's. A kernel without it returns EINVAL.
const (
	darwinSetIf     = ioIn | sizeIfreq<<ioSize | ioBPF | 108           // BIOCSETIF
	darwinTimeout   = ioIn | sizeTimeval<<ioSize | ioBPF | 109         // BIOCSRTIMEOUT
	darwinStats     = ioOut | sizeStat<<ioSize | ioBPF | 111           // BIOCGSTATS
	darwinSeeSent   = ioIn | sizeUint<<ioSize | ioBPF | 119            // BIOCSSEESENT
	darwinSetDLT    = ioIn | sizeUint<<ioSize | ioBPF | 120            // BIOCSDLT
	darwinDLTs      = ioIn | ioOut | sizeDLTsMac<<ioSize | ioBPF | 121 // BIOCGDLTLIST
	darwinNewFilter = ioIn | sizeProgram<<ioSize | ioBPF | 126         // BIOCSETFNR
	darwinDirection = ioIn | sizeUint<<ioSize | ioBPF | 139            // BIOCSDIRECTION
)

// Ioctls of FreeBSD.
const (
	freebsdSetIf     = ioIn | sizeIfreq<<ioSize | ioBPF | 108        // BIOCSETIF
	freebsdTimeout   = ioIn | sizeTimeval<<ioSize | ioBPF | 109      // BIOCSRTIMEOUT
	freebsdStats     = ioOut | sizeStat<<ioSize | ioBPF | 111        // BIOCGSTATS
	freebsdDirection = ioIn | sizeUint<<ioSize | ioBPF | 119         // BIOCSDIRECTION
	freebsdSetDLT    = ioIn | sizeUint<<ioSize | ioBPF | 120         // BIOCSDLT
	freebsdDLTs      = ioIn | ioOut | sizeDLTs<<ioSize | ioBPF | 121 // BIOCGDLTLIST
	freebsdLock      = ioVoid | ioBPF | 122                          // BIOCLOCK
	freebsdNewFilter = ioIn | sizeProgram<<ioSize | ioBPF | 130      // BIOCSETFNR
	freebsdStamp     = ioIn | sizeUint<<ioSize | ioBPF | 132         // BIOCSTSTAMP
	freebsdNanotime  = 1                                             // BPF_T_NANOTIME
)

// Ioctls of NetBSD. The direction has the code of the older BIOCSSEESENT, which treats every value
// over 0 as both directions (before NetBSD 9).
const (
	netbsdSetIf     = ioIn | sizeIfreqNB<<ioSize | ioBPF | 108      // BIOCSETIF
	netbsdStats     = ioOut | sizeStatNet<<ioSize | ioBPF | 111     // BIOCGSTATS
	netbsdSetDLT    = ioIn | sizeUint<<ioSize | ioBPF | 118         // BIOCSDLT
	netbsdDLTs      = ioIn | ioOut | sizeDLTs<<ioSize | ioBPF | 119 // BIOCGDLTLIST
	netbsdDirection = ioIn | sizeUint<<ioSize | ioBPF | 121         // BIOCSDIRECTION
	netbsdTimeout   = ioIn | sizeTimeval<<ioSize | ioBPF | 122      // BIOCSRTIMEOUT
	netbsdLock      = ioVoid | ioBPF | 126                          // BIOCLOCK
)

// Ioctls of OpenBSD.
const (
	openbsdSetIf   = ioIn | sizeIfreq<<ioSize | ioBPF | 108        // BIOCSETIF
	openbsdTimeout = ioIn | sizeTimeval<<ioSize | ioBPF | 109      // BIOCSRTIMEOUT
	openbsdStats   = ioOut | sizeStat<<ioSize | ioBPF | 111        // BIOCGSTATS
	openbsdLock    = ioVoid | ioBPF | 118                          // BIOCLOCK
	openbsdSetDLT  = ioIn | sizeUint<<ioSize | ioBPF | 122         // BIOCSDLT
	openbsdDLTs    = ioIn | ioOut | sizeDLTs<<ioSize | ioBPF | 123 // BIOCGDLTLIST
	openbsdDirFilt = ioIn | sizeUint<<ioSize | ioBPF | 125         // BIOCSDIRFILT: the direction to drop
	openbsdNewFilt = ioIn | sizeProgram<<ioSize | ioBPF | 127      // BIOCSETFNR, in later kernels
)

// getIf returns the code of BIOCGETIF, whose argument is that of BIOCSETIF.
func getIf(setIf uint32) uint32 { return ioOut | setIf&(ioSizes<<ioSize) | ioBPF | 107 }

// An abi holds the differences between the systems that have BPF devices.
type abi struct {
	os       string
	numbered bool   // /dev/bpf0, /dev/bpf1, ... with one user each, instead of one /dev/bpf for all
	access   string // hint: how an ordinary user gets access to the devices
	missing  string // hint: why there may be no device; empty if there is always one
	monitor  string // hint: how a Wi-Fi interface delivers frames of other stations

	// skew is the largest difference between the times of one frame in two devices of an interface.
	skew time.Duration

	setIf, timeout, stats, setDLT, dlts uint32
	lock                                uint32 // 0 if there is none
	stamp                               uint32 // selects nanoseconds; 0 if there is none
	newFilter                           uint32 // sets a filter without discarding the buffers; 0 if there is none

	direction uint32
	in, out   uint32 // values for the direction ioctl
	seeSent   uint32 // the ioctl of older kernels instead; its value 0 hides sent frames

	// discards means that frames are lost with the interface, and their number, unless a read waits for
	// them. The descriptor is dead then.
	discards bool

	record   layout
	loopback pcap.LinkType
	lo0      device.Direction         // of all frames of loopback interfaces; Both if they have either
	dlt      map[uint32]pcap.LinkType // DLTs that have another meaning than on other systems
}

// A layout describes a record in the read buffer: struct bpf_hdr, the frame, and padding up to the
// next record, in host byte order.
type layout struct {
	word  int    // bytes of each half of the timestamp: 4 or 8
	align int    // of records: BPF_ALIGNMENT
	tick  uint64 // unit of the timestamp's second half in nanoseconds: 1000 or 1
}

// Offsets of fields in a record's header.
func (l layout) caplen() int  { return 2 * l.word }
func (l layout) datalen() int { return l.caplen() + 4 }
func (l layout) hdrlen() int  { return l.datalen() + 4 }

// least returns the length of the header's fields that are read, without padding.
func (l layout) least() int { return l.hdrlen() + 2 }

// second is a second in nanoseconds.
const second = 1e9

// Sizes of each half of the timestamp (struct bpf_hdr).
const (
	darwinWord  = 4 // struct timeval32: signed
	freebsdWord = 8 // struct timeval
	netbsdWord  = 8 // struct bpf_timeval
	openbsdWord = 4 // struct bpf_timeval: unsigned
)

// monitorByMedia is the hint for NetBSD and OpenBSD.
const monitorByMedia = `"ifconfig NAME mediaopt monitor" switches it on; link_type = "IEEE802_11_RADIO" takes all`

// darwinSkew is the skew on macOS: XNU's catchpacket reads the clock for each device separately,
// the newest device first. It holds its lock meanwhile, so the difference exceeds microseconds only
// if the thread is preempted. The other kernels read the clock once for all devices.
const darwinSkew = 100 * time.Millisecond

func darwin() abi {
	return abi{
		os:       "darwin",
		numbered: true,
		access:   "run capd with sudo, or let Wireshark's ChmodBPF give the group access_bpf the BPF devices and join it",
		monitor:  `link_type = "IEEE802_11_RADIO" switches it on, and leaves the network`,
		skew:     darwinSkew,
		setIf:    darwinSetIf, timeout: darwinTimeout, stats: darwinStats, setDLT: darwinSetDLT, dlts: darwinDLTs,
		newFilter: darwinNewFilter,
		direction: darwinDirection, in: 1, out: 2, seeSent: darwinSeeSent,
		record:   layout{word: darwinWord, align: 4, tick: 1000},
		loopback: pcap.LinkTypeNull, lo0: device.Out,
		dlt: map[uint32]pcap.LinkType{
			12: pcap.LinkTypeRaw, 15: linkTypeSLIPBSDOS, 16: linkTypePPPBSDOS, 18: linkTypePFSync,
			149: pcap.LinkTypePKTAP,
		},
	}
}

func freebsd() abi {
	return abi{
		os:      "freebsd",
		access:  "run capd as root, or give its group read access to bpf with a rule of devfs.rules(5)",
		missing: "in a jail, devfs.rules(5) must unhide bpf",
		monitor: `"ifconfig wlan1 create wlandev DEVICE wlanmode monitor up" makes an interface that has it; link_type = "IEEE802_11_RADIO" takes all`,
		setIf:   freebsdSetIf, timeout: freebsdTimeout, stats: freebsdStats, setDLT: freebsdSetDLT, dlts: freebsdDLTs,
		lock: freebsdLock, stamp: freebsdStamp, newFilter: freebsdNewFilter,
		direction: freebsdDirection, in: 0, out: 2,
		record:   layout{word: freebsdWord, align: 8, tick: 1000},
		loopback: pcap.LinkTypeNull, lo0: device.In,
		dlt: map[uint32]pcap.LinkType{
			12: pcap.LinkTypeRaw, 13: linkTypeSLIPBSDOS, 14: linkTypePPPBSDOS, 121: linkTypePFSync,
		},
	}
}

func netbsd() abi {
	return abi{
		os:      "netbsd",
		access:  "run capd as root, or give its group read access to /dev/bpf",
		monitor: monitorByMedia,
		setIf:   netbsdSetIf, timeout: netbsdTimeout, stats: netbsdStats, setDLT: netbsdSetDLT, dlts: netbsdDLTs,
		lock:      netbsdLock,
		direction: netbsdDirection, in: 0, out: 2,
		record:   layout{word: netbsdWord, align: 8, tick: 1000},
		loopback: pcap.LinkTypeNull, lo0: device.Out,
		dlt: map[uint32]pcap.LinkType{
			12: pcap.LinkTypeRaw, 13: linkTypeSLIPBSDOS, 14: linkTypePPPBSDOS, 16: linkTypeNetBSDHDLC, 18: linkTypePFSync,
			netbsdRaw | 2: linkTypeIPv4, netbsdRaw | 24: linkTypeIPv6,
		},
	}
}

func openbsd() abi {
	return abi{
		os:      "openbsd",
		access:  "run capd as root, or give its group read access to /dev/bpf",
		monitor: monitorByMedia,
		setIf:   openbsdSetIf, timeout: openbsdTimeout, stats: openbsdStats, setDLT: openbsdSetDLT, dlts: openbsdDLTs,
		lock: openbsdLock, newFilter: openbsdNewFilt,
		direction: openbsdDirFilt, in: 2, out: 1, // the other direction is dropped
		discards: true,
		record:   layout{word: openbsdWord, align: 4, tick: 1000},
		loopback: pcap.LinkTypeLoop,
		dlt: map[uint32]pcap.LinkType{
			12: pcap.LinkTypeLoop, 13: pcap.LinkTypeEnc, 14: pcap.LinkTypeRaw,
			15: linkTypeSLIPBSDOS, 16: linkTypePPPBSDOS, 18: linkTypePFSync,
		},
	}
}
