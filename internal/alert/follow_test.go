package alert

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"capd/internal/extract"
)

// leases remembers what was held.
type leases struct {
	mu    sync.Mutex
	all   []time.Time
	fails bool
}

func (l *leases) lease(_ context.Context, since time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, since)
	if l.fails {
		return errors.New("no capd")
	}
	return nil
}

func (l *leases) taken() (all []time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, l.all = l.all, nil
	return all
}

// TestFollow: an alert is answered when what comes after it has come, one whose window is over at once; alerts of a flow are answered
// together, and those of a flow with an alert a second too. Files are held from the line on, as far back as the windows reach, until
// the answers are there, and the lease is renewed.
func TestFollow(t *testing.T) {
	r := newRecording(t)
	r.write(1, false)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		type answered struct {
			after  time.Duration
			alerts string
		}
		var got []answered
		var l leases
		q := r.asker(nil)
		q.Asked = func(done []*Done, _ *extract.Answer) {
			for _, d := range done {
				s := ""
				for _, a := range d.Alerts {
					s += a.ID
				}
				got = append(got, answered{time.Since(begin), s})
			}
		}
		q.Window.After = 10 * time.Second
		alerts := func(lines ...string) []*Alert { return r.parse(strings.Join(lines, "")) }
		one, two := endsOf("192.0.2.1", 1, "198.51.100.1", 2, "TCP"), endsOf("192.0.2.2", 1, "198.51.100.1", 2, "TCP")
		f := &Follower{Asker: q, Holder: &Holder{Lease: l.lease}, Failed: func(err error) { t.Error(err) }}
		left, err := f.Run(t.Context(), func(_ context.Context, each func(*Alert) error) error {
			give := func(all []*Alert) {
				for _, a := range all {
					if err := each(a); err != nil {
						t.Error(err)
					}
				}
			}
			now := func() time.Time { return time.Now().UTC() }
			give(alerts(eveLine(now(), now().Add(-time.Hour), 1, one))) // due at 10 s
			if held := l.taken(); len(held) != 1 || held[0].After(begin.Add(-time.Hour-DefaultBefore)) {
				t.Errorf("held %v", held)
			}
			give(alerts(eveLine(now().Add(-time.Minute), time.Time{}, 2, two))) // its window is over
			if held := l.taken(); len(held) != 0 {
				t.Errorf("held again: %v", held)
			}
			for i := range 9 {
				time.Sleep(time.Second)
				give(alerts(eveLine(now(), now().Add(-time.Hour-2*time.Duration(i+1)*time.Second), 3+i/8, one))) // another connection each: due ten seconds later
			}
			time.Sleep(40 * time.Second)
			if held := l.taken(); len(held) == 0 || !held[len(held)-1].IsZero() {
				t.Errorf("held %v", held)
			}
			start := now()
			for range 25 { // one connection
				give(alerts(eveLine(now(), start, 5, one)))
				time.Sleep(1100 * time.Millisecond)
			}
			return nil
		})
		if err != nil || len(left) != 0 {
			t.Errorf("%v, %v", left, err)
		}
		var firsts []string
		for _, g := range got {
			firsts = append(firsts, fmt.Sprintf("%.0f:%s", g.after.Seconds(), g.alerts))
		}
		want := []string{"0:2", "10:1", "11:3", "12:3", "13:3", "14:3", "15:3", "16:3", "17:3", "18:3", "19:4", "69:" + strings.Repeat("5", 19), "85:555555"}
		if !slices.Equal(firsts, want) {
			t.Errorf("%q", firsts)
		}
		if held := l.taken(); len(held) < 2 || !held[len(held)-1].IsZero() {
			t.Errorf("held at the end: %v", held)
		}
	})
}

// TestFollowInterrupted: alerts that wait when the context ends are told, and the lease ends.
func TestFollowInterrupted(t *testing.T) {
	r := newRecording(t)
	r.write(1, false)
	synctest.Test(t, func(t *testing.T) {
		var l leases
		var failures []error
		l.fails = true
		q := r.asker(new([]*Done))
		q.Window.After = time.Hour
		f := &Follower{Asker: q, Holder: &Holder{Lease: l.lease, Failed: func(err error) { failures = append(failures, err) }}}
		ctx, cancel := context.WithCancel(t.Context())
		left, err := f.Run(ctx, func(ctx context.Context, each func(*Alert) error) error {
			err := each(r.parse(eveLine(time.Now().UTC(), time.Time{}, 1, endsOf("192.0.2.1", 1, "198.51.100.1", 2, "TCP")))[0])
			time.Sleep(LeaseTime)
			l.mu.Lock()
			l.fails = false
			l.mu.Unlock()
			time.Sleep(time.Second)
			cancel()
			<-ctx.Done()
			return err
		})
		if err != nil || len(left) != 1 || len(l.all) < 3 || !l.all[len(l.all)-1].IsZero() {
			t.Errorf("%v, %v", err, l.all)
		}
		if len(failures) != 2 || failures[0] == nil || failures[1] != nil {
			t.Errorf("%v", failures)
		}
	})
}

