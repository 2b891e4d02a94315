package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/testnet"
	"capd/ledger"
	"capd/pcap"
)

// TestExtractListenFollow: a reader gets what was recorded, and then what is being recorded, over the ends of files, also those that
// are compressed: the bytes of an answer that is asked for afterwards. Wireshark's tools read it; one that leaves is noticed though
// nothing comes.
func TestExtractListenFollow(t *testing.T) {
	r, s, stop := extracting(t, "flush_interval = \"1h\"\n[finished]\ncompress = \"zstd\"")
	up(t)
	send := func(n int) {
		for i := range n {
			s.Send(udpFrame(1, uint16(50+i%5), fmt.Sprint("a packet, ", i)))
		}
	}
	send(100)
	cmd, address, rest := serving(t, "-c", r.config, "--follow", "udp port 53")
	there := filepath.Join(t.TempDir(), "there")
	var readers sync.WaitGroup
	readers.Go(func() {
		if code, stdout, stderr := tsharked("-i", "TCP@"+address, "-w", there, "-a", "packets:80"); code != 0 {
			t.Errorf("exit %d, %s%s", code, stdout, stderr)
		}
	})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got bytes.Buffer
	more := func(packets int) {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, want, _ := capd("extract", "-c", r.config, "-w", "-", "--format", "pcap", "udp port 53")
		if n, err := io.CopyN(&got, c, int64(len(want)-got.Len())); err != nil || got.String() != want {
			t.Errorf("%d bytes, %v; want %d in all, and they have %d", n, err, len(want), got.Len())
		}
		if n := len(strings.Split(want, "a packet, ")) - 1; n != packets {
			t.Errorf("%d packets, want %d", n, packets)
		}
	}
	more(20)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // until tshark is there
		if _, err := os.Stat(there); err == nil {
			break
		}
	}
	send(100)
	more(40)
	for i := range 3 {
		if code, _, stderr := capd("rotate", "-c", r.config); code != 0 {
			t.Fatal(stderr)
		}
		send(100)
		if i < 2 { // the last ones come together
			more(60 + 20*i)
		}
	}
	more(100)
	readers.Wait()
	c.Close()
	if n := strings.Count(frames(t, there), "\n"); n != 80 {
		t.Errorf("%d packets", n)
	}
	left := make(chan string, 2)
	go func() {
		for range 2 {
			line, _ := rest.ReadString('\n')
			left <- line
		}
	}()
	packets := 100
	for n := 0; n < 2; { // what is written to them tells that nobody is there any more
		select {
		case line := <-left:
			if n++; !strings.Contains(line, ": complete: ") {
				t.Error(line)
			}
		case <-time.After(100 * time.Millisecond):
			send(5)
			packets++
		}
	}
	// One that goes on when the recorder ends gets all, and a signal is no reason for INCOMPLETE.
	c, err = net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send(5)
	packets++
	got.Reset()
	more(packets)
	stop()
	_ = cmd.Process.Signal(syscall.SIGINT)
	if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
		t.Errorf("%d bytes more, %v", n, err)
	}
	said, _ := io.ReadAll(rest)
	if err := cmd.Wait(); err != nil || !strings.Contains(string(said), fmt.Sprintf(": complete: %d packets of what was recorded from ", packets)) {
		t.Errorf("%v, %s", err, said)
	}
	if list, _ := filepath.Glob(filepath.Join(r.dir, "*.zst")); len(list) == 0 {
		all, _ := os.ReadDir(r.dir)
		t.Errorf("nothing was compressed: %v", all)
	}
}

