package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"capd/config"
	"capd/internal/recorder"
	"capd/internal/testnet"
	"capd/ledger"
)

// flaps is how often an interface changes; the rate is 50 times a second.
const (
	flaps   = 200
	flapGap = time.Second / 50
)

// late is how many goroutines a task may start after it is ready, such as those that keep a directory
// within its limits: on a busy machine they are not there when a test begins to count. What stays of
// each change is many more.
const late = 8

// A footprint is the resources that a process has used and holds.
type footprint struct {
	at         time.Time
	cpu        time.Duration
	goroutines int
	open       []string // files that descriptors refer to
}

func takeFootprint(t *testing.T) footprint {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	f := footprint{at: time.Now(), cpu: time.Duration(u.Utime.Nano() + u.Stime.Nano()), goroutines: runtime.NumGoroutine()}
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if of, err := os.Readlink(path); err == nil { // without the descriptor of this listing
			f.open = append(f.open, of)
		}
	}
	return f
}

// footprint returns the footprint of the process once all tasks of the daemon
// run.
func (r *rig) footprint() footprint {
	r.t.Helper()
	<-r.ready
	return takeFootprint(r.t)
}

// looks returns how often the interfaces were listed.
func (r *rig) looks() uint64 { return r.d.manager.interfaces.news.Looks() }

// bounded checks the cost of flapping since before: limited processor time, at
// most one look and one line of the log per change, and no resource that stays
// in use.
func (r *rig) bounded(before footprint, share float64, looks, opens int) {
	r.t.Helper()
	after := takeFootprint(r.t)
	took := after.at.Sub(before.at)
	r.t.Logf("in %v: %v of processor time, %d looks, %d times opened, %d lines", took, after.cpu-before.cpu,
		r.looks()-uint64(looks), strings.Count(r.log.String(), "msg=recording"), strings.Count(r.log.String(), "\n"))
	if used := after.cpu - before.cpu; used.Seconds() > took.Seconds()*share {
		r.t.Errorf("%v of processor time in %v", used, took)
	}
	if n := int(r.looks()) - looks; n > int(took/lookPause)+int(took/lookEvery)+2 {
		r.t.Errorf("the interfaces were listed %d times in %v", n, took)
	}
	if n := strings.Count(r.log.String(), "msg=recording"); n > opens {
		r.t.Errorf("opened %d times, more than %d", n, opens)
	}
	for deadline := time.Now().Add(3 * recorder.Linger); len(after.open) > len(before.open) || after.goroutines > before.goroutines+late; {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d goroutines, and before %d; open is %q, and was %q", after.goroutines, before.goroutines, after.open, before.open)
		}
		time.Sleep(time.Millisecond)
		after = takeFootprint(r.t)
	}
}

// TestFlapUpDown: an interface that goes up and down 50 times a second costs at
// most one line and one gap per change, little processor time and no file, and
// is recorded in the end.
func TestFlapUpDown(t *testing.T) {
	for _, lanes := range []int{1, 2} {
		t.Run(fmt.Sprint(lanes, " lanes"), func(t *testing.T) {
			testnet.Veth(t, "p0", "v1", 1500)
			r := newRig(t, newVeths(t), func(c *config.Config) { c.Fanout, c.RingSize = lanes, config.AutoSize(8*config.MiB) }, "v*")
			r.start(r.options())
			r.await("start", func() bool { return r.states("v1", Recording) == lanes })
			before, looks := r.footprint(), int(r.looks())
			tick := time.NewTicker(flapGap)
			defer tick.Stop()
			for n := range flaps {
				testnet.SetUp(t, "v1", n%2 == 1)
				<-tick.C
			}
			testnet.Await(t, "v1")
			testnet.Await(t, "p0") // until the kernel has noticed its carrier, it drops what is sent
			r.await("recording", func() bool { return r.states("v1", Recording) == lanes })
			r.bounded(before, 0.5, looks, lanes)
			s := testnet.NewSender(t, "p0")
			for n := range uint64(10) {
				s.Send(appendFrame(nil, 1, n))
			}
			r.accepted(10)
			if sum := Sum(r.end()); sum.Written != 10 {
				t.Errorf("%+v", sum)
			}
			if n := len(r.files("v1")); n != 1 {
				t.Errorf("%d files", n)
			}
			r.linesAndGaps(lanes*flaps, flaps, ledger.CauseDown)
		})
	}
}

