//go:build linux

// Package inject sends numbered frames through the receive path of an interface, as a driver would,
// at millions per second from one core. It runs an XDP program that passes every frame, with
// BPF_PROG_RUN and BPF_F_TEST_XDP_LIVE_FRAMES (Linux 5.18, Documentation/bpf/bpf_prog_run.rst).
//
// The kernel requires CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN) in the initial user namespace:
// real root, not the root of a user namespace or of an unprivileged container. The interface must
// be up, in the network namespace of the calling thread.
package inject

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// SequenceOffset is the offset of a frame's 64-bit sequence number, in the machine's byte order:
// after the Ethernet, IPv4 and UDP headers.
const SequenceOffset = headers

// Sizes of frames in bytes, without the frame check sequence. The kernel puts each frame, with
// headroom, into one page of memory.
const (
	MinSize = SequenceOffset + 8
	MaxSize = 1514
)

// Sequence returns the sequence number of a frame that an Injector sent. The frame may be truncated
// after MinSize bytes.
func Sequence(frame []byte) (number uint64, ok bool) {
	if len(frame) < MinSize || [6]byte(frame) != dstMAC || [6]byte(frame[6:]) != srcMAC {
		return 0, false
	}
	return binary.NativeEndian.Uint64(frame[SequenceOffset:]), true
}

// Frame returns a frame as an Injector sends it, for tests of code that reads such frames.
func Frame(size int, number uint64) []byte {
	f := template(size)
	binary.NativeEndian.PutUint64(f[SequenceOffset:], number)
	f[offFlow] = byte(number)
	return f
}

// IMIX returns a mix of 7 frames of 64 bytes, 4 of 576 and 1 of 1514, evenly distributed.
func IMIX() []int {
	return []int{64, 576, 64, 64, 576, 64, 1514, 64, 576, 64, 576, 64}
}

// ErrPrivilege is returned by New if the process lacks the privilege to inject.
var ErrPrivilege = errors.New("needs CAP_BPF and CAP_NET_ADMIN in the initial user namespace: run as root, outside of containers")

// An Injector injects frames into one interface. It may be run by one goroutine at a time.
type Injector struct {
	seq, shape *ebpf.Map
	prog       *ebpf.Program
	frame      []byte
	ctx        []byte
	sent       atomic.Uint64
}

// New returns an injector for the interface. Its frames have the given sizes in turn.
func New(ifindex int, sizes []int) (*Injector, error) {
	if len(sizes) == 0 || slices.Min(sizes) < MinSize || slices.Max(sizes) > MaxSize {
		return nil, fmt.Errorf("inject: sizes %v are not within %d to %d", sizes, MinSize, MaxSize)
	}
	full := slices.Max(sizes)
	in := &Injector{frame: template(full), ctx: xdpContext(full, ifindex)}
	if err := in.load(sizes, full); err != nil {
		in.Close()
		return nil, fmt.Errorf("inject: %w", privilege(err))
	}
	return in, nil
}

func (in *Injector) load(sizes []int, full int) (err error) {
	if in.seq, in.shape, err = newMaps(shapes(sizes, full)); err != nil {
		return err
	}
	in.prog, err = newProgram(in.seq, in.shape, len(sizes))
	return err
}

func privilege(err error) error {
	if errors.Is(err, unix.EPERM) {
		return ErrPrivilege
	}
	return err
}

// xdpContext returns the struct xdp_md of linux/bpf.h with which a run starts.
func xdpContext(size, ifindex int) []byte {
	const dataEnd, ingress, length = 4, 12, 24
	md := make([]byte, length)
	putNative(md[dataEnd:], size)
	putNative(md[ingress:], ifindex)
	return md
}

// Close frees the program and its maps.
func (in *Injector) Close() error {
	return errors.Join(in.prog.Close(), in.seq.Close(), in.shape.Close())
}

// Sent returns the number of frames sent so far, which is also the next frame's sequence number. It
// may be called during Run, and is then behind by up to one burst.
func (in *Injector) Sent() uint64 { return in.sent.Load() }

// Run injects frames at the rate until the count is reached or ctx ends, and returns how many it
// sent. It checks ctx between bursts; the end of ctx is not an error.
func (in *Injector) Run(ctx context.Context, r Rate) (uint64, error) {
	first := in.Sent()
	start := time.Now()
	for ctx.Err() == nil {
		sent := in.Sent() - first
		n, wait := r.due(time.Since(start), sent)
		if n == 0 && wait == 0 {
			break
		}
		if n == 0 {
			time.Sleep(wait)
			continue
		}
		if err := in.burst(n); err != nil {
			return in.Sent() - first, fmt.Errorf("inject: %w", err)
		}
	}
	return in.Sent() - first, nil
}

// batch is the number of frames that the kernel processes at a time. 64 is its default, and the
// limit of a driver's poll.
const batch = 64

// burst sends n frames. It counts frames by the program's sequence number, because a signal makes
// the kernel stop early and the run is repeated.
func (in *Injector) burst(n uint32) error {
	_, err := in.prog.Run(&ebpf.RunOptions{
		Data: in.frame, Context: in.ctx, Repeat: n, BatchSize: batch,
		Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES,
	})
	if err != nil {
		return fmt.Errorf("run XDP program: %w", privilege(err))
	}
	var next uint64
	if err := in.seq.Lookup(uint32(0), &next); err != nil {
		return fmt.Errorf("read sequence number: %w", err)
	}
	in.sent.Store(next)
	return nil
}
