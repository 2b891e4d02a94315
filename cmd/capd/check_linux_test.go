package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"capd/internal/testnet"
)

// checkFile runs check with a configuration of these lines.
func checkFile(t *testing.T, lines string) (code int, out string) {
	t.Helper()
	dir := t.TempDir()
	path, records := filepath.Join(dir, "capd.toml"), filepath.Join(dir, "records")
	if err := os.WriteFile(path, fmt.Appendf(nil, "directory = %q\nring_size = \"4MiB\"\n%s", records, lines), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := capd("check", "-c", path)
	packets, err := os.ReadFile("/proc/self/net/packet")
	if n := strings.Count(string(packets), "\n"); err != nil || n != 1 {
		t.Errorf("%v, sockets are left:\n%s", err, packets)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 1 {
		t.Errorf("%v, check left %q", err, names)
	}
	return code, out + errs
}

// longFilter is an expression of about so many instructions.
func longFilter(n int) string {
	terms := make([]string, n)
	for i := range terms {
		terms[i] = fmt.Sprintf("ether[0:4] = %d", 2*i)
	}
	return strings.Join(terms, " or ")
}

// TestCheckOpensAsRun: what run could not open, check finds.
func TestCheckOpensAsRun(t *testing.T) {
	testnet.Veth(t, "v0", "v1", 1500)
	for name, c := range map[string]struct {
		lines string
		code  int
		want  string
	}{
		"direction": {"[[interface]]\nname = \"v0\"\ndirection = \"in\"\nfilter = \"tcp\"", 0, "v0: opens; link type ETHERNET, ring, MTU 1500, buffer of 4 MiB\n"},
		"fanout":    {"[[interface]]\nname = \"v0\"\nfanout = 3", 0, "a group of 3, buffer of 4 MiB each"},
		"link type": {"[[interface]]\nname = \"v0\"\nlink_type = \"RAW\"\nfilter = \"ip\"", 1, "fail  v0: open v0: link type RAW: not one of those that the interface has: ETHERNET, LINUX_SLL2, LINUX_SLL\n      hint: capd interfaces"},
	} {
		if code, out := checkFile(t, c.lines); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d, no %q in\n%s", name, code, c.want, out)
		}
	}
	t.Run("fanout while down", func(t *testing.T) {
		testnet.SetUp(t, "v0", false)
		defer testnet.SetUp(t, "v0", true)
		code, out := checkFile(t, "[[interface]]\nname = \"v0\"\nfanout = 3")
		// Some kernels make a group of an interface that is down, as 6.18, and some do not.
		group := strings.Contains(out, "ok    v0: opens; link type ETHERNET, ring, MTU 1500, a group of 3,")
		alone := strings.Contains(out, "warn  v0: its 3 devices can't be joined into a group while it is down\nok    v0: opens;")
		if code != 0 || group == alone || !strings.Contains(out, "warn  v0: is down") {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
	t.Run("filter for the kernel", func(t *testing.T) {
		const limit = "/proc/sys/net/core/optmem_max" // of the namespace since Linux 6.8
		if err := os.WriteFile(limit, []byte("20480"), 0); err != nil {
			t.Skip("the limit can't be set for the namespace: ", err)
		}
		code, out := checkFile(t, fmt.Sprintf("[[interface]]\nname = \"v0\"\nfilter = %q", longFilter(3000)))
		if code != 1 || !strings.Contains(out, "fail  v0: open v0: ") || !strings.Contains(out, "need more memory than net.core.optmem_max") {
			t.Errorf("exit %d\n%.3000s", code, out)
		}
	})
	t.Run("fanout without descriptors", func(t *testing.T) {
		var old syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		few := old
		few.Cur = 40
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		code, out := checkFile(t, "[[interface]]\nname = \"v0\"\nfanout = 64")
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		if code != 1 || !strings.Contains(out, "fail  v0: open group of 64: ") || !strings.Contains(out, "too many open files") {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
}
