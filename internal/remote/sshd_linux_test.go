package remote_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/pcap"
)

// A sensor is this machine, reached by a real ssh, with a capd and recordings.
type sensor struct {
	address string // of the recordings
	dir     string // the same
	capd    string
	env     []string // whose ssh knows the sensor
}

// newSensor runs a server of OpenSSH on loopback.
func newSensor(t *testing.T, packets int) *sensor {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	const server = "/usr/sbin/sshd"
	path := make(map[string]string)
	for _, program := range []string{server, "ssh", "ssh-keygen", "go"} {
		if path[program], err = exec.LookPath(program); err != nil {
			t.Skipf("needs %v", err)
		}
	}
	if exec.Command("su", "-s", "/bin/sh", "-c", "exit 0", me.Username).Run() != nil {
		t.Skip("this user can't log in")
	}
	if me.Uid == "0" {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // which its service would make
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	run := func(program string, args ...string) {
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
	}
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"host", "user"} {
		run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
	}
	s := &sensor{dir: filepath.Join(dir, "it's here"), capd: filepath.Join(dir, "bin/capd")}
	run("go", "build", "-o", s.capd, "capd/cmd/capd")
	recordings(t, s.dir, packets)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	write("bin/ssh", fmt.Sprintf("#!/bin/sh\nexec %s -F %s/config \"$@\"\n", path["ssh"], dir), 0o700)
	write("config", fmt.Sprintf("IdentityFile %[1]s/user\nIdentitiesOnly yes\nUserKnownHostsFile %[1]s/known\nStrictHostKeyChecking accept-new\nLogLevel ERROR\n", dir), 0o600)
	s.env = append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"))
	write("sshd", fmt.Sprintf("HostKey %[1]s/host\nAuthorizedKeysFile %[1]s/user.pub\nStrictModes no\nUsePAM no\nPidFile none\nSetEnv PATH=%[1]s/bin:/usr/bin:/bin\n"+
		"PermitRootLogin prohibit-password\nListenAddress 127.0.0.1:%[2]d\n", dir, port), 0o600)
	cmd := exec.Command(server, "-D", "-e", "-f", filepath.Join(dir, "sshd"))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", errs.String())
		}
	})
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", at)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	s.address = "ssh://" + me.Username + "@" + at + strings.ReplaceAll(s.dir, " ", "%20")
	return s
}

// recordings makes a directory with one file, of packets with 1,400 bytes.
func recordings(t *testing.T, dir string, packets int) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	e := pcap.NewEncoder(pcap.Header{Format: pcap.PCAPNG, Interface: "eth0", LinkType: pcap.LinkTypeEthernet, Snaplen: pcap.MaxSnaplen})
	file := bytes.NewBuffer(e.Header())
	to := make([]byte, 2000)
	for i := range packets {
		data := bytes.Repeat([]byte{byte(i)}, 1400)
		n, _ := e.Encode(to, []pcap.Packet{{Sec: uint32(1767322000 + i), Data: data, Length: uint32(len(data))}})
		file.Write(to[:n])
	}
	if err := os.WriteFile(filepath.Join(dir, "eth0-20260102T024640Z-000001.pcapng"), file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// extract runs capd extract here.
func (s *sensor) extract(args ...string) *exec.Cmd {
	cmd := exec.Command(s.capd, append([]string{"extract"}, args...)...)
	cmd.Env = s.env
	return cmd
}

// TestOverSSH: the answer that comes over a real ssh is that of the machine itself, to the last packet, verdict and exit code.
func TestOverSSH(t *testing.T) {
	s := newSensor(t, 20000) // much more than pipes and sockets hold
	t.Run("whole", s.testWhole)
	t.Run("interrupted", s.testInterrupted)
}

func (s *sensor) testWhole(t *testing.T) {
	here, there := filepath.Join(t.TempDir(), "here"), filepath.Join(t.TempDir(), "there")
	for i, path := range []string{here, there} {
		from := []string{s.dir, "--host=" + s.address}[i]
		cmd := s.extract(from, "-w", path, "--format", "pcap", "ether[0] = 0x21")
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "INCOMPLETE: 78 packets") || !strings.Contains(string(out), "78 packets, 109200 bytes in "+path) {
			t.Fatalf("%s: exit %d, %v\n%s", from, code, err, out)
		}
	}
	a, err := os.ReadFile(here)
	b, err2 := os.ReadFile(there)
	if err != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Errorf("%d and %d bytes, %v, %v", len(a), len(b), err, err2)
	}
	cmd := s.extract("--host", "ssh://127.0.0.1:1")
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "Connection refused") || !strings.Contains(string(out), "hint: this must work: ssh -p 1 -- 127.0.0.1 capd version") {
		t.Errorf("exit %d, %s", cmd.ProcessState.ExitCode(), out)
	}
}

// testInterrupted: Ctrl-C, which all that runs on a terminal gets, ends both sides: what came is whole, and has the verdict.
func (s *sensor) testInterrupted(t *testing.T) {
	cmd := s.extract("--host", s.address, "-w", "-")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var errs, got bytes.Buffer
	cmd.Stderr = &errs
	rd, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(&got, rd, 100_000); err != nil {
		t.Fatalf("%v, %s", err, &errs)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(&got, rd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit %d, %s", cmd.ProcessState.ExitCode(), &errs)
	}
	r, err := pcap.NewReader(bytes.NewReader(got.Bytes()))
	n := 0
	for ; err == nil; n++ {
		_, err = r.Next()
	}
	if err != io.EOF || n < 60 || n >= 20000 || !bytes.Contains(got.Bytes(), []byte("verdict: INCOMPLETE: ")) {
		t.Errorf("%d packets, %v", n, err)
	}
}
