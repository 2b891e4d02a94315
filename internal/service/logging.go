package service

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"time"

	"capd/config"
	"capd/internal/journal"
	"capd/internal/terminal"

	"gopkg.in/natefinch/lumberjack.v2"
)

// newLogger makes the logger of the process, and what changes its level.
func newLogger(c config.Log, s *terminal.Screen) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	setLevel(level, c.Level)
	return slog.New(newHandler(c, s, level)), level
}

// setLevel sets a level that was validated with its configuration.
func setLevel(level *slog.LevelVar, text string) {
	_ = level.UnmarshalText([]byte(text))
}

// OnlyJSON reports whether standard error is to have JSON alone, a log or not:
// one stream has one format.
func OnlyJSON(c config.Log, s *terminal.Screen) bool {
	return c.File == "" && isJSON(c, s)
}

// isJSON reports whether the log is JSON.
func isJSON(c config.Log, s *terminal.Screen) bool {
	return c.Format == config.LogJSON ||
		c.Format == config.LogAuto && (c.File != "" || !s.IsTerminal() && !toJournal(c, s))
}

// toJournal reports whether the log has the journal's own entries.
func toJournal(c config.Log, s *terminal.Screen) bool {
	f := s.File()
	return f != nil && c.Format == config.LogAuto && c.File == "" && journal.Takes(f)
}

func newHandler(c config.Log, s *terminal.Screen, level slog.Leveler) slog.Handler {
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
	if toJournal(c, s) {
		return journal.NewHandler(s, level)
	}
	opt := &slog.HandlerOptions{Level: level}
	if isJSON(c, s) {
		return slog.NewJSONHandler(w, opt)
	}
	return slog.NewTextHandler(w, opt)
}

// jsonLine is a line as the log has them, whatever its level.
func jsonLine(level slog.Level, msg string, args ...any) string {
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Log(context.Background(), level, msg, args...)
	return b.String()
}

// Failure is the line of such a log that says why capd ends.
func Failure(err error, hints []string) string {
	args := []any{"error", err.Error()}
	if len(hints) > 0 {
		args = append(args, "hints", hints)
	}
	return jsonLine(slog.LevelError, "capd can't go on", args...)
}

// days rounds up: lumberjack counts whole ones, and 0 is for ever.
func days(d time.Duration) int { return int((d + 24*time.Hour - 1) / (24 * time.Hour)) }
