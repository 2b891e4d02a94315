package bpf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"capd/capture"
	"capd/capture/bpf"
	"capd/config"
	"capd/internal/daemon"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// A station is a daemon that records from a simulated system.
type station struct {
	t    *testing.T
	sim  *bpf.Simulation // nil for the real system
	cfg  *config.Config
	dir  string
	d    *daemon.Daemon
	stop context.CancelFunc
	done chan error
	log  lockedBuffer

	count uint64 // Options.Count
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

// newStation configures a daemon that records the interfaces.
func newStation(t *testing.T, sim *bpf.Simulation, names ...string) *station {
	t.Helper()
	s := &station{t: t, sim: sim, cfg: config.Default(), dir: t.TempDir(), done: make(chan error, 1)}
	r := &s.cfg.Recording
	r.Directory, r.FlushInterval, r.BlockTimeout = s.dir, config.Duration(50*time.Millisecond), config.Duration(20*time.Millisecond)
	r.ChunkSize, r.PoolSize, r.RingSize, r.BlockSize = 512*config.KiB, config.AutoSize(4*config.MiB), config.AutoSize(2*config.MiB), 512*config.KiB
	for _, name := range names {
		s.cfg.Interfaces = append(s.cfg.Interfaces, config.Interface{Name: name, Recording: *r})
	}
	return s
}

func (s *station) options() daemon.Options {
	opt := daemon.Options{Config: s.cfg, Log: slog.New(slog.NewTextHandler(&s.log, nil))}
	if s.sim != nil {
		opt.System, opt.Unwatched = s.sim, true
	}
	return opt
}

func (s *station) start() {
	s.t.Helper()
	d, err := daemon.New(s.options())
	if err != nil {
		s.t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.d = d
	go func() { s.done <- d.Run(ctx) }()
	for i := range s.cfg.Interfaces {
		s.state(s.cfg.Interfaces[i].Name, daemon.Recording)
	}
}

// end stops the daemon and returns the last status.
func (s *station) end() []daemon.Status {
	s.t.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		s.t.Error(err)
	}
	return s.d.Status()
}

func (s *station) status(name string) daemon.Status {
	for _, one := range s.d.Status() {
		if one.Interface == name {
			return one
		}
	}
	return daemon.Status{}
}

func (s *station) await(what string, cond func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("no %s: %+v\n%s", what, s.d.Status(), s.log.text())
		}
	}
}

func (s *station) state(name string, want daemon.State) {
	s.t.Helper()
	s.await(string(want), func() bool { return s.status(name).State == want })
}

// reload changes the first interface's configuration and reloads.
func (s *station) reload(change func(i *config.Interface)) error {
	c := *s.cfg
	c.Interfaces = slices.Clone(c.Interfaces)
	change(&c.Interfaces[0])
	err := s.d.Reload(&c)
	if err == nil {
		s.cfg = &c
	}
	return err
}

// reloadBusy reloads while frames arrive, and waits until some have been recorded with the new
// settings.
func (s *station) reloadBusy(name string, change func(i *config.Interface)) {
	s.t.Helper()
	if err := s.reload(change); err != nil {
		s.t.Fatal(err)
	}
	s.state(name, daemon.Recording)
	before := s.status(name).Writer.Accepted
	s.await("frames", func() bool { return s.status(name).Writer.Accepted > before+300 })
}

// A foundFrame is a frame in a file.
type foundFrame struct {
	link pcap.LinkType
	data []byte
}

// frames reads the interface's files, in the order in which they were begun.
func (s *station) frames(name string) (files int, all []foundFrame) {
	s.t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.dir, name+"-*.pcap*"))
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(paths)
	for _, path := range paths {
		if strings.HasSuffix(path, store.Partial) {
			s.t.Errorf("%s is not finished", path)
		}
		f, err := os.Open(path)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, readFrames(s.t, f)...)
		f.Close()
	}
	return len(paths), all
}

// tshark compares the frames that tshark reads from the interface's files with want. It does
// nothing if tshark is not installed.
func (s *station) tshark(name string, want []foundFrame) {
	s.t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		return
	}
	paths, err := filepath.Glob(filepath.Join(s.dir, name+"-*.pcap*"))
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(paths)
	var got [][]byte
	for _, path := range paths {
		got = append(got, bpf.ReadTshark(s.t, path)...)
	}
	if !slices.EqualFunc(got, want, func(a []byte, b foundFrame) bool { return bytes.Equal(a, b.data) }) {
		s.t.Errorf("tshark reads %d frames that are not the %d", len(got), len(want))
	}
}

