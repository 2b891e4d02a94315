package bpf

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"capd/capture/device"
	"capd/pcap"
	"capd/writer"
)

// A course is a recording from a BPF device to files.
type course struct {
	format pcap.Format
	dlt    uint32 // of the simulated interface
	hdrlen int    // length of a record's header for this DLT
	link   pcap.LinkType
	encap  string // Wireshark's name for the DLT
	gone   bool   // the interface's removal ends the recording, not Stop
}

// courses are two recordings for each system, of Ethernet and of raw IP: these differ in the DLT
// and the length of the record's header.
func courses(os string) []course {
	raw := map[string]uint32{"darwin": 12, "freebsd": 12, "netbsd": 12, "openbsd": 14}
	h := headers(os)
	return []course{
		{pcap.PCAP, 1, h[0], pcap.LinkTypeEthernet, "1", false},
		{pcap.PCAPNG, raw[os], h[len(h)-1], pcap.LinkTypeRaw, "7", true},
	}
}

// TestBPFToFiles: frames that arrive at each system's BPF device are in the files, byte for byte
// and in order, as tshark reads them. Frames that the kernel dropped are counted.
func TestBPFToFiles(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark")
	}
	everySystem(t, func(t *testing.T, k *fakeKernel) {
		for _, c := range courses(k.os) {
			t.Run(fmt.Sprintf("%s-%s-%t", c.format, c.link, c.gone), func(t *testing.T) {
				k := newKernel(t, k.abi)
				k.dlts, k.hdrlen = []uint32{c.dlt}, c.hdrlen
				c.run(t, k)
			})
		}
	})
}

const (
	fileSnaplen = 1000
	filesBurst  = 300 // more frames than the kernel's buffers hold
	filesFrames = 800 // sent while frames are read
)

func (c course) run(t *testing.T, k *fakeKernel) {
	began := time.Now()
	d := mustOpen(t, k, func(conf *device.Config) { conf.Snaplen = fileSnaplen })
	defer d.Close()
	f := feeder{k: k, rng: rand.New(rand.NewPCG(1, uint64(c.hdrlen))), raw: c.link == pcap.LinkTypeRaw}
	f.feed(filesBurst) // nothing reads yet, so that the last frames are dropped
	dropped := filesBurst - len(f.kept)
	if dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	h := mustAttach(t, d)
	if h.LinkType() != c.link {
		t.Errorf("link type %s", h.LinkType())
	}
	rec := newRecording(t, h, c)
	done := make(chan error)
	go func() { done <- rec.run(h) }()
	for range filesFrames {
		f.await()
		f.feed(1)
	}
	if lost := filesBurst + filesFrames - len(f.kept); lost != dropped {
		t.Errorf("%d frames were dropped that had room", lost-dropped)
	}
	if c.gone {
		k.remove("en0")
	} else if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	if err, want := <-done, map[bool]error{true: device.ErrGone, false: device.ErrClosed}[c.gone]; err != want {
		t.Errorf("ended by %v, want %v", err, want)
	}
	if err := d.Admit(); err != nil {
		t.Errorf("a device that was never gated: %v", err)
	}
	if l := h.Layout(); l.Unit != k.most || l.Header != c.hdrlen || l.Align != k.record.align || l.Resolution != resolution(k) {
		t.Errorf("%+v", l)
	}
	if err := rec.writer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec.check(t, f.kept, filesBurst+filesFrames, k, began)
}

// A feeder delivers frames to the kernel and remembers which ones were not dropped.
type feeder struct {
	k    *fakeKernel
	rng  *rand.Rand
	raw  bool
	kept [][]byte
}

func (f *feeder) feed(n int) {
	for range n {
		frame := f.frame()
		before := f.drops()
		f.k.receive(device.In, frame)
		if f.drops() == before {
			f.kept = append(f.kept, frame)
		}
	}
}

// await returns when the kernel has a buffer for frames.
func (f *feeder) await() {
	for full := true; full; {
		f.k.change(func(n *fakeNode) { full = n.hold != nil && len(n.store) > n.length/2 })
		if full {
			time.Sleep(time.Millisecond)
		}
	}
}

func (f *feeder) drops() (n uint64) {
	f.k.change(func(node *fakeNode) { n = node.drops })
	return n
}

// frame returns a frame of random length and content: an Ethernet frame with an experimental type,
// or an IPv4 packet with an experimental protocol.
func (f *feeder) frame() []byte {
	header := append(bytes.Repeat([]byte{2}, 12), 0x88, 0xb5)
	if f.raw {
		header = []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	}
	frame := make([]byte, len(header)+f.rng.IntN(1500))
	for i := range frame {
		frame[i] = byte(f.rng.Uint32())
	}
	copy(frame, header)
	if f.raw {
		frame[2], frame[3] = byte(len(frame)>>8), byte(len(frame))
	}
	return frame
}

