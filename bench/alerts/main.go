//go:build linux

// Alerts measures how long it takes from the line of an alert to its packets, while capd records: it sends frames over a pair of
// interfaces that it makes, prints alerts about flows of five packets that have just been sent, and awaits their answers. At the end it
// compares them with a scan of all files that limits have left. Run it in a network namespace of its own:
//
//	go build -o /tmp/capd ./cmd/capd && go build -C bench -o /tmp/alerts ./alerts && unshare -n /tmp/alerts -capd /tmp/capd -dir /tmp/recordings
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "alerts:", err)
		os.Exit(1)
	}
}

const (
	packets   = 5   // of each alert's flow
	alertSize = 200 // bytes of each
)

type measurement struct {
	fd   int
	to   unix.SockaddrLinklayer
	sent atomic.Uint64

	mu       sync.Mutex        // guards what follows
	begun    map[int]time.Time // when the flows began
	asked    map[int]time.Time
	took     []time.Duration
	wrong    []string
	answers  map[int]answer
	answered chan struct{}
}

func run() (err error) {
	capd := flag.String("capd", "capd", "the program")
	dir := flag.String("dir", "", "a directory to make recordings in, which must not exist")
	mbit := flag.Int("rate", 1000, "Mbit/s that are recorded")
	perMinute := flag.Int("alerts", 1000, "alerts a minute")
	seconds := flag.Int("seconds", 30, "how long")
	rotate := flag.String("rotate", "1GiB", "size of a file")
	keep := flag.String("keep", "2GiB", "limit of the directory")
	flag.Parse()
	if *dir == "" {
		return errors.New("-dir names a directory to make")
	}
	if err := os.Mkdir(*dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(*dir)
	for _, line := range []string{"link add v0 type veth peer name v1", "link set lo up", "link set v0 up", "link set v1 up"} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %s", line, out)
		}
	}
	m := &measurement{begun: make(map[int]time.Time), asked: make(map[int]time.Time), answers: make(map[int]answer), answered: make(chan struct{}, 1)}
	if err := m.open("v0"); err != nil {
		return err
	}
	config := filepath.Join(*dir, "capd.toml")
	recordings := filepath.Join(*dir, "recordings")
	text := fmt.Sprintf("directory = %q\nrotate_size = %q\n[retain]\nbytes = %q\n[index]\nenabled = true\n[control]\nsocket = %q\n[[interface]]\nname = \"v1\"\n",
		recordings, *rotate, *keep, filepath.Join(*dir, "capd.sock"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	recorder := exec.Command(*capd, "run", "-c", config, "--log-format", "text")
	var said strings.Builder
	recorder.Stderr = &said
	if err := recorder.Start(); err != nil {
		return err
	}
	end := sync.OnceValue(func() error {
		_ = recorder.Process.Signal(os.Interrupt)
		err := recorder.Wait()
		for line := range strings.Lines(said.String()) {
			if strings.Contains(line, " dropped by ") {
				fmt.Print(line)
			}
		}
		return err
	})
	defer func() { err = errors.Join(err, end()) }()
	time.Sleep(2 * time.Second) // it records then
	asker := exec.Command(*capd, "extract", "-c", config, "--follow", "--alert", "-", "--after", "0s", "--json", "-w", filepath.Join(*dir, "found")+"/")
	asker.Stderr = os.Stderr
	lines, err := asker.StdinPipe()
	if err != nil {
		return err
	}
	answers, err := asker.StdoutPipe()
	if err != nil {
		return err
	}
	if err := asker.Start(); err != nil {
		return err
	}
	read := make(chan error, 1)
	go func() { read <- m.read(answers) }()
	stop := make(chan struct{})
	go m.load(*mbit, stop)
	begun := time.Now()
	n := *perMinute * *seconds / 60
	for i := range n {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Minute / time.Duration(*perMinute))))
		if err := m.alert(lines, i); err != nil {
			return err
		}
	}
	lines.Close()
	err = <-read
	close(stop)
	_ = asker.Wait() // what it lacks is in its answers
	m.report(n, time.Since(begun))
	fmt.Printf("capd extract took %v of a processor, %v of it in the system\n", (asker.ProcessState.UserTime() + asker.ProcessState.SystemTime()).Round(time.Millisecond), asker.ProcessState.SystemTime().Round(time.Millisecond))
	if err := errors.Join(err, end()); err != nil {
		return err
	}
	return m.check(recordings)
}

func (m *measurement) open(name string) error {
	in, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	m.to = unix.SockaddrLinklayer{Ifindex: in.Index, Halen: 6}
	m.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	return err
}

