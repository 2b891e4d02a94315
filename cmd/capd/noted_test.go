package main

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestNotebook: the first answer has a line at once, those of the minute behind it one together, whether more come or not, and what is left one
// at the end.
func TestNotebook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var lines []string
		n := notebook{write: func(dir, about string, packets, bytes uint64) {
			lines = append(lines, fmt.Sprintf("%v %s %d %d %s", time.Since(begun), dir, packets, bytes, about))
		}}
		add := func(flows ...string) {
			n.add(flows, map[string]given{"/d": {uint64(len(flows)), 10}})
			time.Sleep(time.Second)
		}
		add("a")
		for i := range 13 {
			add(fmt.Sprint(i))
		}
		add("x", "y")
		time.Sleep(3 * time.Minute)
		add("z")
		add("end")
		n.end()
		n.end()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		want := []string{
			"0s /d 1 10 flows of 1 answer: a",
			"1m0s /d 15 140 flows of 15 answers: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...",
			"3m15s /d 1 10 flows of 1 answer: z",
			"3m17s /d 1 10 flows of 1 answer: end",
		}
		if !slices.Equal(lines, want) {
			t.Errorf("%q, want %q", lines, want)
		}
	})
}
