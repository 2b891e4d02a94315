package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"capd/internal/testnet"
	"capd/ledger"
	"capd/pcap"
	"capd/store"
)

// A supervisor does what systemd does with the descriptors of a service: it holds those that capd
// stores, and passes them to the next process.
type supervisor struct {
	t    *testing.T
	conn *net.UnixConn
	path string

	program string // that start starts; empty: this one

	mu     sync.Mutex // guards what follows
	store  map[string][]*os.File
	ready  chan struct{} // closed by READY=1 of the present process
	synced chan struct{}
}

func newSupervisor(t *testing.T) *supervisor {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{t: t, conn: conn, path: path, store: make(map[string][]*os.File), synced: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
		for name := range s.store {
			s.remove(name)
		}
	})
	return s
}

// serve follows the messages of capd.
func (s *supervisor) serve() {
	buf, oob := make([]byte, 4096), make([]byte, 4096)
	for {
		n, nOob, _, _, err := s.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		var files []*os.File
		if messages, err := syscall.ParseSocketControlMessage(oob[:nOob]); err == nil {
			for i := range messages {
				fds, _ := syscall.ParseUnixRights(&messages[i])
				for _, fd := range fds {
					syscall.CloseOnExec(fd)
					files = append(files, os.NewFile(uintptr(fd), "stored"))
				}
			}
		}
		s.follow(strings.Split(string(buf[:n]), "\n"), files)
	}
}

func (s *supervisor) follow(lines []string, files []*os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := ""
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name = rest
		}
	}
	switch {
	case slices.Contains(lines, "FDSTORE=1"):
		s.store[name] = append(s.store[name], files...)
		return
	case slices.Contains(lines, "FDSTOREREMOVE=1"):
		s.remove(name)
	case slices.Contains(lines, "SYNC"):
		s.synced <- struct{}{}
	case slices.Contains(lines, "READY=1") && s.ready != nil:
		close(s.ready)
		s.ready = nil
	}
	for _, f := range files {
		f.Close()
	}
}

// remove drops descriptors. The caller holds mu, or is alone.
func (s *supervisor) remove(name string) {
	for _, f := range s.store[name] {
		f.Close()
	}
	delete(s.store, name)
}

// sync returns when all messages so far are followed: systemd follows those of a process before it
// learns of its end.
func (s *supervisor) sync() {
	s.t.Helper()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("SYNC")); err != nil {
		s.t.Fatal(err)
	}
	<-s.synced
}

