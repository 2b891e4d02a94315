package writer

import (
	"bytes"
	"errors"
	"os"
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

// TestPoolIsTouched: the first use of a chunk does not wait for page faults, and prefaulting does
// not change a chunk that is already in use.
func TestPoolIsTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := newPool(3, 8<<20, 300<<10)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		if errors.Is(populate(p.idle[2].buf[:1<<20]), unix.EINVAL) {
			t.Skip("needs Linux 5.14")
		}
		<-p.free
		c := p.take()
		c.buf[0], c.buf[5<<20] = 1, 2
		p.touch.Wait()
		if c.buf[0] != 1 || c.buf[5<<20] != 2 {
			t.Error("a chunk in use was changed")
		}
		p.put(c)
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

// TestPoolClosesUntouched: closing a pool before its memory was prefaulted does not wait, and the
// memory is not touched afterwards.
func TestPoolClosesUntouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		p, err := newPool(64, 4<<20, 0)
		if err != nil {
			t.Fatal(err)
		}
		last := p.idle[0].buf
		if n := resident(t, last); n > 0 {
			t.Errorf("%d pages are there", n)
		}
		p.close()
		if took := time.Since(begin); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// TestPoolsTouchInTurn: hundreds of pools take no more of the machine than one.
func TestPoolsTouchInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most, all atomic.Int32
		touch = func([]byte) error {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Millisecond)
			now.Add(-1)
			all.Add(1)
			return nil
		}
		defer func() { touch = populate }()
		var pools []*pool
		for range 10 {
			p, err := newPool(2, 8192, 0)
			if err != nil {
				t.Fatal(err)
			}
			pools = append(pools, p)
		}
		time.Sleep(time.Minute)
		for _, p := range pools {
			p.close()
		}
		if all.Load() != 20 || most.Load() != 1 {
			t.Errorf("%d touched, %d at a time", all.Load(), most.Load())
		}
	})
}
