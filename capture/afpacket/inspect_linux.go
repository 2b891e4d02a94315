package afpacket

import (
	"bytes"
	"runtime"
	"unsafe"

	"capd/capture/device"

	"github.com/mdlayher/netlink"
	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"
)

// enlarging are the kernel's names of the offloads that join received frames,
// or show sent ones before they are split.
func enlarging() []string {
	return []string{
		"rx-gro", "rx-gro-hw", "rx-gro-list", "rx-udp-gro-forwarding", "rx-lro",
		"tx-generic-segmentation", "tx-tcp-segmentation", "tx-tcp6-segmentation",
		"tx-tcp-ecn-segmentation", "tx-udp-segmentation",
	}
}

// Inspect returns what the driver of an interface says.
func Inspect(name string) (device.Details, error) {
	d := device.Details{ClockIndex: -1}
	_, index, err := lookup(name)
	if err == nil && index == 0 {
		err = device.ErrNoInterface // Any is no single one.
	}
	if err == nil {
		name, err = mainName(index) // an alternative one may be too long for ethtool
	}
	if err != nil {
		return d, err
	}
	e, err := ethtool.NewEthtool()
	if err != nil {
		return d, err
	}
	defer e.Close()
	// Each by itself: many drivers answer some of these only.
	d.Driver, _ = e.DriverName(name)
	if features, err := e.Features(name); err == nil {
		for _, f := range enlarging() {
			if features[f] {
				d.Enlarging = append(d.Enlarging, f)
			}
		}
	}
	d.SpeedMbps = speed(e, name)
	if ts, err := e.GetTimestampingInformation(name); err == nil {
		d.ClockIndex = int(ts.PhcIndex)
		d.Hardware = ts.SoTimestamping&unix.SOF_TIMESTAMPING_RX_HARDWARE != 0
	}
	d.LargestFrame = largestFrame(index)
	return d, nil
}

// Speed returns the speed of an interface in Mbit/s; 0 if it is unknown.
func Speed(name string) int {
	_, index, err := lookup(name)
	if err != nil || index == 0 {
		return 0
	}
	e, err := ethtool.NewEthtool()
	if err != nil {
		return 0
	}
	defer e.Close()
	if name, err = mainName(index); err != nil {
		return 0
	}
	return speed(e, name)
}

func speed(e *ethtool.Ethtool, name string) int {
	mbps, err := e.CmdGet(new(ethtool.EthtoolCmd), name)
	if err != nil || int32(mbps) <= 0 { // all ones is unknown
		return 0
	}
	return int(mbps)
}

// largestFrame returns the bytes of the largest frame that offloads of the
// interface make; 0 if the kernel does not tell.
func largestFrame(index int) int {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return 0
	}
	defer conn.Close()
	info := make([]byte, unix.SizeofIfInfomsg)
	host.PutUint32(info[4:], uint32(index))
	answers, err := conn.Execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: info})
	if err != nil || len(answers) == 0 || len(answers[0].Data) < len(info) {
		return 0
	}
	ad, err := netlink.NewAttributeDecoder(answers[0].Data[len(info):])
	if err != nil {
		return 0
	}
	most := 0
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_GSO_MAX_SIZE, unix.IFLA_GRO_MAX_SIZE, unix.IFLA_GSO_IPV4_MAX_SIZE, unix.IFLA_GRO_IPV4_MAX_SIZE:
			most = max(most, int(ad.Uint32()))
		}
	}
	if ad.Err() != nil {
		return 0
	}
	return most
}

// programName returns the name of the BPF program with the id; empty if it has
// none, or only others may read it: that takes CAP_SYS_ADMIN.
func programName(id uint32) string {
	fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&[3]uint32{id}), 12)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	// The first fields of struct bpf_prog_info, which end with the name.
	const nameAt, nameLen = 64, 16
	info := new([nameAt + nameLen]byte)
	var pin runtime.Pinner
	pin.Pin(info)
	defer pin.Unpin()
	ask := struct {
		fd, length uint32
		info       uint64
	}{uint32(fd), uint32(len(info)), uint64(uintptr(unsafe.Pointer(info)))}
	if _, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&ask), unsafe.Sizeof(ask)); err != nil {
		return ""
	}
	name, _, _ := bytes.Cut(info[nameAt:], []byte{0})
	return string(name)
}

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}
