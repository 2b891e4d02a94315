package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"capd/internal/control"
	"capd/internal/testnet"
	"capd/pcap"
)

// strangersFrames is the Ethernet type of the test's frames, behind which comes
// their number.
const strangersFrames = 0x88b6

// TestStrangers: whatever clients do at the socket, capd answers the others,
// needs no more memory for them than there is, and records every frame.
func TestStrangers(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	dir, home := t.TempDir(), t.TempDir()
	config, socket := filepath.Join(home, "capd.toml"), filepath.Join(home, "s")
	text := fmt.Sprintf("directory = %q\nblock_timeout = \"20ms\"\n[control]\nsocket = %q\n[[interface]]\nname = \"v1\"\n", dir, socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, errs := process(t, "run", "-c", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("%s", errs)
		}
	})
	s := testnet.NewSender(t, "v0")
	recording(t, s, dir)
	c := control.NewClient(socket)
	defer c.Close()
	before := memory(t, socket)

	stop, sent := make(chan struct{}), make(chan uint64)
	go func() { sent <- sendNumbered(s, stop) }()
	silent := make([]net.Conn, 1000)
	for i := range silent {
		silent[i] = connect(t, socket)
		defer silent[i].Close()
	}
	for name, attack := range map[string]func(*testing.T, string){
		"1 GiB": sendGiB, "half a request": hangUp, "1000 clients": askOften,
	} {
		t.Run(name, func(t *testing.T) { attack(t, socket) })
		if status, err := c.Status(context.Background(), ""); err != nil || status.Interfaces[0].State != control.Recording {
			t.Errorf("after %s: %v", name, err)
		}
	}
	if more := memory(t, socket) - before; more > 128<<20 {
		t.Errorf("strangers cost %g bytes of memory", more)
	}
	close(stop)
	n := <-sent
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, errs)
	}
	got := numbered(t, dir)
	if uint64(len(got)) != n || n < 1000 {
		t.Fatalf("%d frames were sent, %d recorded", n, len(got))
	}
	for i, number := range got {
		if number != uint64(i) {
			t.Fatalf("frame %d is in the place of %d", number, i)
		}
	}
	if held, err := filepath.Glob(filepath.Join(dir, "*.hold")); err != nil || len(held) > 0 {
		t.Errorf("half an order held %v, %v", held, err)
	}
}

func connect(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// sendGiB sends as much in a body as the server takes.
func sendGiB(t *testing.T, socket string) {
	conn := connect(t, socket)
	defer conn.Close()
	const gib = 1 << 30
	taken := make(chan int64)
	go func() {
		fmt.Fprintf(conn, "POST /v1/hold HTTP/1.1\r\nHost: capd\r\nContent-Length: %d\r\n\r\n", gib)
		chunk, n := make([]byte, 64<<10), int64(0)
		for i := range chunk {
			chunk[i] = ' '
		}
		for n < gib {
			m, err := conn.Write(chunk)
			if n += int64(m); err != nil {
				break
			}
		}
		taken <- n
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%+v, %v", resp, err)
	}
	conn.Close()
	if n := <-taken; n > 64<<20 {
		t.Errorf("the server took %d bytes", n)
	}
}

// hangUp goes away in the middle of requests, and of their answers.
func hangUp(t *testing.T, socket string) {
	const request = "POST /v1/hold HTTP/1.1\r\nHost: capd\r\nContent-Length: 26\r\n\r\n{\"last\":\"1h\",\"interface\":\"\"}"
	for i := range len(request) {
		conn := connect(t, socket)
		fmt.Fprint(conn, request[:i])
		conn.Close()
	}
	for range 200 {
		conn := connect(t, socket)
		fmt.Fprint(conn, "GET /v1/status HTTP/1.1\r\nHost: capd\r\n\r\nGET /metrics HTTP/1.1\r\nHost: capd\r\n\r\n")
		conn.Close()
	}
}

// askOften asks as a thousand clients at once; all are answered.
func askOften(t *testing.T, socket string) {
	var asking sync.WaitGroup
	failed := make(chan error, 1000)
	for range 1000 {
		asking.Go(func() { failed <- askUntilAnswered(socket) })
	}
	asking.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// askUntilAnswered asks again where the server took us for silent: on a busy
// machine a test can be slower than that.
func askUntilAnswered(socket string) (err error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		c := control.NewClient(socket)
		_, err = c.Status(context.Background(), "")
		c.Close()
		if err == nil {
			return nil
		}
	}
	return err
}

// sendNumbered sends frames, some each millisecond, and returns how many.
func sendNumbered(s *testnet.Sender, stop <-chan struct{}) (n uint64) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	frame := make([]byte, 60)
	binary.BigEndian.PutUint16(frame[12:], strangersFrames)
	for {
		select {
		case <-stop:
			return n
		case <-tick.C:
		}
		for range 10 {
			binary.BigEndian.PutUint64(frame[14:], n)
			s.Send(frame)
			n++
		}
	}
}

// numbered returns the numbers in the files, in the order of the files.
func numbered(t *testing.T, dir string) (all []uint64) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		h, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		r, err := pcap.NewReader(h)
		for err == nil {
			var p pcap.Packet
			if p, err = r.Next(); err == nil && binary.BigEndian.Uint16(p.Data[12:]) == strangersFrames {
				all = append(all, binary.BigEndian.Uint64(p.Data[14:]))
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return all
}

// memory is what capd's heap has in use, in bytes, as its metrics tell.
func memory(t *testing.T, socket string) float64 {
	t.Helper()
	conn := connect(t, socket)
	defer conn.Close()
	fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nHost: capd\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	m := regexp.MustCompile(`(?m)^go_memstats_heap_inuse_bytes (.*)$`).FindSubmatch(b)
	if err != nil || m == nil {
		t.Fatalf("%v: %s", err, b)
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