// start starts capd with what is stored, in no order.
func (s *supervisor) start(args ...string) (cmd *exec.Cmd, errs *bytes.Buffer, ready <-chan struct{}) {
	s.t.Helper()
	cmd, errs = process(s.t, args...)
	if s.program != "" {
		cmd.Path, cmd.Args[0] = s.program, s.program
	}
	s.sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, files := range s.store { // Go's maps have no order either
		for _, f := range files {
			names = append(names, name)
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
	}
	s.ready = make(chan struct{})
	ready = s.ready
	// LISTEN_PID is the process's own, which only it knows before it runs.
	cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+s.path, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return cmd, errs, ready
}

// A load sends numbered frames, as many a second as it can up to a limit.
type load struct {
	t    *testing.T
	stop chan struct{}
	done chan uint64
}

// setting returns a number of the environment; without one, what is given.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// mostPerSecond is up to how many frames a second are of all lengths. Above that all are short: files of the others would
// fill the disk in a long run.
const mostPerSecond = 50_000

func startLoad(t *testing.T, name string, perSecond int, tagged bool) *load {
	l := &load{t: t, stop: make(chan struct{}), done: make(chan uint64, 1)}
	t.Logf("frames flow from %v on, %d a second", time.Now().UTC(), perSecond)
	send := testnet.NewSender(t, name)
	go func() {
		frame := make([]byte, 1514)
		at := 12
		if tagged {
			copy(frame[at:], []byte{0x81, 0x00, 0x00, 0x05})
			at += 4
		}
		frame[at], frame[at+1] = 0x88, 0xb5
		n, lengths := uint64(0), uint64(1400)
		if perSecond > mostPerSecond {
			lengths = 60
		}
		for began := time.Now(); ; {
			select {
			case <-l.stop:
				l.done <- n
				return
			default:
			}
			for due := uint64(time.Since(began).Seconds() * float64(perSecond)); n < due; n++ {
				binary.BigEndian.PutUint64(frame[at+2:], n)
				send.Send(frame[:60+n*7%lengths])
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return l
}

// end stops the load and returns how many frames were sent, and have arrived.
func (l *load) end() uint64 {
	close(l.stop)
	sent := <-l.done
	testnet.Arrive(l.t)
	return sent
}

const restartConfig = `
directory = %q
flush_interval = "200ms"
block_timeout = "20ms"
block_size = "512KiB"
ring_size = "64MiB"
chunk_size = "1MiB"
pool_size = "16MiB"
rotate_size = "4MiB"
rotate_interval = "1s"
[control]
socket = %q
[[interface]]
name = %q
%s
`

// TestRestartLosesNothing kills capd at random moments, or ends it in order, while numbered frames
// flow, under a supervisor that keeps its descriptors. Every frame is in the files once. CAPD_KILLS
// says how often, and CAPD_RATE how many frames flow a second.
func TestRestartLosesNothing(t *testing.T) {
	others := []string{"", "snaplen = 1000", "fanout = 2", "ring_size = '32MiB'\nfanout = 2", "rotate_size = '2MiB'", "filter = 'ether proto 0x88b5'"}
	all := map[string]restarts{
		"plain":       {times: 30},
		"lanes":       {times: 10, settings: []string{"fanout = 2\nfilter = 'ether proto 0x88b5 and len > 10'"}},
		"lent":        {times: 20, settings: []string{lentBlocks}, lends: true},
		"tagged":      {times: 10, settings: []string{lentBlocks}, tagged: true, lends: true},
		"any":         {times: 10, iface: "any", settings: []string{"direction = 'in'"}},
		"settings":    {times: 10, settings: others},
		"reload":      {times: 16, settings: others, meanwhile: reloadMeanwhile},
		"rename":      {times: 10, settings: []string{"[[interface]]\nname = 'v2'"}, meanwhile: renameMeanwhile, moves: true},
		"mixed":       {times: 36, settings: []string{"[[interface]]\nname = 'v2'"}, meanwhile: mixedMeanwhile(), moves: true},
		"down":        {times: 6, meanwhile: downMeanwhile, moves: true, loses: true},
		"full":        {times: 5, settings: []string{"ring_size = '4MiB'\nfilter = 'ether proto 0x88b5'"}, meanwhile: fullMeanwhile, loses: true},
		"reload full": {times: 6, settings: []string{"ring_size = '4MiB'", "ring_size = '8MiB'\nfanout = 2"}, meanwhile: reloadFullMeanwhile, loses: true, overlaps: true},
	}
	key := newTestKey(t)
	all["encrypted"] = restarts{times: 20, settings: []string{key.table}, key: key}
	all["encrypted reload"] = restarts{
		times: 16, settings: []string{key.table, newTestKey(t, key).table, "", "snaplen = 1000\n" + key.table}, key: key, meanwhile: reloadMeanwhile,
	}
	for name, r := range all {
		t.Run(name, func(t *testing.T) { testRestarts(t, r) })
	}
}

// lentBlocks makes blocks so small that they are full before their time is over: those are written from the ring.
const lentBlocks = "block_size = '64KiB'\nsnaplen = 2000"

// restarts say how capd is restarted.
type restarts struct {
	times     int
	iface     string   // empty: v1
	lends     bool     // blocks are written from the ring
	tagged    bool     // frames have a VLAN tag
	loses     bool     // frames are missing, and the ledger counts them
	overlaps  bool     // two rings drop frames at the same time, and the ledger counts also what one of them has
	moves     bool     // it has several names, and none of them is always there
	settings  []string // each process gets the next of them; none: the defaults
	key       *testKey // decrypts the files that are encrypted
	programs  []string // each process is the next of them; none: this one
	meanwhile func(t *testing.T, i int, p *os.Process, configure func(settings string), settings []string)
}

// reloadMeanwhile makes capd read other settings shortly before it is killed.
func reloadMeanwhile(_ *testing.T, i int, p *os.Process, configure func(string), settings []string) {
	configure(settings[rand.IntN(len(settings))])
	_ = p.Signal(syscall.SIGHUP)
	if i%3 > 0 {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
	}
}

// renameMeanwhile renames the interface shortly before capd is killed, or while it is not there.
func renameMeanwhile(t *testing.T, i int, p *os.Process, _ func(string), _ []string) {
	if i%3 == 2 {
		_ = p.Kill()
	}
	from, to := "v1", "v2"
	if _, err := net.InterfaceByName(from); err != nil {
		from, to = to, from
	}
	testnet.Rename(t, from, to)
	if i%3 == 0 {
		time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
	}
}

// mixedMeanwhile makes each third kill one during a reload, a rename or a file's end.
func mixedMeanwhile() func(*testing.T, int, *os.Process, func(string), []string) {
	more := []string{"snaplen = 1400\n", "ring_size = '32MiB'\n", "", "rotate_size = '2MiB'\n"}
	return func(t *testing.T, i int, p *os.Process, configure func(string), settings []string) {
		if i%3 > 0 {
			return
		}
		switch i / 3 % 3 {
		case 0:
			reloadMeanwhile(t, rand.IntN(3), p, configure, []string{more[rand.IntN(len(more))] + settings[0]})
		case 1:
			renameMeanwhile(t, rand.IntN(3), p, configure, settings)
		case 2:
			_ = p.Signal(syscall.SIGUSR1)
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		}
	}
}

// downMeanwhile sets the interface down and up again while capd is not there.
func downMeanwhile(t *testing.T, _ int, p *os.Process, _ func(string), _ []string) {
	_ = p.Kill()
	testnet.SetUp(t, "v1", false)
	testnet.SetUp(t, "v1", true)
}

// fullMeanwhile waits until the ring is full.
func fullMeanwhile(_ *testing.T, _ int, p *os.Process, _ func(string), _ []string) {
	_ = p.Kill()
	time.Sleep(700 * time.Millisecond)
}

// reloadFullMeanwhile waits until all rings are full that there are amid a reload, and longer than a takeover looks back.
func reloadFullMeanwhile(t *testing.T, _ int, p *os.Process, configure func(string), settings []string) {
	reloadMeanwhile(t, 1, p, configure, settings)
	_ = p.Kill()
	time.Sleep(1300 * time.Millisecond)
}

// testRestarts restarts capd, each time with the next of the settings.
func testRestarts(t *testing.T, r restarts) {
	testnet.Veth(t, "v0", "v1", 1500)
	restarts, settings, name := setting("CAPD_KILLS", r.times), r.settings, r.iface
	if len(settings) == 0 {
		settings = []string{""}
	}
	if name == "" {
		name = "v1"
	}
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	file := filepath.Join(dir, "capd.toml")
	s := newSupervisor(t)
	if len(r.programs) > 0 {
		restarts = setting("CAPD_RESTARTS", r.times)
	}
	var frames *load
	configure := func(settings string) {
		text := fmt.Appendf(nil, restartConfig, files, filepath.Join(dir, "sock"), name, settings)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range restarts + 1 {
		configure(settings[i%len(settings)])
		if len(r.programs) > 0 {
			s.program = r.programs[i%len(r.programs)]
		}
		began := time.Now()
		cmd, errs, ready := s.start("run", "-c", file, "--log-format", "text")
		select {
		case <-ready:
		case <-time.After(20 * time.Second):
			t.Fatalf("not ready: %s", errs)
		}
		if frames == nil {
			frames = startLoad(t, "v0", setting("CAPD_RATE", 20_000), r.tagged)
		}
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		var sent uint64
		if i == restarts {
			sent = frames.end()
		}
		end := syscall.SIGKILL
		if i%4 == 3 || i == restarts {
			end = syscall.SIGTERM
		}
		if r.meanwhile != nil && i < restarts {
			r.meanwhile(t, i, cmd.Process, configure, settings)
		}
		_ = cmd.Process.Signal(end)
		if err := cmd.Wait(); err != nil && end == syscall.SIGTERM && r.meanwhile == nil {
			t.Errorf("%v: %s", err, errs)
		}
		if testing.Verbose() {
			t.Logf("%v after %v\n%s", end, time.Since(began), errs)
		}
		if i == restarts {
			checkFrames(t, files, sent, r)
		}
	}
}

// checkFrames reads all files: they hold every number up to sent once, and the verdict is that
// nothing is missing.
func checkFrames(t *testing.T, dir string, sent uint64, r restarts) {
	t.Helper()
	known := map[string]ledger.Entry{}
	dropped := uint64(0)
	for e, err := range ledger.Read(dir, nil) {
		if err != nil {
			t.Error(err)
		}
		if e.Kind == ledger.KindFile {
			known[e.Name] = e
		}
		dropped += e.KernelDropped
		if e.Kind == ledger.KindGap && !r.moves {
			t.Errorf("a gap: %+v", e)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]uint8, sent)
	names, blocks := 0, 0
	var paths []string
	for _, e := range entries {
		if _, err := store.ParseName(e.Name()); err != nil {
			if strings.HasSuffix(e.Name(), store.Partial) || strings.HasSuffix(e.Name(), store.DamagedExt) {
				t.Errorf("left behind: %s", e.Name())
			}
			continue
		}
		names++
		path := r.plaintext(t, filepath.Join(dir, e.Name()))
		paths = append(paths, path)
		n := readNumbers(t, path, seen)
		blocks += statisticsBlocks(t, path)
		if line := known[e.Name()]; line.Packets != n || line.Received != n+line.KernelDropped+line.CapdDropped || !line.Clean {
			t.Errorf("%s has %d packets; the ledger says %+v", e.Name(), n, line)
		}
	}
	areWhole(t, paths)
	for name, line := range known {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%v, of which the ledger says %+v", err, line)
		}
	}
	missing, twice := 0, 0
	for i, n := range seen {
		switch {
		case n == 0:
			missing++
			if r.loses {
				continue
			}
			if i == 0 || seen[i-1] != 0 || i+1 == len(seen) || seen[i+1] != 0 {
				t.Logf("missing: %d", i) // the first and the last of each run
			}
		case n > 1:
			twice++
		}
	}
	t.Logf("%d frames in %d files, which have %d statistics blocks", sent, names, blocks)
	if r.lends && os.Getenv("CAPD_RATE") == "" && blocks < 3*names { // frames of a higher rate are short
		t.Errorf("%d statistics blocks in %d files: few blocks of the ring were lent", blocks, names)
	}
	lost := missing
	switch {
	case r.loses && r.moves: // the kernel has dropped them before any socket
		missing = 0
	case r.loses && dropped > 0:
		missing -= int(dropped)
	}
	if r.overlaps {
		missing = max(missing, 0)
	}
	t.Logf("%d frames are missing, and the kernel has dropped %d", lost, dropped)
	if missing != 0 || twice > 0 || sent > 0 && seen[sent-1] == 0 {
		t.Errorf("%d frames are missing, %d are there more than once", missing, twice)
		b, _ := os.ReadFile(filepath.Join(dir, ledger.FileName))
		t.Logf("%s", b)
	}
	verdicts, err := ledger.Judge(ledger.Read(dir, nil), ledger.Question{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts {
		if v.Outcome() != ledger.Complete && !r.moves && !r.loses {
			t.Errorf("%+v", v)
			b, _ := os.ReadFile(filepath.Join(dir, ledger.FileName))
			t.Logf("%s", b)
		}
	}
}

// areWhole checks that capinfos, if there is one, finds each file whole.
func areWhole(t *testing.T, paths []string) {
	t.Helper()
	if _, err := exec.LookPath("capinfos"); err != nil {
		return
	}
	if out, err := exec.Command("capinfos", append([]string{"-M", "-T", "-r", "-c"}, paths...)...).CombinedOutput(); err != nil ||
		bytes.Count(out, []byte("\n")) != len(paths) || bytes.Contains(out, []byte("cut short")) {
		t.Errorf("%d files: %v: %s", len(paths), err, out)
	}
}

// statisticsBlocks counts the interface statistics blocks of a pcapng file: one at its end, and one before each block of
// the ring that was written as it is.
func statisticsBlocks(t *testing.T, path string) (n int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) >= 12 {
		if binary.LittleEndian.Uint32(b) == 5 {
			n++
		}
		b = b[min(len(b), max(12, int(binary.LittleEndian.Uint32(b[4:])))):]
	}
	return n
}

// readNumbers counts the packets of a file, and in seen the numbers in them.
func readNumbers(t *testing.T, path string, seen []uint8) (packets uint64) {
	t.Helper()
	h, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	r, err := pcap.NewReader(h)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return packets
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		packets++
		at := bytes.Index(p.Data[:min(len(p.Data), 24)], []byte{0x88, 0xb5}) // behind addresses, or in a cooked header
		if at == 0 {
			at = 18
		}
		if at < 0 || len(p.Data) < at+10 {
			continue
		}
		if n := binary.BigEndian.Uint64(p.Data[at+2:]); n < uint64(len(seen)) && seen[n] < 2 {
			seen[n]++
		}
	}
}
