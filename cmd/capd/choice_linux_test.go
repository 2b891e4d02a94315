package main

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// inKolkata runs the program where the local time is five and a half hours ahead of UTC.
func inKolkata(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if _, err := time.LoadLocation("Asia/Kolkata"); err != nil {
		t.Skip(err)
	}
	cmd, errs := process(t, args...)
	cmd.Env = append(cmd.Env, "TZ=Asia/Kolkata")
	out, err := cmd.Output()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out), errs.String()
}

// TestWrittenTimes: list and ledger take times as people write them, and print the zone in which they took them.
func TestWrittenTimes(t *testing.T) {
	dir, stop := recorded(t)
	defer stop()
	for args, want := range map[string]string{
		"--interface eth0|--since|2026-01-02 17:31:30|--until|2026-01-02 17:32:30": "asked for 2026-01-02T17:31:30+05:30 to 2026-01-02T17:32:30+05:30\n",
		"--interface eth0|--since|20260102T120130Z|--until|20260102T120230Z":       "asked for 2026-01-02T12:01:30Z to 2026-01-02T12:02:30Z\n",
		"--interface eth0|--since|1767355290":                                      "asked for 2026-01-02T17:31:30+05:30 and later\n",
		"--interface eth0|--until|2026-01-02":                                      "asked for times before 2026-01-02T00:00:00+05:30\n",
	} {
		words := strings.Split(strings.Replace(args, "--interface eth0", "--interface|eth0", 1), "|")
		for _, command := range []string{"list", "ledger"} {
			code, out, errs := inKolkata(t, append([]string{command, dir}, words...)...)
			if code == exitUsage || !strings.HasSuffix(out, want) {
				t.Errorf("capd %s %q: exit %d, no %q in\n%s%s", command, words, code, want, out, errs)
			}
		}
	}
	_, out, _ := inKolkata(t, "list", dir, "--interface", "eth0", "--since", "2026-01-02 17:31:30", "--until", "2026-01-02 17:32:30")
	if !strings.Contains(out, "eth0-20260102T120100Z") || strings.Contains(out, "eth0-20260102T120400Z") {
		t.Errorf("the bounds are not in the local zone:\n%s", out)
	}
	for args, want := range map[string]string{
		"--since 25:00":         `"25:00" is neither a time, as 14:03`,
		"--since 1h --until 2h": "is not before --until",
		"--since 23:59:59.999":  "is still to come: write 'yesterday 23:59:59.999'",
	} {
		code, _, errs := inKolkata(t, append([]string{"list", dir}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("capd list %s: exit %d, no %q in\n%s", args, code, want, errs)
		}
	}
}
