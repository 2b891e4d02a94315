package afpacket

import (
	"time"
	"unsafe"

	"capd/capture/device"
	"capd/pcap"

	"golang.org/x/sys/unix"
)

// A receiver receives frames one by one into memory of its own.
type receiver struct {
	form
	from    from
	fd      int
	room    int   // bytes reserved for a frame
	err     error // returned by the next receive, after the frames received before it
	name    [sllLen]byte
	control [128]byte
	iov     unix.Iovec
	msg     unix.Msghdr
}

const (
	receiveBytes  = 1 << 20 // memory of a batch: enough for several of the largest frames
	receiveFrames = 1024    // largest number of frames in a batch
)

func newReceiver(fd int, f form) *receiver {
	r := &receiver{form: f, fd: fd, room: max(f.snaplen, macsLen)}
	r.msg = unix.Msghdr{Name: &r.name[0], Iov: &r.iov, Control: &r.control[0]}
	r.msg.SetIovlen(1)
	return r
}

// receive receives the frames that the socket has into mem, as far as there is room, and appends
// their packets to frames. An error that occurs after some frames is returned by the next call.
func (r *receiver) receive(mem []byte, frames []pcap.Packet) ([]pcap.Packet, error) {
	used := 0
	if r.origins != nil {
		r.from = from{turn: r.origins.turn.Add(1)}
	}
	for r.err == nil && len(frames) < receiveFrames && used+headroom+r.room <= len(mem) {
		start := used + headroom
		n, err := r.recvmsg(mem[start : start+r.room])
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			// The kernel reports an error only once: keep it until the frames are read.
			r.err = err
			break
		}
		p := pcap.Packet{}
		used = r.packet(mem, &p, start, n)
		frames = append(frames, p)
	}
	if len(frames) > 0 {
		return frames, nil
	}
	err := r.err
	r.err = nil
	return frames, err
}

// recvmsg receives a frame into buf. It returns the frame's length, which may exceed the length of
// buf.
func (r *receiver) recvmsg(buf []byte) (int, error) {
	r.iov.Base = &buf[0]
	r.iov.SetLen(len(buf))
	r.msg.Namelen = sllLen
	r.msg.SetControllen(len(r.control))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.msg)), unix.MSG_TRUNC|unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// packet makes a packet of the n bytes received at mem[start:], and returns where the next frame
// may be received.
func (r *receiver) packet(mem []byte, p *pcap.Packet, start, n int) int {
	size := min(n, r.room)
	end := start + size
	aux := parseControl(r.control[:min(int(r.msg.Controllen), len(r.control))], controlKinds())
	if aux.timed {
		p.Sec, p.Nsec = aux.sec, aux.nsec
	} else {
		now := time.Now()
		p.Sec, p.Nsec = uint32(now.Unix()), uint32(now.Nanosecond())
	}
	p.Length = max(aux.length, uint32(n))
	p.Flags = flags(r.name[sllPktType], aux.status)
	link := r.link
	if r.origins != nil {
		p.From = r.from.of(r.origins, r.name[:])
		link = p.From.LinkType
		if device.Cooked(link) != 0 { // the socket delivers the link layer's header too
			skip := min(int(aux.net), size)
			start += skip
			p.Length -= uint32(skip)
		}
	}
	at := start
	switch header := device.Cooked(link); {
	case link == device.LinkTypeCAN:
		canOrder(mem[start:end], r.name[:])
	case header != 0:
		at = cook(header, mem, start, r.name[:], aux.tag)
	case aux.present() && link == pcap.LinkTypeEthernet && size >= macsLen:
		aux.insert(mem, start)
		at -= tagLen
	}
	p.Length += uint32(start - at)
	end = min(end, at+r.snaplen)
	p.Data = mem[at:end:end]
	return end
}

// controlKinds returns this architecture's numbers.
func controlKinds() kinds {
	return kinds{
		socket: unix.SOL_SOCKET, timestamp: unix.SO_TIMESTAMPNS,
		packet: unix.SOL_PACKET, aux: unix.PACKET_AUXDATA,
	}
}
