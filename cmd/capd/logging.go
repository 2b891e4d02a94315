package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"capd/config"
	"capd/internal/journal"

	"gopkg.in/natefinch/lumberjack.v2"
)

// newLogger makes the logger of the process. It lives as long.
func newLogger(c config.Log, s *screen) *slog.Logger {
	var w io.Writer = s
	if c.File != "" {
		w = &lumberjack.Logger{
			Filename:   c.File,
			MaxSize:    max(1, int(c.MaxSize/config.MiB)), // MiB
			MaxAge:     days(time.Duration(c.MaxAge)),
			MaxBackups: c.MaxBackups,
			Compress:   c.Compress,
		}
	}
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // validated with the configuration
	if f, ok := s.w.(*os.File); ok && c.Format == config.LogAuto && c.File == "" && journal.Takes(f) {
		return slog.New(journal.NewHandler(s, level))
	}
	opt := &slog.HandlerOptions{Level: level}
	if c.Format == config.LogJSON || c.Format == config.LogAuto && (c.File != "" || !s.terminal()) {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}

// days rounds up: lumberjack counts whole ones, and 0 is for ever.
func days(d time.Duration) int { return int((d + 24*time.Hour - 1) / (24 * time.Hour)) }
