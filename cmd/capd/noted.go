package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"capd/internal/text"
)

const (
	// noteEvery is the least time from one line of the ledger to the next while alerts are followed: each answer reads the ledger.
	noteEvery = time.Minute
	// mostFlows is how many flows a line names.
	mostFlows = 10
)

// A notebook gathers what was given for alerts, for lines of the ledgers. Its zero value writes nothing.
type notebook struct {
	write func(dir, about string, packets, bytes uint64) // a line

	mu      sync.Mutex // guards what follows, and is held while lines are written
	written time.Time  // when the last lines were
	later   *time.Timer
	answers int
	flows   []string // of the first answers
	given   map[string]given
}

// given is what was given of a directory.
type given struct{ packets, bytes uint64 }

// add adds answers, and writes what there is now, or within noteEvery if there were lines a moment ago.
func (n *notebook) add(flows []string, of map[string]given) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers += len(flows)
	n.flows = append(n.flows, flows[:min(len(flows), mostFlows-len(n.flows))]...)
	if n.given == nil {
		n.given = make(map[string]given)
	}
	for dir, g := range of {
		sum := n.given[dir]
		n.given[dir] = given{sum.packets + g.packets, sum.bytes + g.bytes}
	}
	switch wait := noteEvery - time.Since(n.written); {
	case n.later != nil: // it has them
	case wait <= 0:
		n.flush()
	default:
		n.later = time.AfterFunc(wait, n.end)
	}
}

// end writes what is left.
func (n *notebook) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flush()
}

// flush writes lines. The caller holds mu.
func (n *notebook) flush() {
	if n.later != nil {
		n.later.Stop()
		n.later = nil
	}
	if n.given == nil {
		return
	}
	about := fmt.Sprintf("flows of %s: %s", text.Count(n.answers, "answer"), strings.Join(n.flows, ", "))
	if n.answers > len(n.flows) {
		about += ", ..."
	}
	for dir, g := range n.given {
		n.write(dir, about, g.packets, g.bytes)
	}
	n.answers, n.flows, n.given, n.written = 0, nil, nil, time.Now()
}
