package writer

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resident returns how many of the chunk's pages the system has allocated (mincore(2)).
func resident(t *testing.T, mem []byte) int {
	t.Helper()
	pages := make([]byte, len(mem)/os.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE,
		uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	return bytes.Count(pages, []byte{1})
}

// forEachKind runs the test with the memory of a memfd, and with the anonymous memory of systems
// that refuse one.
func forEachKind(t *testing.T, test func(*testing.T)) {
	t.Run("memfd", func(t *testing.T) { synctest.Test(t, test) })
	t.Run("anonymous", func(t *testing.T) {
		mapMemory = func(n int, _ *os.File) (*region, error) { return mapAnonymous(n) }
		defer func() { mapMemory = mapRegion }()
		synctest.Test(t, test)
	})
}

// TestMemfdIsRefused: where there can be no memfd, the memory is anonymous.
func TestMemfdIsRefused(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 4096
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &low); err != nil {
		t.Fatal(err)
	}
	r, err := mapRegion(8192, nil)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err != nil || r.fd != -1 {
		t.Fatalf("%+v, %v", r, err)
	}
	defer r.close()
	if err := r.touch(0, 8192); err != nil || resident(t, r.mem) != len(r.mem)/os.Getpagesize() {
		t.Errorf("touch: %v", err)
	}
}

// warm returns how many chunks of the pool have memory.
func warm(p *pool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.warm
}

