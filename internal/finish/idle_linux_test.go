package finish

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
)

// TestIdleThreads: threads that are made while the list of threads is read are
// idle too.
func TestIdleThreads(t *testing.T) {
	if os.Getenv("CAPD_TEST_IDLE") != "" {
		var wg sync.WaitGroup
		for range 8 { // each makes one thread after another
			wg.Go(func() {
				for range 40 {
					wg.Go(func() { runtime.LockOSThread() }) // the thread ends with it
					runtime.Gosched()
				}
			})
		}
		idle()
		wg.Wait()
		mustBeIdle()
		return
	}
	for range 10 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestIdleThreads$") //nolint:gosec // the test itself
		cmd.Env = append(os.Environ(), "CAPD_TEST_IDLE=1", "GORACE=atexit_sleep_ms=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}
