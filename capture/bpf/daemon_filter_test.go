package bpf_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/capture"
	"capd/capture/bpf"
	"capd/config"
	"capd/internal/daemon"
	"capd/pcap"
)

// TestDaemonOverBPFRefusesFilter: a reload with a filter that the kernel rejects, or has no memory for, is
// refused with the cause. The old recording goes on with its filter and loses nothing.
func TestDaemonOverBPFRefusesFilter(t *testing.T) {
	var ports []string
	for i := range 400 {
		ports = append(ports, fmt.Sprint("port ", 3*i+1))
	}
	long := strings.Join(ports, " or ") // the filter is compiled for Linux here, which takes longer ones
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		s := newStation(t, sim, "en0")
		s.cfg.Interfaces[0].Filter = "ether proto 0x88b5"
		s.start()
		n := 0
		send := func(count int) {
			for range count {
				sim.Send("en0", numberedFrame(n))
				n++
			}
		}
		send(50)
		refused := func(filter, text string, want error) {
			t.Helper()
			err := s.reload(func(i *config.Interface) { i.Filter = filter })
			if !errors.Is(err, want) || !strings.Contains(err.Error(), "open en0: set filter") || !strings.Contains(err.Error(), text) {
				t.Errorf("%.40q: %v", filter, err)
			}
			send(50)
		}
		refused(long, "the kernel rejects its program of ", syscall.EINVAL)
		if sim.OS == "darwin" || sim.OS == "openbsd" {
			refused("ether[14] % 3 = 1 or ether proto 0x88b5", "the kernel rejects its program of ", syscall.EINVAL)
			refused("ether[14] ^ 3 = 1 or ether proto 0x88b5", "the kernel rejects its program of ", syscall.EINVAL)
		}
		sim.Scarce(5)
		refused("ether proto 0x88b5 or tcp port 80 or udp port 53", "cannot allocate memory", syscall.ENOMEM)
		sim.Scarce(0)
		if err := s.reload(func(i *config.Interface) { i.Filter = "ether proto 0x88b5 or tcp port 80 or udp port 53" }); err != nil {
			t.Error(err)
		}
		s.await("the takeover", func() bool { return s.status("en0").Writer.Files > 0 })
		s.state("en0", daemon.Recording)
		send(50)
		s.await("the last frame", func() bool { return s.status("en0").Writer.Accepted == uint64(n) })
		s.end()
		files, got := s.frames("en0")
		if files != 2 || len(got) != n {
			t.Fatalf("%d files, %d frames of %d", files, len(got), n)
		}
		for i, f := range got {
			if !bytes.Equal(f.data, numberedFrame(i)) {
				t.Fatalf("frame %d is %q", i, f.data)
			}
		}
		s.verdict()
	})
}

// TestDaemonOverBPFTunnel: the filter is compiled for the link type that the device has, not for the one that
// the interface's type suggests.
func TestDaemonOverBPFTunnel(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		sim.AddTunnel()
		all, err := sim.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(all, func(i capture.Interface) bool { return i.Name == "utun0" })
		if all[at].LinkType == pcap.LinkTypeRaw {
			t.Error("the guess is right: this tests nothing")
		}
		s := newStation(t, sim, "utun0")
		s.cfg.Interfaces[0].Filter = "udp port 53"
		s.start()
		for i := range 100 {
			sim.Send("utun0", datagram(53+i%2, i))
		}
		s.await("the datagrams", func() bool { return s.status("utun0").Writer.Accepted == 50 })
		time.Sleep(time.Second)
		s.end()
		_, got := s.frames("utun0")
		if len(got) != 50 {
			t.Fatalf("%d datagrams", len(got))
		}
		for i, f := range got {
			if f.link != pcap.LinkTypeRaw || !bytes.Equal(f.data, datagram(53, 2*i)) {
				t.Fatalf("packet %d of link type %s is %x", i, f.link, f.data)
			}
		}
		s.verdict()
	})
}

// datagram returns a UDP datagram in IPv4 that contains a number.
func datagram(port, n int) []byte {
	body := fmt.Sprintf("datagram %4d", n)
	ip := []byte{0x45, 0, 0, byte(28 + len(body)), 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	udp := []byte{0x30, 0x39, 0, byte(port), 0, byte(8 + len(body)), 0, 0}
	return slices.Concat(ip, udp, []byte(body))
}

// TestDaemonOverBPFUnread: on OpenBSD, frames that are lost with the interface are an unknown loss in the
// ledger and in the status; elsewhere none is lost.
func TestDaemonOverBPFUnread(t *testing.T) {
	bpf.EverySimulation(t, func(t *testing.T, sim *bpf.Simulation) {
		s := newStation(t, sim, "en0")
		s.start()
		const n = 30
		for i := range n { // more than one buffer holds: a part stays in the kernel
			sim.Burst("en0", append(numberedFrame(i), make([]byte, 5000)...))
		}
		sim.Remove("en0")
		s.state("en0", daemon.Waiting)
		st := s.end()[0]
		if st.Unread.IsZero() == (sim.OS == "openbsd") {
			t.Errorf("%+v", st)
		}
		unknown := s.missing("en0", "lost with the interface")
		if _, got := s.frames("en0"); (uint64(len(got))+st.KernelDropped < n) != unknown || unknown != (sim.OS == "openbsd") {
			t.Errorf("%d frames of %d, %d dropped, unknown loss: %t", len(got), n, st.KernelDropped, unknown)
		}
	})
}