// frame is one of UDP from a host of 10.0.0.0/8.
func frame(size int, host uint32) []byte {
	b := make([]byte, size)
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45})
	binary.BigEndian.PutUint16(b[16:], uint16(size-14))
	b[22], b[23], b[26] = 64, 17, 10
	binary.BigEndian.PutUint32(b[26:], 10<<24|host)
	copy(b[30:], []byte{192, 168, 0, 1, 0x9c, 0x40, 0, 53})
	binary.BigEndian.PutUint16(b[38:], uint16(size-34))
	return b
}

func (m *measurement) send(b []byte) {
	for unix.Sendto(m.fd, b, 0, &m.to) != nil {
		time.Sleep(10 * time.Microsecond) // the queue is full
	}
	m.sent.Add(1)
}

// load sends frames of 64 flows at a rate.
func (m *measurement) load(mbit int, stop chan struct{}) {
	var all [64][]byte
	for i := range all {
		all[i] = frame(1514, 1<<23|uint32(i))
	}
	begun := time.Now()
	for n := 0; ; n++ {
		if n%64 == 0 {
			select {
			case <-stop:
				return
			default:
			}
			time.Sleep(time.Until(begun.Add(time.Duration(n) * 1514 * 8 * time.Microsecond / time.Duration(mbit))))
		}
		m.send(all[n%64])
	}
}

// alert sends the packets of a flow, and prints the line of the alert about it.
func (m *measurement) alert(to io.Writer, i int) error {
	b := frame(alertSize, uint32(i+1))
	start := time.Now()
	for n := range packets {
		b[42] = byte(n)
		m.send(b)
	}
	at := time.Now()
	m.mu.Lock()
	m.begun[i+1], m.asked[i+1] = start, at
	m.mu.Unlock()
	host := net.IP(b[26:30]).String()
	const form = "2006-01-02T15:04:05.000000-0700"
	_, err := fmt.Fprintf(to, `{"timestamp":%q,"event_type":"alert","src_ip":%q,"src_port":40000,"dest_ip":"192.168.0.1","dest_port":53,"proto":"UDP","flow":{"start":%q},"alert":{"signature_id":%d,"signature":"test"}}`+"\n",
		at.Format(form), host, start.Format(form), i+1)
	return err
}

// read reads the answers.
func (m *measurement) read(src io.Reader) error {
	s := bufio.NewScanner(src)
	s.Buffer(nil, 4<<20)
	for s.Scan() {
		now := time.Now()
		var a struct {
			Alerts []struct {
				ID string `json:"id"`
			} `json:"alerts"`
			File       string    `json:"file"`
			AskedSince time.Time `json:"asked_since"`
			AskedUntil time.Time `json:"asked_until"`
			Packets    int       `json:"packets"`
			Missing    []struct {
				Cause string `json:"cause"`
			} `json:"missing"`
		}
		if err := json.Unmarshal(s.Bytes(), &a); err != nil {
			return err
		}
		m.mu.Lock()
		for _, one := range a.Alerts {
			var id int
			_, _ = fmt.Sscan(one.ID, &id)
			m.took = append(m.took, now.Sub(m.asked[id]))
			m.answers[id] = answer{a.File, m.begun[id], a.AskedSince, a.AskedUntil}
		}
		if a.Packets != packets {
			m.wrong = append(m.wrong, fmt.Sprintf("%d packets: %s", a.Packets, s.Text()))
		}
		m.mu.Unlock()
	}
	return s.Err()
}

func (m *measurement) report(n int, took time.Duration) {
	slices.Sort(m.took)
	load, _ := os.ReadFile("/proc/loadavg")
	at := func(share float64) time.Duration {
		return m.took[min(len(m.took)-1, int(share*float64(len(m.took))))].Round(time.Millisecond)
	}
	fmt.Printf("%d alerts, %d answers, %d without all packets; %d frames in %v\n", n, len(m.took), len(m.wrong), m.sent.Load(), took.Round(time.Second))
	if len(m.took) > 0 {
		fmt.Printf("from line to packets: p50 %v, p90 %v, p99 %v, max %v; load %s", at(0.5), at(0.9), at(0.99), at(1), load)
	}
	for _, w := range m.wrong[:min(len(m.wrong), 3)] {
		fmt.Println(w)
	}
}

// check compares the answers with a scan, and fails if one differs.
func (m *measurement) check(recordings string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := compare(recordings, m.answers)
	if err != nil {
		return err
	}
	fmt.Printf("%d flows compared with a scan of all files that are left, %d differ; of %d files are deleted; %d have packets later than what was asked for\n",
		c.compared, len(c.differ), c.gone, c.late)
	for _, d := range c.differ[:min(len(c.differ), 3)] {
		fmt.Println(d)
	}
	if len(c.differ) > 0 {
		return errors.New("answers differ from a scan")
	}
	return nil
}
