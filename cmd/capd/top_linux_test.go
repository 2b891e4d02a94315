package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/testnet"
	"capd/internal/testterm"
	"capd/store"
)

const topConfig = `
directory = %q
flush_interval = "200ms"
ring_size = "4MiB"
chunk_size = "1MiB"
pool_size = "4MiB"
rotate_size = "16MiB"
retain_bytes = "1GiB"
[control]
socket = %q
[[interface]]
name = "lo"
[[interface]]
name = "eth0"
[[interface]]
name = "eth1"
wait = true
`

// A watched is a capd that records loopback, for capd top to show.
type watched struct {
	t                     *testing.T
	files, config, socket string
	cmd                   *exec.Cmd
	lo                    net.Conn
}

func newWatched(t *testing.T, dir string) *watched {
	t.Helper()
	testnet.Veth(t, "eth0", "peer0", 1500)
	testnet.SetUp(t, "lo", true)
	w := &watched{t: t, files: filepath.Join(dir, "files"), config: filepath.Join(dir, "capd.toml"), socket: filepath.Join(dir, "s")}
	if err := os.WriteFile(w.config, fmt.Appendf(nil, topConfig, w.files, w.socket), 0o600); err != nil {
		t.Fatal(err)
	}
	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	if w.lo, err = net.Dial("udp", sink.LocalAddr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.lo.Close() })
	w.start()
	return w
}

func (w *watched) start() {
	w.t.Helper()
	cmd, errs := process(w.t, "run", "-c", w.config)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.cmd = cmd
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("%s", errs)
		}
	})
}

// show starts capd top on a new terminal.
func (w *watched) show(width, height int) *testterm.Terminal {
	w.t.Helper()
	return testterm.New(w.t, width, height, []string{asCapd + "=1"}, os.Args[0], "top", "--socket", w.socket)
}

// TestTop watches a capd that records loopback, gives it orders, and stays when
// it dies and comes back.
func TestTop(t *testing.T) {
	dir, err := os.MkdirTemp("", "capd") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := newWatched(t, dir)
	term := w.show(80, 24)
	term.AwaitText("recording 2 of 3 interfaces", "\n>eth0       recording ", "\n eth1       waiting ", "\n lo         recording ")
	term.Press("j", "Down")
	term.AwaitText("\n>lo ")
	for range 100 {
		if _, err := w.lo.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	term.AwaitText(" frames 100 received, 100 written, 0 pending; 102 KiB", " lo-")
	term.Press("h")
	screen := term.AwaitText("Z held until capd release: ")
	term.Press("r")
	screen += term.AwaitText("Z rotated lo: lo-")
	held := regexp.MustCompile(`held until capd release: \d files?: .*\blo-`).MatchString(screen)
	c, err := store.ReadContents(w.files)
	holds, _ := filepath.Glob(filepath.Join(w.files, "lo-*.hold"))
	if !held || err != nil || c.Files != 1 || len(holds) != 1 {
		t.Errorf("files %+v, %v; holds %q; screen\n%s", c, err, holds, screen)
	}
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = w.cmd.Wait()
	term.AwaitText("no answer since ", "trying again: connection refused")
	w.start()
	term.Await("capd again", func(screen string) bool {
		return !strings.Contains(screen, "no answer") && strings.Contains(screen, " frames 0 received, 0 written")
	})
	if err := term.Process().Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	term.Ended(0)
}

// TestTopWithout: where there is no terminal capd top says what to do.
func TestTopWithout(t *testing.T) {
	code, out, errs := capd("top")
	if code != exitFailed || out != "" || !strings.Contains(errs, "capd: top: needs a terminal") || !strings.Contains(errs, "capd: hint: capd status") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

const picture = "../../docs/top.svg"

// TestTopPicture: with -update it makes the picture of capd top, of one that
// records loopback and another interface and is stopped until frames are lost.
// Else it checks that there is one.
func TestTopPicture(t *testing.T) {
	needTree(t)
	if *update {
		if err := os.WriteFile(picture, []byte(takePicture(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(picture)
	if err != nil {
		t.Fatalf("%v: go test ./cmd/capd -run TopPicture -update", err)
	}
	defer f.Close()
	said := ""
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok {
			said += string(text)
		}
	}
	for _, want := range []string{"recording 2 of 3 interfaces", "INTERFACE", "eth1", "waiting", "? help"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in the picture", want)
		}
	}
}

// takePicture lets capd top run for a minute.
func takePicture(t *testing.T) string {
	const width = 110
	dir := "/var/tmp/capd" // it is in the picture
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := newWatched(t, dir)
	term := w.show(width, 24)
	term.AwaitText("recording 2 of 3 interfaces")
	send, frame := testnet.NewSender(t, "peer0"), make([]byte, 1400)
	frame[12], frame[13] = 0x88, 0xb5
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := range 6000 {
		<-tick.C
		for range int(70 + 60*math.Sin(float64(n)/400)) {
			send.Send(frame)
		}
		for range 1 + n/500%4*3 {
			_, _ = w.lo.Write(make([]byte, 600))
		}
		switch n {
		case 3000: // longer than the ring lasts
			_ = w.cmd.Process.Signal(syscall.SIGSTOP)
		case 3080:
			_ = w.cmd.Process.Signal(syscall.SIGCONT)
		case 5900:
			term.Press("r")
		}
	}
	term.AwaitText("Z rotated eth0: ")
	styled := term.Styled()
	term.Press("q")
	term.Ended(0)
	return testterm.SVG(styled, width)
}