// linesAndGaps checks that the log and the ledger have at most that many lines
// and gaps.
func (r *rig) linesAndGaps(lines, gaps int, cause ledger.Cause) {
	r.t.Helper()
	const others = 20 // start, end, and lines that are not about links
	if n := strings.Count(r.log.String(), "\n"); n > lines+others {
		r.t.Errorf("%d lines for %d changes", n, lines)
	}
	n, of := 0, 0
	for e, err := range ledger.Read(r.dir, nil) {
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Kind == ledger.KindGap {
			n++
		}
		if e.Kind == ledger.KindGap && e.Cause == cause {
			of++
		}
	}
	if n > gaps || of == 0 {
		r.t.Errorf("%d gaps, %d of them for %q, in %d changes", n, of, cause, gaps)
	}
}

// TestFlapRemoved: an interface is deleted and created again 50 times, first
// with a frame each time that is recorded, then without waiting.
func TestFlapRemoved(t *testing.T) {
	const times = 50
	testnet.Need(t)
	r := newRig(t, newVeths(t), nil, "v1")
	r.start(r.options())
	r.await("start", func() bool { return r.status("v1").State == Waiting })
	var before footprint
	var looks int
	for n := range uint64(times) {
		if n == 1 {
			r.await("flush", func() bool { return r.status("v1").Writer.Written == 1 }) // all files that a recording needs are open now
			before, looks = r.footprint(), int(r.looks())
		}
		testnet.Veth(t, "p0", "v1", 1500)
		r.await("recording", func() bool { return r.status("v1").State == Recording })
		s := testnet.NewSender(t, "p0")
		s.Send(appendFrame(nil, 1, n))
		s.Close()
		r.accepted(n + 1)
		testnet.Remove(t, "p0")
		r.await("waiting", func() bool { return r.status("v1").State == Waiting })
	}
	for range times {
		testnet.Veth(t, "p0", "v1", 1500)
		testnet.Remove(t, "p0")
	}
	r.await("waiting", func() bool { return r.status("v1").State == Waiting })
	r.bounded(before, 0.5, looks, 2*times)
	r.end()
	files := r.files("v1")
	if len(files) > times { // one for each address that sent a frame
		t.Errorf("%d files", len(files))
	}
	verify(t, files, 1, times, 0)
	r.linesAndGaps(6*times, 6*times, ledger.CauseAbsent)
}

// TestFlapRenamed: an interface that gets a new name 50 times a second is
// recorded once, whatever its name is, and in few files.
func TestFlapRenamed(t *testing.T) {
	testnet.Veth(t, "p0", "v0", 65535)
	r := newRig(t, newVeths(t), fine, "v*")
	r.start(r.options())
	r.await("start", func() bool { return r.status("v0").State == Recording })
	before, looks := r.footprint(), int(r.looks())
	s := testnet.NewSender(t, "p0")
	tick := time.NewTicker(flapGap)
	defer tick.Stop()
	const names = 4
	for n := range uint64(flaps) {
		testnet.Rename(t, fmt.Sprint("v", n%names), fmt.Sprint("v", (n+1)%names))
		s.Send(appendFrame(nil, 1, n))
		<-tick.C
	}
	s.Close()
	last := fmt.Sprint("v", flaps%names)
	r.await("the last name", func() bool { return r.holds(last, testnet.Index(t, last)) && r.handed() })
	r.accepted(flaps)
	r.bounded(before, 1, looks, flaps+1) // each opening makes a ring
	if sum := Sum(r.end()); sum.Written != flaps || sum.Received != flaps {
		t.Errorf("%+v", sum)
	}
	var files []string
	for n := range names {
		files = append(files, r.files(fmt.Sprint("v", n))...)
	}
	once(t, files, 1, flaps)
	if len(files) > flaps+1 {
		t.Errorf("%d files", len(files))
	}
}