func readFrames(t *testing.T, f io.Reader) (all []foundFrame) {
	t.Helper()
	r, err := pcap.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, foundFrame{r.Interface().LinkType, bytes.Clone(p.Data)})
	}
}

// numberedFrame returns an Ethernet frame that contains its number. Every ninth frame has the same
// content, without a number.
func numberedFrame(n int) []byte {
	frame := append(bytes.Repeat([]byte{2}, 12), 0x88, 0xb5)
	if n%9 == 0 {
		return append(frame, "again and again"...)
	}
	return fmt.Appendf(frame, "frame %d%s", n, strings.Repeat(".", n%700))
}

// TestDaemonOverBPF: reloads under load hand the interface over to new devices. Every frame is in
// the files once and in order, although many are identical, and the counters and the ledger agree.
func TestDaemonOverBPF(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		s := newStation(t, sim, "en0", "en1")
		s.start()
		stop, sent := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			for ; ; n++ {
				select {
				case <-stop:
					sent <- n
					return
				default:
				}
				sim.Send("en0", numberedFrame(n))
				if n%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
		s.await("the first frames", func() bool { return s.status("en0").Writer.Accepted > 300 })
		for _, change := range []func(*config.Interface){
			func(i *config.Interface) { i.Filter = "ether proto 0x88b5" },
			func(i *config.Interface) { i.Snaplen = 2000 },
			func(i *config.Interface) { i.Filter, i.Promiscuous = "", false },
			func(i *config.Interface) { i.RingSize *= 2 },
			func(i *config.Interface) { i.Direction, i.Format = config.DirectionIn, config.FormatPcap },
			func(i *config.Interface) { i.LinkType = "EN10MB" },
		} {
			s.reloadBusy("en0", change)
		}
		close(stop)
		want := <-sent
		s.await("the last frame", func() bool { return s.status("en0").Writer.Accepted == uint64(want) })
		all := s.end()
		if st := all[0]; st.Received != uint64(want) || st.Written != uint64(want) || st.KernelDropped+st.Dropped != 0 {
			t.Errorf("%d sent: %+v", want, st)
		}
		files, got := s.frames("en0")
		if files != 7 || len(got) != want {
			t.Fatalf("%d files of %d frames, want %d", files, len(got), want)
		}
		for n, f := range got {
			if !bytes.Equal(f.data, numberedFrame(n)) {
				t.Fatalf("frame %d is %q", n, f.data)
			}
		}
		s.verdict()
	})
}

// missing reports whether the ledger's verdict on the interface has an unknown loss with that cause.
func (s *station) missing(name string, cause ledger.Cause) bool {
	s.t.Helper()
	all, err := ledger.Judge(ledger.Read(s.dir, nil), ledger.Question{Interface: name})
	if err != nil || len(all) != 1 {
		s.t.Fatal(all, err)
	}
	return slices.ContainsFunc(all[0].Missing, func(m ledger.Missing) bool { return m.Cause == cause && m.Frames == 0 })
}

// verdict checks that the ledger has no loss.
func (s *station) verdict() {
	s.t.Helper()
	for e, err := range ledger.Read(s.dir, nil) {
		if err != nil || e.Kind == ledger.KindGap || e.CapdDropped+e.KernelDropped > 0 {
			s.t.Errorf("the ledger has %+v, %v", e, err)
		}
	}
}

// TestDaemonOverBPFLinks: capd waits for an interface that is removed or down. Frames that arrived
// before are in the files.
func TestDaemonOverBPFLinks(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		s := newStation(t, sim, "en0")
		s.start()
		n := 0
		send := func(count int) {
			for range count {
				sim.Send("en0", numberedFrame(n))
				n++
			}
		}
		send(100)
		sim.Remove("en0")
		s.state("en0", daemon.Waiting)
		sim.Add("en0", 17)
		s.state("en0", daemon.Recording)
		send(100)
		s.await("frames", func() bool { return s.status("en0").Writer.Accepted == 200 })
		sim.SetUp("en0", false)
		s.state("en0", daemon.Down)
		sim.SetUp("en0", true)
		s.state("en0", daemon.Recording)
		send(100)
		st := s.end()[0]
		if st.Received != 300 || st.Written != 300 || st.KernelDropped+st.Dropped != 0 {
			t.Errorf("%+v", st)
		}
		_, got := s.frames("en0")
		s.tshark("en0", got)
		for i := range got {
			if !bytes.Equal(got[i].data, numberedFrame(i)) {
				t.Fatalf("frame %d is %q", i, got[i].data)
			}
		}
		if len(got) != n {
			t.Errorf("%d frames of %d", len(got), n)
		}
		causes := map[ledger.Cause]int{}
		for e := range ledger.Read(s.dir, nil) {
			causes[e.Cause]++
		}
		if causes[ledger.CauseAbsent] == 0 || causes[ledger.CauseDown] == 0 {
			t.Errorf("the ledger has %v", causes)
		}
	})
}

