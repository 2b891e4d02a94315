package extract

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"capd/pcap"
)

// BenchmarkFilterBesideTcpdump measures the processor time of capd filter -r FILE -w OUT as a part of that of tcpdump, in
// turn, with files of some hundred MiB that are in the page cache. An operation is one pair; run at least five.
func BenchmarkFilterBesideTcpdump(b *testing.B) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		b.Skip("needs tcpdump")
	}
	capd := filepath.Join(b.TempDir(), "capd")
	build := exec.Command("go", "build", "-o", capd, "capd/cmd/capd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	me, err := user.Current()
	if err != nil {
		b.Fatal(err)
	}
	mix := []int{64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1514}
	for _, f := range []struct {
		name   string
		format pcap.Format
		sizes  []int
	}{
		{"64", pcap.PCAP, []int{64}}, {"64", pcap.PCAPNG, []int{64}}, {"mix", pcap.PCAP, mix}, {"mix", pcap.PCAPNG, mix},
		{"600", pcap.PCAPNG, []int{600}}, {"1514", pcap.PCAPNG, []int{1514}},
	} {
		in := filepath.Join(b.TempDir(), "in"+f.format.Ext())
		if err := writeTraffic(in, f.format, f.sizes, 400<<20); err != nil {
			b.Fatal(err)
		}
		for _, expr := range []string{"port 53", "ip"} {
			for _, out := range []string{"null", "file"} {
				b.Run(fmt.Sprintf("%s/%v/%s/%s", f.name, f.format, expr, out), func(b *testing.B) {
					path := os.DevNull
					if out == "file" {
						path = filepath.Join(b.TempDir(), "out")
					}
					var parts []float64
					for b.Loop() {
						ours := processorTime(b, path, capd, "filter", "-r", in, "-w", "-", expr)
						theirs := processorTime(b, path, "tcpdump", "-Z", me.Username, "-r", in, "-w", "-", expr)
						parts = append(parts, float64(ours)/float64(theirs))
					}
					slices.Sort(parts)
					b.ReportMetric(parts[len(parts)/2], "of-tcpdump")
					b.ReportMetric(parts[0], "least")
					b.ReportMetric(parts[len(parts)-1], "most")
				})
			}
		}
		os.Remove(in)
	}
}

// processorTime runs a command whose output goes to the path, and returns what it took of a processor.
func processorTime(b *testing.B, path string, command ...string) time.Duration {
	b.Helper()
	out, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	var errs bytes.Buffer
	run := exec.Command(command[0], command[1:]...)
	run.Stdout, run.Stderr = out, &errs
	if err := run.Run(); err != nil {
		b.Fatalf("%v: %v: %s", run, err, &errs)
	}
	return run.ProcessState.UserTime() + run.ProcessState.SystemTime()
}

// writeTraffic writes a file of TCP and UDP over IPv4 with packets of the sizes, of which one in 50 is of port 53.
func writeTraffic(path string, format pcap.Format, sizes []int, size int) error {
	h, err := os.Create(path)
	if err != nil {
		return err
	}
	defer h.Close()
	enc := pcap.NewEncoder(pcap.Header{Format: format, LinkType: pcap.LinkTypeEthernet, Interface: "eth0"})
	r := rand.New(rand.NewPCG(1, 2))
	var frames [4096][]byte
	for i := range frames {
		f := make([]byte, sizes[r.IntN(len(sizes))])
		copy(f[12:], []byte{8, 0, 0x45})
		f[23] = []byte{6, 17}[r.IntN(2)]
		binary.BigEndian.PutUint64(f[26:], r.Uint64())
		binary.BigEndian.PutUint16(f[34:], uint16(1024+r.IntN(60000)))
		binary.BigEndian.PutUint16(f[36:], uint16(1024+r.IntN(60000)))
		if r.IntN(50) == 0 {
			binary.BigEndian.PutUint16(f[36:], 53)
		}
		frames[i] = f
	}
	w := bufio.NewWriterSize(h, 1<<20)
	_, err = w.Write(enc.Header())
	record := make([]byte, enc.MaxRecord())
	for sec := uint32(0); size > 0 && err == nil; sec++ {
		f := frames[r.IntN(len(frames))]
		n, _ := enc.Encode(record, []pcap.Packet{{Data: f, Length: uint32(len(f)), Sec: 1.7e9 + sec>>20, Nsec: sec}})
		_, err = w.Write(record[:n])
		size -= n
	}
	return errors.Join(err, w.Flush())
}
