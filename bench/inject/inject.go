//go:build linux

// Package inject puts numbered frames onto the receive path of an interface as
// a driver would, at millions a second from one core. It runs an XDP program
// that passes every frame by BPF_PROG_RUN with BPF_F_TEST_XDP_LIVE_FRAMES
// (Linux 5.18, Documentation/bpf/bpf_prog_run.rst).
//
// The kernel asks for CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN) in the
// initial user namespace: root, but not the root of a user namespace or of an
// unprivileged container. The interface must be up, in the network namespace
// of the calling thread.
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

// SequenceOffset is where a frame holds its 64-bit sequence number, in the
// machine's byte order: after the Ethernet, IPv4 and UDP headers.
const SequenceOffset = headers

// Sizes of frames in bytes, without the frame check sequence. Live frames live
// in one page of memory with their headroom.
const (
	MinSize = SequenceOffset + 8
	MaxSize = 1514
)

// Sequence returns the sequence number of a frame that an Injector made. The
// frame may be cut after MinSize bytes.
func Sequence(frame []byte) (number uint64, ok bool) {
	if len(frame) < MinSize || [6]byte(frame) != dstMAC || [6]byte(frame[6:]) != srcMAC {
		return 0, false
	}
	return binary.NativeEndian.Uint64(frame[SequenceOffset:]), true
}

// Frame returns a frame as an Injector makes it, for tests of what reads them.
func Frame(size int, number uint64) []byte {
	f := template(size)
	binary.NativeEndian.PutUint64(f[SequenceOffset:], number)
	return f
}

// IMIX returns the mix of 7 frames of 64 bytes, 4 of 576 and 1 of 1514, spread
// out.
func IMIX() []int {
	return []int{64, 576, 64, 64, 576, 64, 1514, 64, 576, 64, 576, 64}
}

// ErrPrivilege is returned by New where the process may not inject.
var ErrPrivilege = errors.New("needs CAP_BPF and CAP_NET_ADMIN in the initial user namespace: run as root, outside of containers")

// An Injector injects into one interface. One goroutine at a time may run it.
type Injector struct {
	seq, shape *ebpf.Map
	prog       *ebpf.Program
	frame      []byte
	ctx        []byte
	sent       atomic.Uint64
}

// New returns an injector for the interface whose frames have the sizes in
// turn: sizes is one round of the mix.
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

// xdpContext is the struct xdp_md of linux/bpf.h that a run starts from.
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

// Sent returns the number of frames sent so far, which is also the next
// frame's sequence number. It may be called while a Run is under way, and then
// lags by a burst.
func (in *Injector) Sent() uint64 { return in.sent.Load() }

// Run injects at the rate until the count is sent or ctx ends, and returns how
// many frames it sent. The end of ctx is no error; it is seen between bursts.
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

// batch is the number of frames that the kernel hands on at a time. 64 is its
// default, and as much as a driver's poll takes.
const batch = 64

// burst sends n frames. The program's own count is what was sent: a signal
// makes the kernel stop early and the run begin again.
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
