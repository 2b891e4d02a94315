package selftest

import (
	"errors"
	"os"
	"testing"
	"time"

	"capd/capture"
	"capd/internal/testnet"
	"capd/pcap"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := testnet.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

func TestLoopback(t *testing.T) {
	testnet.Need(t)
	testnet.SetUp(t, "lo", false)
	if _, err := Run(t.Context(), time.Second); !errors.Is(err, ErrNoLoopback) {
		t.Errorf("down: %v", err)
	}
	testnet.SetUp(t, "lo", true)
	r, err := Run(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", *r)
	if len(r.Wrong) > 0 || r.Captured == 0 || r.Bytes < uint64(r.Captured)*42 {
		t.Errorf("%+v", *r)
	}
	l := r.Layout
	if r.Interface != "lo" || r.Link != pcap.LinkTypeEthernet || r.Mode != capture.ModeRing ||
		l.Unit != 1<<20 || l.Align != 16 || l.Header < 68 || l.Header > 200 || l.Resolution != 1 {
		t.Errorf("%+v", *r)
	}
}
