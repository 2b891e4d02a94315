package service

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"capd/config"
)

// TestSideServicesAreNotWorthARecording: sockets that can't be had are logged.
func TestSideServicesAreNotWorthARecording(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := listen(&config.Control{Socket: filepath.Join(file, "s"), Metrics: "203.0.113.1:9469"}, nil, nil, slog.New(slog.NewTextHandler(&log, nil)))
	defer s.close()
	for _, want := range []string{"no control socket", "metrics are not served", "again="} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in %s", want, &log)
		}
	}
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		got, err := retry(t.Context(), func() (int, error) {
			if tries++; tries < 3 {
				return 1, errors.New("no")
			}
			return 7, nil
		})
		if got != 7 || err != nil || tries != 3 {
			t.Errorf("%d, %v after %d", got, err, tries)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := retry(ended, func() (int, error) { return 0, errors.New("no") }); err == nil {
			t.Error("no end")
		}
	})
}
