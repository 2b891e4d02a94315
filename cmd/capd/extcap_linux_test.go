package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/internal/testnet"

	"golang.org/x/sys/unix"
)

// asExtcap puts the test's binary where tshark looks for extcaps: of version 4.0, and of 4.4.
func asExtcap(t *testing.T) {
	t.Helper()
	look(t, "tshark")
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv(asCapd, "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(home) // which has no recordings
	for _, folder := range []string{".config/wireshark/extcap", ".local/lib/wireshark/extcap"} {
		dir := filepath.Join(home, folder)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		script(t, dir, "capd", `exec '`+self+`' extcap "$@"`)
	}
}

// tsharked runs tshark.
func tsharked(args ...string) (code int, stdout, stderr string) {
	cmd := exec.Command("tshark", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// options spells fields of the dialog for tshark.
func options(fields ...string) (args []string) {
	for _, f := range fields {
		args = append(args, "-o", "extcap.capd_history."+f)
	}
	return args
}

// TestExtcap: tshark lists capd's entries, and captures an answer to its end: the packets are those of capd extract, and the verdict is shown.
func TestExtcap(t *testing.T) {
	r, s, stop := extracting(t, "")
	asExtcap(t)
	for i := range 100 {
		s.Send(udpFrame(1, uint16(50+i%5), "x"))
	}
	code, stdout, stderr := tsharked("-D")
	for _, want := range []string{"capd-history (capd history)", "capd-live-v1 (capd live v1)", "capd-live-lo (capd live lo)"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("exit %d, no %q in %s%s", code, want, stdout, stderr)
		}
	}
	if code, stdout, stderr := tsharked("-L", "-i", "capd-live-v1"); code != 0 || !strings.Contains(stdout, "ETHERNET") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	stop()
	asSSH(t, locally)
	here := filepath.Join(t.TempDir(), "here")
	if code, _, stderr := capd("extract", r.dir, "-w", here, "udp port 53"); code != exitFine {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	for name, fields := range map[string][]string{
		"a directory": {"directory:" + r.dir, "filter:udp port 53", "since:1h", "until:2038-01-01"},
		"all":         {"directory:" + r.dir, "filter:udp port 53", "last:"},
		"ssh":         {"directory:" + r.dir, "host:ssh://sensor", "filter:udp port 53", "until:2038-01-01"},
		"ssh in one":  {"host:ssh://sensor" + r.dir, "filter:udp port 53", "until:2038-01-01"},
	} {
		there := filepath.Join(t.TempDir(), "there")
		code, _, stderr := tsharked(append([]string{"-i", "capd-history", "-f", "udp", "-w", there}, options(fields...)...)...)
		if code != 0 || !strings.Contains(stderr, "complete: 20 packets") && !strings.Contains(stderr, "INCOMPLETE: 20 packets") {
			t.Fatalf("%s: exit %d, %s", name, code, stderr)
		}
		if a, b := frames(t, here), frames(t, there); a != b || strings.Count(a, "\n") != 20 {
			t.Errorf("%s: %s\nby way of tshark\n%s", name, a, b)
		}
		noCustomBlocks(t, there)
	}
	out := filepath.Join(t.TempDir(), "out")
	code, _, stderr = tsharked(append([]string{"-i", "capd-history", "-w", out}, options("directory:"+r.dir, "filter:udp port 53", "last:", "quiet:true")...)...)
	if code != 0 || strings.Contains(stderr, "capd: ") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	code, stdout, stderr = tsharked(append([]string{"-i", "capd-history", "-T", "fields", "-e", "udp.dstport"}, options("directory:"+r.dir, "filter:udp port 53", "last:")...)...)
	if code != 0 || strings.Count(stdout, "\n") != 20 { // it shows each, live
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
}

// noCustomBlocks fails if a pcapng file has one: tshark would show a packet less for each while it captures.
func noCustomBlocks(t *testing.T, path string) {
	t.Helper()
	data := contents(t, path)
	for len(data) >= 12 {
		kind, size := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		if kind&^0x40000000 == 0xBAD {
			t.Error("a custom block")
		}
		data = data[min(int(size), len(data)):]
	}
}

// TestExtcapShort: an empty answer is none that failed, and what is wrong is said where Wireshark says it.
func TestExtcapShort(t *testing.T) {
	asExtcap(t)
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		fields []string
		code   int
		want   string
	}{
		{[]string{"directory:" + dir}, 0, "Error by extcap pipe: capd: INCOMPLETE: 0 packets; nothing is known"},
		{[]string{"directory:" + dir + "/none"}, 1, "none: no such file or directory"},
		{[]string{"directory:" + dir, "filter:tcp prot 80"}, 1, "filter: offset 4"},
		{[]string{"directory:" + dir, "since:noon"}, 1, `"noon" is neither a time`},
		{[]string{"directory:" + dir, "since:1h", "around:14:03"}, 1, "14:03:27±30s"},
		{[]string{"host:sensor"}, 1, "write ssh://"},
	} {
		code, stdout, stderr := tsharked(append([]string{"-i", "capd-history", "-w", out}, options(c.fields...)...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit %d, no %q in %s%s", c.fields, code, c.want, stdout, stderr)
		}
	}
}

// A saidInTime fails the test if something is said when the fifo has ended.
type saidInTime struct {
	t    *testing.T
	fifo int // reads it
	bytes.Buffer
}

func (w *saidInTime) Write(b []byte) (int, error) {
	var packets [4 << 10]byte
	n, err := 1, error(nil)
	for n > 0 {
		n, err = unix.Read(w.fifo, packets[:])
	}
	if err != unix.EAGAIN {
		w.t.Errorf("the fifo has ended before %q: %v", b, err)
	}
	return w.Buffer.Write(b)
}

// TestExtcapSaysInTime: what is wrong, and the verdict, are said before the fifo ends, since Wireshark may look no later.
func TestExtcapSaysInTime(t *testing.T) {
	dir, fifo := t.TempDir(), filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--directory " + dir:                                "INCOMPLETE: 0 packets",
		"--directory " + dir + "/none":                      "no such file",
		"--directory " + dir + " --since 1h --around 14:03": "14:03:27±30s",
		"--host sensor":                                     "write ssh://",
	} {
		reads, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		errs := saidInTime{t: t, fifo: reads}
		words := append([]string{"extcap", "--capture", "--extcap-interface", extcapHistory, "--fifo", fifo}, strings.Fields(args)...)
		run(t.Context(), words, io.Discard, &errs, nil)
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%s: no %q in %s", args, want, errs.String())
		}
		_ = unix.Close(reads)
	}
}

// TestExtcapStopped: tshark ends capd when it has enough, and that is no error.
func TestExtcapStopped(t *testing.T) {
	dir := hoard(t)
	asExtcap(t)
	code, stdout, stderr := tsharked(append([]string{"-i", "capd-history", "-c", "1"}, options("directory:"+dir, "last:")...)...)
	if code != 0 || strings.Count(stdout, "\n") != 1 || strings.Contains(stderr, "broken pipe") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
}

// TestExtcapLive: what comes on an interface is shown, until tshark has enough.
func TestExtcapLive(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	asExtcap(t)
	s := testnet.NewSender(t, "v0")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		code, stdout, stderr := tsharked("-i", "capd-live-v1", "-f", "udp", "-o", "extcap.capd_live_v1.filter:port 53", "-c", "3", "-T", "fields", "-e", "udp.dstport")
		if code != 0 || stdout != "53\n53\n53\n" || strings.Contains(stderr, "capd: ") {
			t.Errorf("exit %d, %s%s", code, stdout, stderr)
		}
	}()
	for {
		select {
		case <-ended:
			return
		case <-time.After(20 * time.Millisecond):
			s.Send(udpFrame(1, 53, "x"))
			s.Send(udpFrame(1, 54, "x"))
		}
	}
}

// TestExtcapCalls: what Wireshark asks before it captures, and what makes no sense.
func TestExtcapCalls(t *testing.T) {
	for args, want := range map[string]struct {
		code         int
		stdout, errs string
	}{
		"--extcap-interfaces --extcap-version=4.4":                         {0, "interface {value=capd-history}{display=capd history}\n", ""},
		"--extcap-config --extcap-interface capd-history":                  {0, "{call=--last}{display=Last}{type=string}", ""},
		"--extcap-config --extcap-interface capd-live-lo --extcap-other x": {0, "{call=--snaplen}", ""},
		"--extcap-dlts --extcap-interface capd-history":                    {0, "dlt {number=1}{name=EN10MB}", ""},
		"--extcap-interface capd-history --extcap-capture-filter tcp":      {0, "", ""},
		"--extcap-interface capd-history --extcap-capture-filter prot":     {0, "compile filter: ", ""},
		"--extcap-config --extcap-interface lo":                            {2, "", "there is no interface lo"},
		"--capture --extcap-interface capd-history":                        {2, "", "--capture needs --fifo"},
		"--capture --extcap-interface capd-history --fifo /none/x":         {1, "", "no such file"},
		"": {2, "", "Wireshark and its tools call this"},
		"--capture --extcap-interface capd-live-none --fifo /dev/null --snaplen 1000 --quiet": {1, "", "none"},
	} {
		code, stdout, stderr := capd(append([]string{"extcap"}, strings.Fields(args)...)...)
		if code != want.code || !strings.Contains(stdout, want.stdout) || want.stdout == "" && stdout != "" || !strings.Contains(stderr, want.errs) || want.errs == "" && stderr != "" {
			t.Errorf("%s: exit %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

// TestExtcapReaderGone: a reader that goes away ends the answer, without a word.
func TestExtcapReaderGone(t *testing.T) {
	dir := hoard(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, errs := process(t, "extcap", "--capture", "--extcap-interface", extcapHistory, "--fifo", fifo, "--directory", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1000)); err != nil {
		t.Error(err)
	}
	r.Close()
	if err := cmd.Wait(); err != nil || errs.Len() > 0 {
		t.Errorf("%v, %s", err, errs)
	}
}
