package writer

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resident returns how many of the chunk's pages the system has given (mincore(2)).
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

// TestPoolIsTouched shows that no chunk's first use waits for memory, and that
// touching leaves alone what is in a chunk by then.
func TestPoolIsTouched(t *testing.T) {
	p, err := newPool(3, 8<<20, 300<<10)
	if err != nil {
		t.Fatal(err)
	}
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
	p.close()
}

// TestPoolClosesWhileTouched ends a pool whose memory is not all there yet.
func TestPoolClosesWhileTouched(t *testing.T) {
	p, err := newPool(64, 4<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.close()
	select {
	case <-p.stop:
	default:
		t.Error("not stopped")
	}
}
