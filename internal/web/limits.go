package web

import "time"

// Limits bound what clients cost. The zero value of each is its default.
type Limits struct {
	Connections int           // at a time; 64
	Questions   int           // that are answered at a time; 4
	Waiting     time.Duration // of a question for others to end, after which it is refused; 10 s
	Time        time.Duration // of a question; 2 min
	Extraction  time.Duration // of one that gives a file; 1 h
	Stall       time.Duration // that a client may take nothing of an answer; 30 s
	Bytes       int64         // of a file that is given; 64 GiB
	Read        int64         // bytes of capture files that are read for flows, as they have no flow table; 1 GiB
	Exact       int64         // bytes of capture files that are read for a timeline; more are not, and it is estimated; 64 MiB
	Detail      int64         // bytes of packets in an answer that has their layers and bytes; 8 MiB
	Downloads   int           // that are kept; 32
}

const (
	maxBins    = 4000 // of a timeline
	maxPage    = 1000 // lines of an answer
	maxOffset  = 100_000
	maxHeader  = 16 << 10
	maxMarks   = 8 // causes that a mark names
	maxLookups = 64
)

// filled returns the limits with the defaults in place of zeros.
func (l Limits) filled() Limits {
	or(&l.Connections, 64)
	or(&l.Questions, 4)
	or(&l.Waiting, 10*time.Second)
	or(&l.Time, 2*time.Minute)
	or(&l.Extraction, time.Hour)
	or(&l.Stall, 30*time.Second)
	or(&l.Bytes, 64<<30)
	or(&l.Read, 1<<30)
	or(&l.Exact, 64<<20)
	or(&l.Detail, 8<<20)
	or(&l.Downloads, 32)
	return l
}

func or[N int | int64 | time.Duration](n *N, standard N) {
	if *n == 0 {
		*n = standard
	}
}
