package finish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"capd/internal/frames"
	"capd/pcap"
	"capd/store"
)

// TestCompressedOpensInWireshark also shows that a file larger than every
// window is one frame: tshark reads only the first frame.
func TestCompressedOpensInWireshark(t *testing.T) {
	for _, test := range []struct {
		kind    Compression
		level   int
		packets int
		format  pcap.Format
	}{
		{Zstd, 0, 30000, pcap.PCAPNG},
		{Zstd, 1, 2000, pcap.PCAP},
		{Zstd, 3, 2000, pcap.PCAPNG},
		{Zstd, 19, 2000, pcap.PCAP},
		{Zstd, 1, 0, pcap.PCAP},
		{Gzip, 0, 30000, pcap.PCAPNG},
		{Gzip, 9, 2000, pcap.PCAP},
	} {
		t.Run(fmt.Sprintf("%s/%d/%v/%d", test.kind, test.level, test.format, test.packets), func(t *testing.T) {
			dir := t.TempDir()
			r := newRig(t, Options{Directory: opened(t, dir), Compression: test.kind, Level: test.level})
			f := capture(t, dir, 1, test.packets, test.format)
			if err := os.Chmod(f.Path, 0o666); err != nil { // the umask may have reduced the mode
				t.Fatal(err)
			}
			mtime := start.Add(123456789)
			if err := os.Chtimes(f.Path, mtime, mtime); err != nil {
				t.Fatal(err)
			}
			original := content(t, f.Path)
			r.Add(f)
			r.run()
			o := r.outcome()
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			target := f.Path + test.kind.Ext()
			want(t, dir, filepath.Base(target))
			info, err := os.Stat(target)
			if err != nil || info.Mode() != 0o666 || !info.ModTime().Equal(mtime) {
				t.Errorf("%v, %v", info, err)
			}
			if o.Step != Compress || o.Name != f.Name || o.Path != target || o.Size != f.Size || o.Packed != info.Size() ||
				o.SHA256 != sha(original) {
				t.Errorf("outcome %+v", o)
			}
			tool(t, test.kind, target, original)
			countPackets(t, target, test.packets)
		})
	}
}

// tool decompresses with the format's own program.
func tool(t *testing.T, kind Compression, path string, original []byte) {
	t.Helper()
	program := map[Compression]string{Zstd: "zstd", Gzip: "gzip"}[kind]
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("needs " + program)
	}
	out, err := exec.Command(program, "-dc", path).Output()
	if err != nil || !bytes.Equal(out, original) {
		t.Errorf("%s: %d bytes, %v", program, len(out), err)
	}
}

func countPackets(t *testing.T, path string, packets int) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark")
	}
	var stderr bytes.Buffer
	cmd := exec.Command("tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.number")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if got := bytes.Count(out, []byte("\n")); err != nil || got != packets || strings.Contains(stderr.String(), "cut short") {
		t.Errorf("tshark: %d packets, want %d: %v: %s", got, packets, err, stderr.Bytes())
	}
	if out, err = exec.Command("capinfos", "-T", "-r", "-c", "-M", path).Output(); err != nil {
		t.Errorf("capinfos: %v", err)
	}
	if !strings.HasSuffix(strings.TrimSpace(string(out)), fmt.Sprintf("\t%d", packets)) {
		t.Errorf("capinfos: %q, want %d packets", out, packets)
	}
}

// damage changes the compressed file before it is verified, as a bad disk
// would.
var damage = map[string]func(b []byte) []byte{
	"bit":      func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	"cut":      func(b []byte) []byte { return b[:len(b)-10] },
	"empty":    func([]byte) []byte { return nil },
	"appended": func(b []byte) []byte { return append(b, "garbage"...) },
	"twice":    func(b []byte) []byte { return append(b, b...) },
	"zeros":    func(b []byte) []byte { clear(b[len(b)/2:]); return b },
}

func TestVerifyFailureKeepsOriginal(t *testing.T) {
	for _, kind := range compressions {
		for name, spoil := range damage {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				dir := t.TempDir()
				f := capture(t, dir, 1, 500, pcap.PCAPNG)
				original := content(t, f.Path)
				c := newRig(t, Options{Directory: opened(t, dir), Compression: kind}).pack
				c.stage = func(stage string) {
					if stage != stageWritten {
						return
					}
					tmp := f.Path + kind.Ext() + store.Packing.Ext()
					if err := os.WriteFile(tmp, spoil(content(t, tmp)), 0o600); err != nil {
						t.Error(err)
					}
				}
				_, err := c.run(f.Name.String())
				if err == nil || !strings.Contains(err.Error(), "verify ") {
					t.Errorf("error %v", err)
				}
				want(t, dir, f.Name.String())
				if !bytes.Equal(content(t, f.Path), original) {
					t.Error("the original is damaged")
				}
			})
		}
	}
}

