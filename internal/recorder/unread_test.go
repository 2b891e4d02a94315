package recorder

import (
	"slices"
	"strings"
	"testing"
	"time"

	"capd/capture"
	"capd/capture/fake"
	"capd/ledger"
)

// TestUnread: frames that the system discarded with the interface are a loss of unknown number in the
// ledger's verdict and in the status, also when the interface is back.
func TestUnread(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.record()
		send(link, 0, 5)
		a.accepted(5)
		since := time.Now()
		time.Sleep(300 * time.Millisecond)
		link.Fail(fake.AtNext, &capture.UnreadError{Since: since})
		link.SetUp(true) // wakes Next
		time.Sleep(time.Second)
		a.state(Recording)
		send(link, 5, 10)
		a.accepted(10)
		st := a.end()
		if st.Unread.Sub(since) < 300*time.Millisecond || st.Unread.Sub(since) > time.Second {
			t.Errorf("unread at %v, removed after %v", st.Unread, since)
		}
		s.hold(0, 10)
		var gaps []ledger.Entry
		for _, e := range s.lines {
			if e.Cause == ledger.CauseUnread {
				gaps = append(gaps, e)
			}
		}
		if len(gaps) != 1 || !gaps[0].Begin.Equal(since) || !gaps[0].End.Equal(st.Unread) || gaps[0].Frames != 0 || gaps[0].Counted() {
			t.Fatalf("%+v", gaps)
		}
		v, err := ledger.Judge(func(yield func(ledger.Entry, error) bool) {
			for _, e := range s.lines {
				if !yield(e, nil) {
					return
				}
			}
		}, ledger.Question{Interface: "eth0"})
		if err != nil || v[0].Outcome() != ledger.Incomplete ||
			!slices.ContainsFunc(v[0].Missing, func(m ledger.Missing) bool { return m.Cause == ledger.CauseUnread && m.Frames == 0 }) {
			t.Errorf("%+v, %v", v, err)
		}
		if !strings.Contains(s.logged(), "frames may be lost") {
			t.Error("not logged")
		}
	})
}

// TestUnreadDraining: the same, if the interface is removed while the last frames are read.
func TestUnreadDraining(t *testing.T) {
	inBubble(t, func(s *stand) {
		link := s.sys.Add("eth0")
		s.look()
		a := s.record()
		send(link, 0, 5)
		link.Fail(fake.AtNext, &capture.UnreadError{Since: time.Now()})
		if st := a.end(); st.Unread.IsZero() {
			t.Errorf("%+v", st)
		}
	})
}