// TestDaemonOverBPFLinkType: a change of the link type loses no frame. Frames that arrive while
// both devices are open are in both files, each with its link type.
func TestDaemonOverBPFLinkType(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		s := newStation(t, sim, "en0")
		s.start()
		n := 0
		send := func(until func() bool) {
			for more := 50; more > 0; n++ {
				sim.Send("en0", fmt.Appendf(nil, "------------\x88\xb5%d", n))
				time.Sleep(100 * time.Microsecond)
				if until() {
					more--
				}
			}
		}
		send(func() bool { return true })
		if err := s.reload(func(i *config.Interface) { i.LinkType = "IEEE802_11_RADIO" }); err != nil {
			t.Fatal(err)
		}
		send(func() bool { return s.status("en0").Writer.Files > 0 && s.status("en0").State == daemon.Recording })
		s.await("the last frames", func() bool { return s.status("en0").Writer.Accepted >= uint64(n) })
		s.end()
		files, got := s.frames("en0")
		radio := map[string]bool{}
		plain := map[string]bool{}
		for _, f := range got {
			if rest, ok := bytes.CutPrefix(f.data, bpf.Radiotap()); ok && f.link == pcap.LinkTypeRadiotap {
				radio[string(rest)] = true
			} else if f.link == pcap.LinkTypeEthernet {
				plain[string(f.data)] = true
			}
		}
		for i := range n {
			frame := fmt.Sprintf("------------\x88\xb5%d", i)
			if !plain[frame] && !radio[frame] {
				t.Errorf("frame %d of %d is lost", i, n)
			}
		}
		if files != 2 || len(got) != len(plain)+len(radio) || len(plain) < 50 || len(radio) < 50 {
			t.Errorf("%d files of %d frames: %d and %d", files, len(got), len(plain), len(radio))
		}
		s.verdict()
	})
}

// TestDaemonOverBPFRefuses: a reload that can't succeed is refused with its cause, and changes
// nothing.
func TestDaemonOverBPFRefuses(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		s := newStation(t, sim, "en0")
		for name, want := range map[string]error{"RAW": capture.ErrLinkType, "ETHER": pcap.ErrLinkType} {
			s.cfg.Interfaces[0].LinkType = name
			if _, err := daemon.New(s.options()); !errors.Is(err, want) || !strings.Contains(err.Error(), "en0") {
				t.Errorf("%s: %v", name, err)
			}
		}
		s.cfg.Interfaces[0].LinkType = ""
		s.start()
		sim.Send("en0", numberedFrame(0))
		for name, want := range map[string]error{"RAW": capture.ErrLinkType, "ETHER": pcap.ErrLinkType} {
			if err := s.reload(func(i *config.Interface) { i.LinkType = name }); !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := s.reload(func(i *config.Interface) { i.Fanout = 2 }); err == nil {
			t.Error("a fanout is taken")
		}
		// A filter is compiled for the selected link type, and filters for this one are not
		// supported.
		radio := func(i *config.Interface) { i.LinkType, i.Filter = "IEEE802_11_RADIO", "ip" }
		if err := s.reload(radio); err == nil || !strings.Contains(err.Error(), "link type 127") {
			t.Errorf("a filter for radio headers: %v", err)
		}
		sim.Refuse(true)
		if err := s.reload(func(i *config.Interface) { i.Filter = "ip" }); !errors.Is(err, capture.ErrPermission) {
			t.Errorf("without the right to open: %v", err)
		}
		sim.Refuse(false)
		sim.Send("en0", numberedFrame(1))
		s.await("frames", func() bool { return s.status("en0").Writer.Accepted == 2 })
		s.end()
		if files, got := s.frames("en0"); files != 1 || len(got) != 2 {
			t.Errorf("%d files, %d frames", files, len(got))
		}
		s.verdict()
	})
}