// TestFailureIsTriedAgain checks the pauses between tries.
func TestFailureIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd})
		const failures = 9
		var tries []time.Duration
		begin := time.Now()
		r.pack.stage = func(stage string) {
			if stage != stageWritten {
				return
			}
			tries = append(tries, time.Since(begin))
			if len(tries) <= failures {
				_ = os.Truncate(filepath.Join(dir, nameOf(1, pcap.PCAP).String()+".zst.tmp"), 9)
			}
		}
		go r.Run(t.Context())
		r.Add(capture(t, dir, 1, 10, pcap.PCAP))
		for n := range failures {
			if o := <-r.outcomes; o.Err == nil || o.Step != Compress {
				t.Errorf("try %d: %+v", n, o)
			}
			if s := r.Stats(); s.Failing != 1 {
				t.Errorf("stats %+v", s)
			}
		}
		if o := <-r.outcomes; o.Err != nil {
			t.Error(o.Err)
		}
		r.close()
		if got, want := fmt.Sprint(tries), "[0s 1m0s 3m0s 7m0s 15m0s 31m0s 1h3m0s 2h3m0s 3h3m0s 4h3m0s]"; got != want {
			t.Errorf("tries at %s, want %s", got, want)
		}
		if s := r.Stats(); s.Failing != 0 || s.Failed[Compress] != failures || s.Done[Compress] != 1 {
			t.Errorf("stats %+v", s)
		}
		want(t, dir, nameOf(1, pcap.PCAP).String()+".zst")
	})
}

func TestSpaceIsCheckedFirst(t *testing.T) {
	dir := t.TempDir()
	f := capture(t, dir, 1, 10, pcap.PCAP)
	c := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd, KeepFree: 1 << 62}).pack
	c.stage = func(stage string) { t.Errorf("%s without space", stage) }
	if _, err := c.run(f.Name.String()); !errors.Is(err, errNoSpace) {
		t.Errorf("error %v", err)
	}
	want(t, dir, f.Name.String())
}

// TestForeignFileStays: a file that has the name of the compressed one but
// other contents stays.
func TestForeignFileStays(t *testing.T) {
	for _, foreign := range []string{"", "not compressed at all"} {
		dir := t.TempDir()
		f := capture(t, dir, 1, 10, pcap.PCAP)
		target := f.Path + ".zst"
		if err := os.WriteFile(target, []byte(foreign), 0o600); err != nil {
			t.Fatal(err)
		}
		c := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd}).pack
		if _, err := c.run(f.Name.String()); err == nil {
			t.Error("no error")
		}
		want(t, dir, f.Name.String(), f.Name.String()+".zst")
		if got := content(t, target); string(got) != foreign {
			t.Errorf("the foreign file is %q", got)
		}
	}
}

// TestOthersMeanwhile: the original is deleted or changed while it is being
// compressed.
func TestOthersMeanwhile(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(path string) error
		left int
	}{
		"deleted":  {os.Remove, 0},
		"appended": {func(path string) error { return os.WriteFile(path, make([]byte, 99), 0o600) }, 1},
		"replaced": {func(path string) error {
			return errors.Join(os.WriteFile(path+"x", nil, 0o600), os.Rename(path+"x", path))
		}, 1},
		"taken": {func(path string) error { return os.WriteFile(path+".zst", nil, 0o600) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := capture(t, dir, 1, 10, pcap.PCAP)
			c := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd}).pack
			c.stage = func(stage string) {
				if stage == stageWritten {
					if err := test.do(f.Path); err != nil {
						t.Error(err)
					}
				}
			}
			if _, err := c.run(f.Name.String()); err == nil {
				t.Error("no error")
			}
			if got := names(t, dir); len(got) != test.left {
				t.Errorf("left: %q", got)
			}
		})
	}
}

func TestOnlyRegularFiles(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	f := capture(t, elsewhere, 1, 10, pcap.PCAP)
	link := filepath.Join(dir, f.Name.String())
	if err := os.Symlink(f.Path, link); err != nil {
		t.Fatal(err)
	}
	c := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd}).pack
	if _, err := c.run(f.Name.String()); err == nil {
		t.Error("a link is followed")
	}
	want(t, dir, f.Name.String())
}

// TestCloseGivesUpCompression closes the Queue in the middle of a file.
func TestCloseGivesUpCompression(t *testing.T) {
	dir := t.TempDir()
	f := capture(t, dir, 1, 6000, pcap.PCAP) // larger than one copySize
	r := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd})
	writing, goOn := make(chan bool, 100), make(chan bool)
	r.pack.stage = func(string) { writing <- true; <-goOn }
	r.Add(f)
	r.run()
	<-writing
	closed := make(chan error, 1)
	go func() { closed <- r.Close(context.Background()) }()
	<-r.stop.Done()
	close(goOn)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	want(t, dir, f.Name.String())
	if len(r.outcomes) > 0 {
		t.Errorf("reported %+v", <-r.outcomes)
	}
}