func testPool(t *testing.T, count, size, slack int) *pool {
	t.Helper()
	p, err := startPool(count, size, slack, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// TestPoolIsTouched: the first use of a chunk does not wait for page faults, and touching does not
// change a chunk that is already in use.
func TestPoolIsTouched(t *testing.T) {
	forEachKind(t, func(t *testing.T) {
		p := testPool(t, 3, 8<<20, 300<<10)
		p.grow()
		<-p.free
		c := p.take()
		if c.number != 0 {
			t.Errorf("chunk %d is the first to be used", c.number)
		}
		c.buf[0], c.buf[5<<20] = 1, 2
		synctest.Wait()
		if c.buf[0] != 1 || c.buf[5<<20] != 2 {
			t.Error("a chunk in use was changed")
		}
		p.put(c)
		if len(p.idle) != 3 {
			t.Errorf("%d chunks have memory", len(p.idle))
		}
		for i, c := range p.idle {
			if n, all := resident(t, c.buf[:p.size]), p.size/os.Getpagesize(); n < all {
				t.Errorf("chunk %d: %d pages of %d are there", i, n, all)
			}
			if n := resident(t, c.buf[p.size+(64<<10):len(c.buf)&^(os.Getpagesize()-1)]); n > 0 {
				t.Errorf("chunk %d: %d pages of the slack are there", i, n)
			}
		}
	})
}

// TestPoolServesSmallFiles: chunks get no memory that their files can't fill.
func TestPoolServesSmallFiles(t *testing.T) {
	forEachKind(t, func(t *testing.T) {
		p, err := newPool(1, 8<<20, 0, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.close)
		p.serve(1 << 20)
		p.begin()
		p.grow()
		<-p.free
		c := p.take()
		if n, want := resident(t, c.buf[:p.size]), hugePage/os.Getpagesize(); n != want {
			t.Errorf("%d pages are there, want %d", n, want)
		}
		for largest, want := range map[int64]int{0: p.size, 1 << 30: p.size, 3 << 20: 4 << 20} {
			if p.serve(largest); p.used.Load() != int64(want) {
				t.Errorf("files of %d bytes: %d bytes get memory", largest, p.used.Load())
			}
		}
	})
}

// TestPoolFollowsNeed: chunks get memory before they are needed, keep it while bursts come again, and
// lose it when they were idle for minutes.
func TestPoolFollowsNeed(t *testing.T) {
	forEachKind(t, func(t *testing.T) {
		const size, slack = 4 << 20, 300 << 10
		p := testPool(t, 64, size, slack)
		expect := func(when string, chunks int) {
			t.Helper()
			synctest.Wait()
			if n := resident(t, p.region.mem) * os.Getpagesize() / size; n != chunks || warm(p) != chunks {
				t.Errorf("%s: %d chunks have memory, %d are said to, want %d", when, n, warm(p), chunks)
			}
		}
		burst := func(n int) {
			t.Helper()
			var used []*chunk
			for i := range n {
				select {
				case <-p.free:
				default:
					t.Fatalf("chunk %d of %d is not there", i, n)
				}
				used = append(used, p.take())
				synctest.Wait() // touching is as fast as the recorder
			}
			for i, c := range used {
				if c.number != i {
					t.Fatalf("chunk %d is the one of number %d", i, c.number)
				}
				c.buf[0] = 1
			}
			for i := range used {
				p.put(used[n-1-i])
			}
		}
		expect("at the start", 4)
		burst(10)
		for range 10 {
			expect("after a burst", 24)
			time.Sleep(idleFor - time.Second)
			burst(10)
		}
		time.Sleep(idleFor)
		burst(3)
		time.Sleep(idleFor)
		burst(3)
		expect("after a small burst", 10)
		time.Sleep(2 * idleFor)
		expect("at the end", 4)
		burst(64)
		expect("after the largest burst", 64)
		if used, high := p.usage(); used != 0 || high != 64 {
			t.Errorf("%d chunks are in use, at most %d", used, high)
		}
	})
}

// TestPoolKeepsWhatIsUsed: chunks that are in use for long keep their memory and their bytes.
func TestPoolKeepsWhatIsUsed(t *testing.T) {
	forEachKind(t, func(t *testing.T) {
		p := testPool(t, 16, 64<<10, 4096)
		var used []*chunk
		for i := range 16 {
			<-p.free
			c := p.take()
			c.buf[i], c.buf[len(c.buf)-1] = byte(i)+1, 1
			used = append(used, c)
			synctest.Wait()
		}
		for _, c := range used[:12] {
			p.put(c)
		}
		time.Sleep(3 * idleFor)
		synctest.Wait()
		if n := warm(p); n != p.need(4) {
			t.Errorf("%d chunks have memory", n)
		}
		for i, c := range used[12:] {
			if c.buf[12+i] != byte(12+i)+1 || c.buf[len(c.buf)-1] != 1 {
				t.Errorf("chunk %d was changed", c.number)
			}
			p.put(c)
		}
	})
}

// TestPoolIsShared: what is in a chunk is in the memfd, at the place that its number says.
func TestPoolIsShared(t *testing.T) {
	p := testPool(t, 4, 64<<10, 300<<10)
	if p.fd() < 0 {
		t.Skip("needs memfd_create")
	}
	for i := range 2 {
		<-p.free
		c := p.take()
		end := copy(c.buf, "begin")
		copy(c.buf[len(c.buf)-end:], "end!!")
		got := make([]byte, len(c.buf))
		if _, err := unix.Pread(p.fd(), got, int64(c.number*p.stride)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, c.buf) || c.number != i {
			t.Errorf("chunk %d is elsewhere", c.number)
		}
	}
}

// TestPoolClosesUntouched: closing a pool before its memory was touched does not wait, and the
// memory is not touched afterwards.
func TestPoolClosesUntouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		p, err := startPool(64, 4<<20, 0, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if n := resident(t, p.region.mem[63*p.stride:]); n > 0 {
			t.Errorf("%d pages are there", n)
		}
		p.close()
		if took := time.Since(begin); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// slowMemory makes touching take a millisecond, and fail while there is a failure. It returns how many
// were touched at most at the same time, and in all.
func slowMemory(t *testing.T) (most, all *atomic.Int32, failure *atomic.Pointer[error]) {
	var now atomic.Int32
	most, all, failure = new(atomic.Int32), new(atomic.Int32), new(atomic.Pointer[error])
	touchMemory = func(*region, int, int) error {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(time.Millisecond)
		now.Add(-1)
		all.Add(1)
		if err := failure.Load(); err != nil {
			return *err
		}
		return nil
	}
	turns := starting
	starting = make(chan struct{}, 1) // of the test's bubble
	t.Cleanup(func() { touchMemory, starting = (*region).touch, turns })
	return most, all, failure
}

// TestPoolsTouchInTurn: hundreds of pools take no more of the machine than one. One whose recorder
// waits does not wait for the others.
func TestPoolsTouchInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most, all, _ := slowMemory(t)
		for range 10 {
			testPool(t, 8, 8192, 0)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if all.Load() != 20 || most.Load() != 1 {
			t.Errorf("%d touched, %d at a time", all.Load(), most.Load())
		}
		starting <- struct{}{}
		busy := testPool(t, 2, 8192, 0)
		synctest.Wait()
		begin := time.Now()
		busy.grow()
		<-busy.free
		if took := time.Since(begin); took != time.Millisecond {
			t.Errorf("a recorder waited for %v", took)
		}
	})
}

// TestPoolBegins: a pool begins with a quarter of itself, and 16 MiB at most.
func TestPoolBegins(t *testing.T) {
	for _, c := range []struct{ count, size, want int }{{2, 4 << 20, 0}, {4, 4 << 20, 1}, {8, 4 << 20, 2}, {32, 512 << 10, 8}, {384, 4 << 20, 4}, {2, 64 << 20, 0}} {
		if n := (&pool{dimensions: dimensions{count: c.count, size: c.size}}).need(0); n != c.want {
			t.Errorf("%d chunks of %d bytes: begins with %d, want %d", c.count, c.size, n, c.want)
		}
	}
}

// TestSmallPoolFollowsNeed: a pool of few chunks takes memory when a frame comes, and has none after minutes without.
func TestSmallPoolFollowsNeed(t *testing.T) {
	forEachKind(t, func(t *testing.T) {
		p := testPool(t, 2, 64<<10, 0)
		for round := range 3 {
			synctest.Wait()
			if n := warm(p); n != 0 {
				t.Errorf("round %d: %d chunks have memory and nobody asked", round, n)
			}
			if n := resident(t, p.region.mem); n != 0 {
				t.Errorf("round %d: %d pages are there", round, n)
			}
			p.grow() // as the recorder does that finds none
			<-p.free
			c := p.take()
			synctest.Wait()
			if n := warm(p); n != 2 {
				t.Errorf("round %d: %d chunks have memory while one is in use", round, n)
			}
			p.put(c)
			time.Sleep(3 * idleFor)
		}
	})
}

// TestPoolWithoutMemory: if the system has no memory for a chunk, it is asked again, and the log says
// so once.
func TestPoolWithoutMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all, failure := slowMemory(t)
		none := errors.New("no memory")
		failure.Store(&none)
		var log bytes.Buffer
		p, err := startPool(4, 8192, 0, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.close)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if used, _ := p.usage(); used != 0 || len(p.free) != 0 || all.Load() < 10 || all.Load() > 12 || strings.Count(log.String(), "no memory for frames") != 1 {
			t.Errorf("%d in use, %d idle after %d tries: %s", used, len(p.free), all.Load(), &log)
		}
		failure.Store(nil)
		<-p.free
		if c := p.take(); c.number != 0 {
			t.Errorf("chunk %d is the first to be used", c.number)
		}
	})
}

// TestSmallPoolWithoutMemory: a recorder that has waited for minutes for its first chunk gets it.
func TestSmallPoolWithoutMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, failure := slowMemory(t)
		none := errors.New("no memory")
		failure.Store(&none)
		p := testPool(t, 2, 8192, 0)
		p.grow()
		time.Sleep(3 * idleFor)
		failure.Store(nil)
		begin := time.Now()
		<-p.free
		if took := time.Since(begin); took > 2*retryAfter {
			t.Errorf("after %v", took)
		}
		p.take()
	})
}

// startPool returns a pool that has begun.
func startPool(count, size, slack int, log *slog.Logger) (*pool, error) {
	p, err := newPool(count, size, slack, nil, log)
	if err == nil {
		p.begin()
	}
	return p, err
}