// A recording writes packets from a handle to files, as the daemon does.
type recording struct {
	course
	handle *device.Handle
	writer *writer.Writer

	mu    sync.Mutex
	files []writer.File
}

func newRecording(t *testing.T, h *device.Handle, c course) *recording {
	t.Helper()
	r := &recording{course: c, handle: h}
	w, err := writer.New(writer.Options{
		Directory:  t.TempDir(),
		Header:     pcap.Header{Format: c.format, LinkType: h.LinkType(), Snaplen: fileSnaplen, Interface: "en0"},
		RotateSize: 384 << 10, ChunkSize: 512 << 10, PoolSize: 2 << 20,
		Drops: func() writer.Drops {
			s, _ := h.Stats()
			return writer.Drops{Kernel: s.Dropped}
		},
		Finished: func(f writer.File) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.files = append(r.files, f)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.writer = w
	return r
}

func (r *recording) run(h *device.Handle) error {
	start := time.Now()
	for {
		b, err := h.Next(50 * time.Millisecond)
		now := time.Now()
		r.writer.Tick(now, now.Sub(start))
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		var pkts [64]pcap.Packet
		for n := b.Read(pkts[:]); n > 0; n = b.Read(pkts[:]) {
			r.writer.Write(pkts[:n])
		}
		if err := b.Err(); err != nil {
			return err
		}
		b.Release()
	}
}

// check compares the files and the counters with the frames that the kernel had.
func (r *recording) check(t *testing.T, want [][]byte, sent int, k *fakeKernel, began time.Time) {
	t.Helper()
	dropped := uint64(sent - len(want))
	s, err := r.handle.Stats()
	if err != nil || s.Received != uint64(sent) || s.Dropped != dropped || s.Corrupt != 0 {
		t.Errorf("%+v, %v: want %d received, %d dropped", s, err, sent, dropped)
	}
	var got []tsharkFrame
	var counted, packets uint64
	for _, f := range r.files {
		if f.Err != nil {
			t.Error(f.Err)
		}
		counted += f.KernelDrops
		packets += f.Packets
		got = append(got, readTshark(t, f.Path)...)
	}
	if counted != dropped || packets != uint64(len(want)) || len(r.files) < 2 {
		t.Errorf("%d files of %d packets count %d drops, want %d packets and %d drops", len(r.files), packets, counted, len(want), dropped)
	}
	if len(got) != len(want) {
		t.Fatalf("tshark reads %d frames, want %d", len(got), len(want))
	}
	for i, f := range got {
		if cut := want[i][:min(len(want[i]), fileSnaplen)]; !bytes.Equal(f.data, cut) || f.length != len(want[i]) || f.encap != r.encap {
			t.Fatalf("frame %d is %d bytes of encapsulation %s\n%x, want %d of %s\n%x", i, f.length, f.encap, f.data, len(want[i]), r.encap, cut)
		}
		unit := resolution(k)
		if f.at.Before(began.Truncate(unit)) || f.at.After(time.Now()) || i > 0 && f.at.Before(got[i-1].at) || f.at.Nanosecond()%int(unit) != 0 {
			t.Fatalf("frame %d at %v", i, f.at)
		}
	}
}

// resolution returns the resolution of the kernel's timestamps after capd has set it.
func resolution(k *fakeKernel) time.Duration {
	if k.stamp != 0 {
		return time.Nanosecond
	}
	return time.Microsecond
}

// A tsharkFrame is a frame as decoded by Wireshark.
type tsharkFrame struct {
	data   []byte
	length int
	encap  string
	at     time.Time
}

// readTshark reads a file with tshark, and fails if tshark reports a problem.
func readTshark(t *testing.T, path string) []tsharkFrame {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, "tshark", "-n", "-r", path, "-T", "json", "-x", "-j", "frame")
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, &complaint)
	}
	for line := range strings.Lines(complaint.String()) {
		if !strings.HasPrefix(line, "Running as user") {
			t.Errorf("%s: %s", filepath.Base(path), line)
		}
	}
	var all []struct {
		Source struct {
			Layers struct {
				Raw   []any `json:"frame_raw"`
				Frame struct {
					Encap  string `json:"frame.encap_type"`
					Epoch  string `json:"frame.time_epoch"`
					Length int    `json:"frame.len,string"`
				}
			}
		} `json:"_source"`
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	frames := make([]tsharkFrame, len(all))
	for i, f := range all {
		l := f.Source.Layers
		data, err := hex.DecodeString(l.Raw[0].(string))
		if err != nil {
			t.Fatal(err)
		}
		frames[i] = tsharkFrame{data, l.Frame.Length, l.Frame.Encap, epoch(t, l.Frame.Epoch)}
	}
	return frames
}

// epoch parses seconds with nine decimals.
func epoch(t *testing.T, s string) time.Time {
	t.Helper()
	sec, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	nsec, err := strconv.ParseInt(frac, 10, 64)
	if err != nil || len(frac) != 9 {
		t.Fatal(s, err)
	}
	return time.Unix(n, nsec)
}
