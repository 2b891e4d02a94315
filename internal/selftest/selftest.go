// Package selftest sends datagrams to itself over loopback, captures them and compares the frames
// with what was sent.
package selftest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"capd/capture"
	"capd/internal/hint"
	"capd/pcap"
)

// A Report is the result of a run.
type Report struct {
	Interface string
	Link      pcap.LinkType
	Mode      capture.Mode
	Layout    capture.Layout
	Buffer    int // bytes of the kernel's ring or buffers
	Warnings  []string

	Sent     int    // datagrams
	Captured int    // of the datagrams sent
	Bytes    uint64 // in the frames of captured datagrams
	Others   uint64 // frames of other programs
	Stats    capture.Stats
	Wrong    []string // differences, one sentence each; nil if there are none
}

// Read returns how many frames were read from the device.
func (r *Report) Read() uint64 { return uint64(r.Captured) + r.Others }

// ErrNoLoopback is returned if no interface can carry the datagrams.
var ErrNoLoopback = hint.New("no loopback interface with 127.0.0.1 is up", "ip link set lo up, or ifconfig lo0 127.0.0.1 up, brings it up")

// Run sends and captures for the duration d. Differences are in the report; an error means that the
// test could not be made.
func Run(ctx context.Context, d time.Duration) (*Report, error) {
	name, err := loopback()
	if err != nil {
		return nil, err
	}
	dev, err := capture.Open(capture.Config{Interface: name})
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	h, err := dev.Attach()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	t, err := newTalker()
	if err != nil {
		return nil, err
	}
	defer t.conn.Close()
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	r := &run{
		Report: Report{Interface: name, Link: h.LinkType(), Mode: h.Mode(), Buffer: dev.RingSize(), Warnings: dev.Warnings()},
		check:  checker{link: h.LinkType(), talker: t, began: time.Now().Round(0)},
	}
	return &r.Report, r.do(ctx, h)
}

// loopback returns the name of the loopback interface.
func loopback() (string, error) {
	all, err := capture.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range all {
		for _, ip := range i.IPs {
			if i.Loopback && i.Up && ip.Addr() == address {
				return i.Name, nil
			}
		}
	}
	return "", ErrNoLoopback
}

// address is the source and destination of the datagrams.
var address = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// A run is the state of Run.
type run struct {
	Report
	check checker
}

// mostWrong is the largest number of differences in a report.
const mostWrong = 5

func (r *run) wrong(format string, args ...any) {
	if len(r.Wrong) < mostWrong {
		r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
	}
}

// do captures until the talker has ended and the device is drained.
func (r *run) do(ctx context.Context, h *capture.Handle) error {
	type end struct {
		sent int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		n, err := r.check.talk(ctx)
		ended <- end{n, err}
	}()
	var last end
	talking := true
	pkts := make([]pcap.Packet, 64)
	for {
		select {
		case last = <-ended:
			talking = false
			if err := h.Stop(); err != nil {
				return err
			}
		default:
		}
		b, err := h.Next(100 * time.Millisecond)
		if err == capture.ErrClosed {
			break
		}
		if err != nil {
			if talking {
				r.check.conn.Close()
				<-ended
			}
			return fmt.Errorf("next batch: %w", err)
		}
		if b != nil {
			r.batch(b, pkts)
		}
	}
	r.Layout = h.Layout()
	r.Sent = last.sent
	if last.err != nil {
		return last.err
	}
	var err error
	if r.Stats, err = h.Stats(); err != nil {
		return err
	}
	r.counts()
	return nil
}

// batch checks the frames of a batch.
func (r *run) batch(b *capture.Batch, pkts []pcap.Packet) {
	defer b.Release()
	for n := b.Read(pkts); n > 0; n = b.Read(pkts) {
		for i := range pkts[:n] {
			r.packet(&pkts[i])
		}
	}
	if err := b.Err(); err != nil {
		r.wrong("%v", err)
	}
}

func (r *run) packet(p *pcap.Packet) {
	if !r.check.ours(p.Data) {
		r.Others++
		return
	}
	n, err := r.check.compare(p)
	switch {
	case err != nil:
		r.wrong("frame %d of this test: %v", r.Captured, err)
	case n != r.Captured:
		r.wrong("datagram %d came instead of datagram %d", n, r.Captured)
	}
	r.Captured++
	r.Bytes += uint64(len(p.Data))
}

// counts checks the counters.
func (r *run) counts() {
	s := r.Stats
	if r.Captured != r.Sent {
		r.wrong("%d datagrams were sent and %d captured; the kernel counts %d dropped frames", r.Sent, r.Captured, s.Dropped)
	}
	if s.Received != r.Read()+s.Dropped+s.Corrupt {
		r.wrong("the counters do not agree: %d frames received are not %d read, %d dropped and %d corrupt", s.Received, r.Read(), s.Dropped, s.Corrupt)
	}
}

// A talker sends datagrams to itself.
type talker struct {
	conn *net.UDPConn
	port uint16
	seed uint64
}

func newTalker() (talker, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
	if err != nil {
		return talker{}, fmt.Errorf("listen on loopback: %w", err)
	}
	port := c.LocalAddr().(*net.UDPAddr).Port
	return talker{conn: c, port: uint16(port), seed: uint64(time.Now().UnixNano())}, nil
}

// pause is the time between datagrams, long enough that no buffer overflows.
const pause = time.Millisecond

// talk sends datagrams until the context ends. It receives each datagram before it sends the next
// one, because the device has captured it by then. It returns the number sent.
func (t *talker) talk(ctx context.Context) (int, error) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	to := netip.AddrPortFrom(address, t.port)
	buf := make([]byte, longest+1)
	for n := 0; ; n++ {
		if _, err := t.conn.WriteToUDPAddrPort(t.payload(n), to); err != nil {
			return n, fmt.Errorf("send datagram %d: %w", n, err)
		}
		if err := t.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return n + 1, err
		}
		if _, err := t.conn.Read(buf); err != nil {
			return n + 1, fmt.Errorf("receive datagram %d: %w", n, err)
		}
		select {
		case <-ctx.Done():
			return n + 1, nil
		case <-tick.C:
		}
	}
}
