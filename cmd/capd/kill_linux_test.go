package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"capd/internal/testnet"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// flushBound is how old a frame may be when capd is killed and still be lost:
// the flush interval, the ring's block timeout, and what a busy machine takes
// to run either.
const flushBound = 200*time.Millisecond + 20*time.Millisecond + time.Second

const killConfig = `
directory = %q
flush_interval = "200ms"
block_timeout = "20ms"
ring_size = "16MiB"
chunk_size = "1MiB"
pool_size = "4MiB"
rotate_size = "1MiB"
rotate_interval = "1s"
format = "%s"
[[interface]]
name = "v1"
`

// TestKill kills capd with SIGKILL at random moments under load and rotation.
// After the restart every frame older than the flush interval is there, none
// twice, all files are whole, and the ledger knows them. CAPD_KILLS says how
// often; 200 for a long run.
func TestKill(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 9000)
	kills := 20
	if n, err := strconv.Atoi(os.Getenv("CAPD_KILLS")); err == nil {
		kills = n
	}
	k := killer{t: t, dir: t.TempDir(), send: testnet.NewSender(t, "v0")}
	k.config = filepath.Join(k.dir, "capd.toml")
	text := fmt.Sprintf(killConfig, k.files(), []string{"pcap", "pcapng"}[kills%2])
	if err := os.WriteFile(k.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for range kills {
		k.round(time.Duration(rand.IntN(700)) * time.Millisecond)
	}
	cmd := k.start()
	k.awaitRecording()
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	k.verify()
}

// A killer sends numbered frames and knows which of them capd must have.
type killer struct {
	t      *testing.T
	dir    string
	config string
	send   *testnet.Sender
	sent   []time.Time // by number
	must   []uint32    // frames that were flushed before a kill
	starts int
}

func (k *killer) start() *exec.Cmd {
	k.t.Helper()
	cmd, errs := process(k.t, "run", "-c", k.config, "--log-format", "text")
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.starts++
	k.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if k.t.Failed() {
			k.t.Logf("%s", errs)
		}
	})
	return cmd
}

func (k *killer) files() string { return filepath.Join(k.dir, "files") }

// frame sends the next one.
func (k *killer) frame() {
	n := uint32(len(k.sent))
	f := make([]byte, 60+int(n%37)*200)
	f[12], f[13] = 0x88, 0xb5
	binary.BigEndian.PutUint32(f[14:], n)
	for i := 18; i < len(f); i++ {
		f[i] = byte(n)
	}
	k.sent = append(k.sent, time.Now())
	k.send.Send(f)
}

// awaitRecording sends frames until this run of capd has a file.
func (k *killer) awaitRecording() {
	k.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		k.frame()
		starts := 0
		for e := range ledger.Read(k.files(), nil) {
			if e.Kind == ledger.KindStart {
				starts++
			}
		}
		if c, err := store.ReadContents(k.files()); err == nil && len(c.Partials) > 0 && starts == k.starts {
			return
		}
	}
	k.t.Fatal("nothing is recorded")
}

// round lets capd record for a while and kills it.
func (k *killer) round(d time.Duration) {
	k.t.Helper()
	cmd := k.start()
	k.awaitRecording()
	first := len(k.sent)
	for end := time.Now().Add(d + flushBound); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for range 5 {
			k.frame()
		}
	}
	killed := time.Now()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for n := first; n < len(k.sent); n++ {
		if killed.Sub(k.sent[n]) > flushBound {
			k.must = append(k.must, uint32(n))
		}
	}
}

// verify reads all files.
func (k *killer) verify() {
	k.t.Helper()
	entries, err := os.ReadDir(k.files())
	if err != nil {
		k.t.Fatal(err)
	}
	known := map[string]ledger.Entry{} // the last line of each file
	for e, err := range ledger.Read(k.files(), nil) {
		if err != nil {
			k.t.Error(err)
		}
		if e.Kind == ledger.KindFile {
			known[e.Name] = e
		}
	}
	got := map[uint32]bool{}
	for _, e := range entries {
		switch _, err := store.ParseName(e.Name()); {
		case err == nil:
			before := len(got)
			k.read(filepath.Join(k.files(), e.Name()), got)
			line := known[e.Name()]
			if n := uint64(len(got) - before); line.Packets != n || line.Received != n+line.KernelDropped+line.CapdDropped {
				k.t.Errorf("%s has %d packets; the ledger says %+v", e.Name(), n, line)
			}
		case !slices.Contains([]string{ledger.FileName, ".capd.lock"}, e.Name()):
			k.t.Errorf("left behind: %s", e.Name())
		}
	}
	missing := 0
	for _, n := range k.must {
		if !got[n] {
			missing++
		}
	}
	k.t.Logf("%d frames sent, %d in files, %d had to be", len(k.sent), len(got), len(k.must))
	if missing > 0 {
		k.t.Errorf("%d frames are missing", missing)
	}
}

func (k *killer) read(path string, got map[uint32]bool) {
	k.t.Helper()
	h, err := os.Open(path)
	if err != nil {
		k.t.Fatal(err)
	}
	defer h.Close()
	rd, err := pcap.NewReader(h)
	if err != nil {
		k.t.Fatalf("%s: %v", path, err)
	}
	for {
		p, err := rd.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			k.t.Errorf("%s: %v", path, err)
			return
		}
		n := binary.BigEndian.Uint32(p.Data[14:])
		if got[n] {
			k.t.Errorf("%s: frame %d is there twice", path, n)
		}
		if len(p.Data) != 60+int(n%37)*200 || p.Data[len(p.Data)-1] != byte(n) {
			k.t.Errorf("%s: frame %d is damaged", path, n)
		}
		got[n] = true
	}
}
