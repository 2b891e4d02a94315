package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"capd/internal/control"
	"capd/internal/testnet"
	"capd/store"

	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// reloadable starts a capd with a file, and returns what it says, for after its
// end.
func reloadable(t *testing.T, sandbox string) (r *running, cmd *exec.Cmd, said fmt.Stringer) {
	t.Helper()
	testnet.Veth(t, "v0", "v1", 1500)
	r = &running{t: t, dir: t.TempDir()}
	r.config, r.socket = filepath.Join(t.TempDir(), "capd.toml"), filepath.Join(t.TempDir(), "capd.sock")
	r.configure(fmt.Sprintf("sandbox = %q", sandbox))
	cmd, errs := process(t, "run", "-c", r.config, "--log-format", "text")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			_ = cmd.Wait() // if that is not done
			t.Log(errs)
		}
	})
	recording(t, testnet.NewSender(t, "v0"), r.dir)
	return r, cmd, errs
}

// reload gives the file more and has it read, and returns what capd reload says.
func (r *running) reload(dir, more string) (code int, says string) {
	r.t.Helper()
	at := r.dir
	r.dir = dir
	r.configure(more)
	r.dir = at
	code, out, why := capd("reload", "--socket", r.socket)
	return code, out + why
}

// TestReloadInSandbox: what the sandbox lets be is taken, a directory beneath
// one of the start's and a compression; for the rest a restart is asked for, and
// nothing changes.
func TestReloadInSandbox(t *testing.T) {
	if n, err := landlocksys.LandlockGetABIVersion(); err != nil || n < 1 {
		t.Skipf("needs a kernel with Landlock: %v", err)
	}
	r, cmd, said := reloadable(t, "auto")
	elsewhere, link, below := t.TempDir(), filepath.Join(r.dir, "link"), filepath.Join(r.dir, "below")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	for dir, more := range map[string]string{
		elsewhere:                         "",
		link:                              "",
		filepath.Join(r.dir, "..", "out"): "",
		r.dir:                             "[finished]\nhook = [\"/bin/true\"]",
	} {
		if code, says := r.reload(dir, more); code != 1 || !strings.Contains(says, "restart capd") {
			t.Errorf("%s %s: exit %d: %s", dir, more, code, says)
		}
	}
	if code, says := r.reload(below, "[finished]\ncompress = \"zstd\""); code != 0 {
		t.Fatalf("a directory beneath: %s", says)
	}
	recording(t, testnet.NewSender(t, "v0"), below)
	r.await("the new directory alone", func(s *control.Status) bool {
		return len(s.Directories) == 1 && s.Directories[0].Path == below
	})
	if code, out, why := capd("rotate", "--socket", r.socket); code != 0 {
		t.Errorf("%s%s", out, why)
	}
	r.await("a compressed file", func(*control.Status) bool {
		found, _ := filepath.Glob(filepath.Join(below, "*.zst"))
		return len(found) == 1
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || strings.Contains(said.String(), "level=ERROR") {
		t.Errorf("%v\n%s", err, said)
	}
	for _, dir := range []string{r.dir, below} {
		if c, err := store.ReadContents(dir); err != nil || len(c.Partials) > 0 {
			t.Errorf("%s: %+v, %v", dir, c, err)
		}
	}
}

// TestReloadFree: without the sandbox all of that is taken; and the log's level
// changes with the file.
func TestReloadFree(t *testing.T) {
	r, cmd, said := reloadable(t, "off")
	elsewhere := t.TempDir()
	mark := filepath.Join(t.TempDir(), "mark")
	if code, says := r.reload(elsewhere, fmt.Sprintf("sandbox = \"off\"\n[finished]\nhook = [\"/bin/touch\", %q]\n[log]\nlevel = \"debug\"", mark)); code != 0 {
		t.Fatalf("%s", says)
	}
	recording(t, testnet.NewSender(t, "v0"), elsewhere)
	if code, out, why := capd("rotate", "--socket", r.socket); code != 0 {
		t.Errorf("%s%s", out, why)
	}
	r.await("the hook", func(*control.Status) bool {
		_, err := os.Stat(mark)
		return err == nil
	})
	if code, says := r.reload(elsewhere, "sandbox = \"off\"\n[log]\nlevel = \"error\""); code != 0 {
		t.Fatalf("%s", says)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	finished, read := "level=DEBUG msg=\"file finished\"", "the configuration was read again"
	_, after, _ := strings.Cut(said.String(), read)
	if n := strings.Count(after, finished); n == 0 || strings.Count(said.String(), finished) != n {
		t.Errorf("debugging does not begin with the reload:\n%s", said)
	}
	if _, after, _ = strings.Cut(after, read); strings.Contains(after, "level=DEBUG") {
		t.Errorf("debugging does not end with the reload:\n%s", said)
	}
}