// A collector collects what sources give.
type collector struct {
	mu  sync.Mutex
	all []string
}

func (c *collector) each(a *Alert, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.all = append(c.all, err.Error())
	} else {
		c.all = append(c.all, fmt.Sprintf("%d:%s", a.Line, a.ID))
	}
	return nil
}

func (c *collector) said() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.all)
}

func line(id int) string {
	return eveLine(noon, noon, id, endsOf("192.0.2.1", 1, "198.51.100.1", 2, "TCP"))
}

// TestTail: a file that grows is followed from its end, line by line; when another gets its name, the old one is read to its end, also if
// its writer goes on for a while; one that is cut is read from its begin.
func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "eve.json")
		write := func(flag int, text string) *os.File {
			t.Helper()
			h, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.WriteString(text); err != nil {
				t.Fatal(err)
			}
			return h
		}
		var c collector
		expect := func(want ...string) {
			t.Helper()
			time.Sleep(3 * look)
			synctest.Wait()
			if got := c.said(); !slices.Equal(got, want) {
				t.Errorf("%q, not %q", got, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		old := write(0, line(1)+line(2))
		defer old.Close()
		go func() { ended <- Tail(ctx, path, false, c.each) }()
		expect()
		half := line(3)
		_, _ = old.WriteString(half[:20])
		expect()
		_, _ = old.WriteString(half[20:] + line(4))
		expect("3:3", "4:4")
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		_, _ = old.WriteString(line(5))
		expect("3:3", "4:4", "5:5")
		newer := write(os.O_EXCL, line(6))
		defer newer.Close()
		_, _ = old.WriteString(line(7) + strings.TrimSuffix(line(8), "\n"))
		expect("3:3", "4:4", "5:5", "6:7", "1:6")
		time.Sleep(linger)
		expect("3:3", "4:4", "5:5", "6:7", "1:6", "7:8")
		_, _ = newer.WriteString(line(9) + line(10))
		expect("3:3", "4:4", "5:5", "6:7", "1:6", "7:8", "2:9", "3:10")
		write(os.O_TRUNC, line(11)).Close()
		expect("3:3", "4:4", "5:5", "6:7", "1:6", "7:8", "2:9", "3:10", "1:11")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestTailHeader: of a log of Zeek's that is followed from its end, the header lines count.
func TestTailHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "conn.log")
		head, _, _ := strings.Cut(connTSV, "#close")
		if err := os.WriteFile(path, []byte(head), 0o600); err != nil {
			t.Fatal(err)
		}
		var c collector
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- Tail(ctx, path, false, c.each) }()
		synctest.Wait()
		time.Sleep(look)
		h, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		lines := strings.Split(head, "\n")
		_, _ = h.WriteString(lines[8] + "\n")
		time.Sleep(3 * look)
		synctest.Wait()
		if got := c.said(); !slices.Equal(got, []string{"13:Cabc1"}) {
			t.Errorf("%q", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := Tail(t.Context(), t.TempDir(), false, c.each); err == nil || !strings.Contains(err.Error(), "no file that grows") {
			t.Error(err)
		}
	})
}

// TestListen: sockets take lines of several programs, and of datagrams; what a process has left is replaced, and what another uses is not.
func TestListen(t *testing.T) {
	for _, network := range []string{"unix", "unixgram"} {
		path := filepath.Join(t.TempDir(), "alerts.sock")
		left, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}) // does not remove it
		if err != nil {
			t.Fatal(err)
		}
		if network == "unixgram" {
			if err := Listen(t.Context(), network, path, nil); err == nil || !strings.Contains(err.Error(), "another process listens there") {
				t.Error(err)
			}
		}
		left.Close()
		var c collector
		got := make(chan struct{}, 10)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- Listen(ctx, network, path, func(a *Alert, err error) error {
				defer func() { got <- struct{}{} }()
				return c.each(a, err)
			})
		}()
		var conns []net.Conn
		for len(conns) < 2 {
			if conn, err := net.Dial(network, path); err == nil {
				conns = append(conns, conn)
			} else if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		for i, conn := range conns {
			if _, err := conn.Write([]byte(line(i) + line(i))); err != nil {
				t.Fatal(err)
			}
			<-got
			<-got
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != SocketMode {
			t.Errorf("%v, %v", info, err)
		}
		want := []string{"1:0", "2:0", "1:1", "2:1"}
		if network == "unixgram" {
			want = []string{"1:0", "2:0", "3:1", "4:1"}
		}
		if said := c.said(); !slices.Equal(said, want) {
			t.Errorf("%s: %q", network, said)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", network, err)
		}
		for _, conn := range conns {
			conn.Close()
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", network, err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Listen(t.Context(), network, path, nil); err == nil || !strings.Contains(err.Error(), "is no socket") {
			t.Error(err)
		}
	}
}