// TestSettingsMayChange completes a compression that a run with other settings
// began.
func TestSettingsMayChange(t *testing.T) {
	dir := t.TempDir()
	f := capture(t, dir, 1, 100, pcap.PCAP)
	original := content(t, f.Path)
	if _, err := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd}).pack.run(f.Name.String()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Path, original, 0o600); err != nil { // the original, as before a crash
		t.Fatal(err)
	}
	r := newRig(t, Options{Directory: opened(t, dir), Compression: None})
	r.run()
	if o := r.outcome(); o.Err != nil || o.Path != f.Path+".zst" || o.SHA256 != sha(original) {
		t.Errorf("outcome %+v", o)
	}
	want(t, dir, f.Name.String()+".zst")
}

// Environment of a test binary that is to be killed: the directory, and the
// stage at which the binary waits to be killed.
const (
	childDirectory = "CAPD_FINISH_DIRECTORY"
	childStage     = "CAPD_FINISH_STAGE"
	childOut       = "CAPD_FINISH_OUT" // if set: compress in another process, which reports its stages there
)

// child runs a Queue until the process is killed.
func child(dir string) {
	d, err := store.Open(dir)
	if err != nil {
		panic(err)
	}
	opt := Options{Directory: d, Compression: Zstd}
	if out := os.Getenv(childOut); out != "" {
		opt.Self = []string{os.Args[0], "compress", os.Getenv(childStage), out}
	}
	if hook := os.Getenv("CAPD_FINISH_HOOK"); hook != "" {
		opt.Compression, opt.Hook = None, []string{"/bin/sh", "-c", hook}
	}
	q, err := New(opt)
	if err != nil {
		panic(err)
	}
	q.pack.stage = func(stage string) {
		if stage == os.Getenv(childStage) {
			fmt.Println(stage)
			select {}
		}
	}
	if opt.Hook != nil {
		f := finished(dir, nameOf(1, pcap.PCAP)) // after New, which marks existing files as done
		if err := os.WriteFile(f.Path, nil, 0o600); err != nil {
			panic(err)
		}
		q.Add(f)
	}
	q.Run(context.Background())
}

func startChild(t *testing.T, dir string, env ...string) (cmd *exec.Cmd, stdout io.Reader) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDirectory+"="+dir)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // for a test that fails early
	return cmd, stdout
}

// TestKilledCompressionIsCompleted kills the process at every stage, and starts
// another one that completes the compression.
func TestKilledCompressionIsCompleted(t *testing.T) {
	base := nameOf(1, pcap.PCAP).String()
	for stage, left := range map[string][]string{
		stageWriting:  {base, base + ".zst.tmp"},
		stageWritten:  {base, base + ".zst.tmp"},
		stageVerified: {base, base + ".zst.tmp"},
		stageRenamed:  {base, base + ".zst"},
	} {
		t.Run(stage, func(t *testing.T) {
			dir := t.TempDir()
			f := capture(t, dir, 1, 6000, pcap.PCAP)
			original := content(t, f.Path)
			cmd, stdout := startChild(t, dir, childStage+"="+stage)
			if _, err := io.ReadAtLeast(stdout, make([]byte, 10), 1); err != nil {
				t.Error(err)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			want(t, dir, left...)
			if !bytes.Equal(content(t, f.Path), original) {
				t.Error("the original is damaged")
			}
			r := newRig(t, Options{Directory: opened(t, dir), Compression: Zstd})
			r.run()
			if o := r.outcome(); o.Err != nil || o.SHA256 != sha(original) {
				t.Errorf("outcome %+v", o)
			}
			want(t, dir, base+".zst")
			tool(t, Zstd, f.Path+".zst", original)
		})
	}
}

// TestSeekable: parts of gzip files can be read, and of zstd files if that is asked for.
func TestSeekable(t *testing.T) {
	for _, kind := range compressions {
		for _, seekable := range []bool{false, true} {
			dir := t.TempDir()
			f := capture(t, dir, 1, 12_000, pcap.PCAPNG) // more than a frame may have
			original := content(t, f.Path)
			r := newRig(t, Options{Directory: opened(t, dir), Compression: kind, Seekable: seekable, Self: []string{os.Args[0], "compress"}})
			r.Add(f)
			r.run()
			o := r.outcome()
			if o.Err != nil || o.SHA256 != sha(original) {
				t.Errorf("%v, %v: %+v", kind, seekable, o)
			}
			_, got := frames.Open(bytes.NewReader(content(t, o.Path)))
			if want := seekable || kind == Gzip; got != want {
				t.Errorf("%v, %v: in frames: %v", kind, seekable, got)
			}
			tool(t, kind, o.Path, original)
		}
	}
}