// TestFollowHolds: limits leave what a reader has not read yet, until it has gone. Who reads is in the ledger from its begin on.
func TestFollowHolds(t *testing.T) {
	r, s, _ := extracting(t, "flush_interval = \"1h\"\n[retain]\ncount = 1\n")
	up(t)
	cmd, address, _ := serving(t, "-c", r.config, "--follow")
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	asked := func() (all []ledger.Entry) {
		for e, err := range ledger.ReadWith(r.dir, ledger.ReadOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == ledger.KindExtract {
				all = append(all, e)
			}
		}
		return all
	}
	r.await("a line", func(*control.Status) bool { return len(asked()) == 1 })
	file := func() {
		t.Helper()
		s.Send(udpFrame(1, 53, "x"))
		r.await("a file", func(s *control.Status) bool { return len(s.Interfaces[0].Files) > 0 })
		if code, _, stderr := capd("rotate", "-c", r.config); code != 0 {
			t.Fatal(stderr)
		}
	}
	for range 3 {
		file()
	}
	r.await("more held files than the limit has", func(s *control.Status) bool { return s.Directories[0].Held == 3 && s.Directories[0].Files == 3 })
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	packets, err := pcap.NewReader(c)
	for i := 0; i < 3 && err == nil; i++ {
		_, err = packets.Next()
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	file()
	r.await("deletions", func(s *control.Status) bool { return s.Directories[0].Held == 0 && s.Directories[0].Files == 1 })
	if lines := asked(); len(lines) != 2 || lines[0].Packets != 0 || lines[1].Packets != 3 || lines[0].Question != lines[1].Question || !strings.Contains(lines[0].Question, "--follow") {
		t.Errorf("%+v", lines)
	}
}

// TestWatchListen: each reader gets the packets that come after it has connected, whichever format; Wireshark's tools read them. One
// that reads nothing loses packets, and costs others none.
func TestWatchListen(t *testing.T) {
	for _, format := range []string{"pcap", "pcapng"} {
		t.Run(format, func(t *testing.T) {
			testnet.Veth(t, "v0", "v1", 1500)
			up(t)
			s := testnet.NewSender(t, "v0")
			cmd, address, rest := startListening(t, "watch", "-i", "v1", "--format", format, "-Z", "root", "udp")
			there := filepath.Join(t.TempDir(), "there")
			var readers sync.WaitGroup
			readers.Go(func() {
				if code, stdout, stderr := tsharked("-i", "TCP@"+address, "-w", there, "-a", "packets:5"); code != 0 {
					t.Errorf("exit %d, %s%s", code, stdout, stderr)
				}
			})
			stalled, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer stalled.Close()
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r, err := pcap.NewReader(c) // the begin comes without packets
			if err != nil {
				t.Fatal(err)
			}
			next := func(want string) {
				t.Helper()
				_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
				if p, err := r.Next(); err != nil || !strings.HasPrefix(string(p.Data[42:]), want) || time.Since(p.Time()) > time.Minute {
					t.Fatalf("%v, %+v, want %s", err, p, want)
				}
			}
			done := make(chan struct{})
			go func() { readers.Wait(); close(done) }()
			n := 0
			for came := false; !came; n++ { // until tshark has its packets
				select {
				case <-done:
					came = true
				case <-time.After(20 * time.Millisecond):
				}
				s.Send(udpFrame(1, 53, fmt.Sprint("packet ", n)))
				next(fmt.Sprint("packet ", n))
			}
			large := strings.Repeat("x", 1400)
			for range 40 { // much more than waits for one that reads nothing
				for range 500 {
					s.Send(udpFrame(1, 53, large))
				}
				for range 500 {
					next(large)
				}
			}
			if got := strings.Count(frames(t, there), "\n"); got != 5 {
				t.Errorf("%d packets", got)
			}
			_ = cmd.Process.Signal(syscall.SIGINT)
			if _, err := r.Next(); err != io.EOF {
				t.Error(err)
			}
			said, _ := io.ReadAll(rest)
			if err := cmd.Wait(); err != nil || strings.Count(string(said), " dropped, as it read too slowly\n") != 1 || !strings.Contains(string(said), "\n0 packets dropped by the kernel\n") {
				t.Errorf("%v, %s", err, said)
			}
		})
	}
}

// TestWatchListenUsage: what does not go together.
func TestWatchListenUsage(t *testing.T) {
	testnet.Need(t)
	for args, want := range map[string]string{
		"--listen 0.0.0.0:0":                    "other machines reach this address",
		"--listen 127.0.0.1:0 -r x":             "shows none",
		"--listen 127.0.0.1:0 -w x":             "shows none",
		"--listen 127.0.0.1:0 --format parquet": "none of pcapng",
		"--format pcap":                         "--format is for --listen",
		"--listen-anywhere":                     "is for --listen",
	} {
		if code, _, stderr := capd(append([]string{"watch"}, strings.Fields(args)...)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
	up(t)
	if code, _, stderr := capd("watch", "--listen", "127.0.0.1:0"); code != exitFailed || !strings.Contains(stderr, "packets of one link type") || !strings.Contains(stderr, "--format pcapng") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	for args, want := range map[string]string{
		"--follow": "--follow goes with --alert or --listen",
		"--listen 127.0.0.1:0 --follow --until 14:00":     "--follow has no end",
		"--listen 127.0.0.1:0 --follow --around 14:00±1s": "--follow has no end",
	} {
		if code, _, stderr := capd(append([]string{"extract", t.TempDir()}, strings.Fields(args)...)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
}
