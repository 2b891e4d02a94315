package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/read"
	"capd/internal/testnet"
	"capd/pcap"
	"capd/store"
)

// TestWatchFollow: what a recorder writes is shown as it comes, and the end of
// the file is the end.
func TestWatchFollow(t *testing.T) {
	for _, format := range []string{"pcap", "pcapng"} {
		t.Run(format, func(t *testing.T) {
			testnet.Veth(t, "v0", "v1", 1500)
			dir := t.TempDir()
			config := filepath.Join(dir, "capd.toml")
			text := fmt.Sprintf("directory = %q\nformat = %q\nflush_interval = \"50ms\"\nblock_timeout = \"20ms\"\n[[interface]]\nname = \"v1\"\n", dir, format)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			recorder, errs := process(t, "run", "-c", config)
			if err := recorder.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = recorder.Process.Signal(os.Interrupt)
				if err := recorder.Wait(); err != nil {
					t.Errorf("%v: %s", err, errs)
				}
			}()
			s := testnet.NewSender(t, "v0")
			recording(t, s, dir)
			c, err := store.ReadContents(dir)
			if err != nil || len(c.Partials) != 1 {
				t.Fatalf("%+v, %v", c, err)
			}
			w := watching(t, func() { s.Send(udpFrame(1, 2, "x")) }, "-f", "-r", filepath.Join(dir, c.Partials[0]))
			s.Send(udpFrame(1, 1000, "x"))
			w.until(":1000,")
			for range 20000 {
				s.Send(udpFrame(1, 3, strings.Repeat("x", 500)))
			}
			s.Send(udpFrame(1, 1001, "x"))
			w.until(":1001,")
			if err := recorder.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			first := filepath.Join(dir, strings.TrimSuffix(c.Partials[0], store.Partial))
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // what is sent before may come into the first file
				if _, err := os.Stat(first); err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the file does not end")
				}
			}
			rest := await(t, s, w, ":1002,")
			w.interrupt()
			all := finished(t, dir)
			code, whole, stderr := capd("watch", "-r", all[0], "-r", all[1])
			whole, _, _ = strings.Cut(whole, rest)
			if shown, _, _ := strings.Cut(w.all.String(), rest); code != 0 || len(all) != 2 || shown != whole || len(whole) < 20000 {
				t.Errorf("exit %d, %s%s: %d bytes are shown of the growing files, %d of the finished ones", code, stderr, w.errs.String(), w.all.Len(), len(whole))
			}
			if n := w.counted("shown"); n != strings.Count(w.all.String(), "\n") {
				t.Errorf("%d shown", n)
			}
		})
	}
}

// await sends a packet to the port until it is shown, and returns the line.
func await(t *testing.T, s *testnet.Sender, w *watcher, port string) string {
	t.Helper()
	n, err := strconv.Atoi(strings.Trim(port, ":,"))
	if err != nil {
		t.Fatal(err)
	}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(patience); ; {
		s.Send(udpFrame(1, uint16(n), "x"))
		select {
		case line := <-w.lines:
			if strings.Contains(line, port) {
				return line
			}
		case <-again.C:
		case <-deadline:
			t.Fatalf("no %s is shown: %s", port, w.errs.String())
		}
	}
}

// finished are the paths of a directory's files in order, whatever their state.
func finished(t *testing.T, dir string) (all []string) {
	t.Helper()
	for path := filepath.Join(dir, store.Name{Interface: "v1", Start: time.Unix(0, 0)}.String()); ; {
		next, err := read.Next(path)
		if err != nil || next.Missing > 0 {
			t.Fatalf("after %s: %+v, %v", path, next, err)
		}
		if path = next.Path; path == "" {
			return all
		}
		all = append(all, path)
	}
}

// TestWatchFollowCounts: with a record that comes in parts, and all that was
// written before the name went.
func TestWatchFollowCounts(t *testing.T) {
	b := encodeFrames(pcap.Header{LinkType: pcap.LinkTypeEthernet}, arpFrame(), udpFrame(1, 2, "x"), udpFrame(1, 3, "x"))
	finished := filepath.Join(t.TempDir(), "x.pcap")
	h, err := os.Create(finished + store.Partial)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	w := startWatch(t, "-f", "--json", "-r", h.Name())
	w.read()
	put := func(b []byte) {
		if _, err := h.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	put(b[:10])
	put(b[10:90])
	w.until(`"arp"`)
	put(b[90:150])
	if line := w.until(`"udp"`); !json.Valid([]byte(line)) {
		t.Errorf("%s", line)
	}
	put(b[150:])
	if err := os.Rename(h.Name(), finished); err != nil {
		t.Fatal(err)
	}
	if rest := w.end(exitFine); len(rest) != 1 || !strings.Contains(rest[0], `"dst_port":3`) {
		t.Errorf("%q", rest)
	}
	w = startWatch(t, "-f", "-r", finished)
	w.read()
	w.until("10.0.0.2:3,")
	w.interrupt()
	if w.counted("shown") != 3 {
		t.Errorf("%s", w.errs.String())
	}
}
