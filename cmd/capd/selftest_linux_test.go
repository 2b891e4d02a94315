package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"capd/internal/check"
	"capd/internal/testnet"
)

func TestSelfTest(t *testing.T) {
	testnet.Need(t)
	testnet.SetUp(t, "lo", false)
	code, out, _ := capd("check", "--self-test")
	if code != exitFailed || !strings.Contains(out, "fail  self-test: no loopback interface") || !strings.Contains(out, "hint: ip link set lo up") {
		t.Errorf("exit %d\n%s", code, out)
	}
	testnet.SetUp(t, "lo", true)
	t.Cleanup(func() { testnet.SetUp(t, "lo", false) })
	code, out, _ = capd("check", "--self-test")
	t.Log(out)
	for _, want := range []string{
		`ok +self-test: lo on linux/\w+: link type ETHERNET, mode ring; 128 MiB in blocks of 1 MiB, headers of \d+ bytes, aligned to 16; times from the system clock, .*, to 1ns`,
		`ok +self-test: [1-9]\d* datagrams sent, captured and equal in all of \d+ bytes`,
		`ok +self-test: counters agree: (\d+) received are (\d+) read and 0 dropped`,
	} {
		if code != 0 || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("exit %d, no %s in\n%s", code, want, out)
		}
	}
	code, out, _ = capd("check", "--self-test", "--json")
	var found []check.Finding
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != 0 || len(found) != 3 {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}
