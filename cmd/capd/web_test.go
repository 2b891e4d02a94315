package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

// TestWeb: the page is served where the address says, until the context ends; other machines' addresses are refused.
func TestWeb(t *testing.T) {
	dir := t.TempDir()
	var out, errs bytes.Buffer
	for _, address := range []string{"0.0.0.0:0", "nowhere", "192.0.2.1:80"} {
		errs.Reset()
		if code := run(t.Context(), []string{"web", "--listen", address, dir}, &out, &errs, nil); code != exitUsage || out.Len() > 0 {
			t.Errorf("--listen %s: exit code %d, %s%s", address, code, &out, &errs)
		}
	}
	if code := run(t.Context(), []string{"web", dir + "/none"}, &out, &errs, nil); code != exitFailed {
		t.Errorf("a directory that there is not: exit code %d", code)
	}
	ctx, end := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan int)
	go func() { ended <- run(ctx, []string{"web", dir}, w, io.Discard, nil) }()
	line := make([]byte, 256)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	address, token, _ := strings.Cut(strings.TrimSpace(string(line[:n])), "#")
	if !strings.HasPrefix(address, "http://127.0.0.1:") || len(token) < 20 { // internal/web/browser opens it: here loopback may be down
		t.Errorf("%s, token of %d", address, len(token))
	}
	end()
	if code := <-ended; code != exitFine {
		t.Errorf("exit code %d", code)
	}
}
