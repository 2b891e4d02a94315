package check

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"capd/capture"
	"capd/internal/selftest"
	"capd/internal/text"
)

// selfTestTime is how long a self-test sends.
const selfTestTime = 2 * time.Second

// SelfTest captures datagrams of its own on loopback and says what came.
func (c *Checker) SelfTest(ctx context.Context) {
	r, err := selftest.Run(ctx, selfTestTime)
	if err != nil {
		c.Refuse("self-test", err)
		return
	}
	c.report(r)
}

func (c *Checker) report(r *selftest.Report) {
	const subject = "self-test"
	for _, w := range r.Warnings {
		c.add(Warn, subject, "", "%s", w)
	}
	c.add(OK, subject, "", "%s on %s/%s: %s", r.Interface, runtime.GOOS, runtime.GOARCH, deviceText(r))
	for _, w := range r.Wrong {
		c.add(Fail, subject, "if a new run says the same, please report it with these lines; frames that are missing alone may be a busy machine's", "%s", w)
	}
	if len(r.Wrong) > 0 {
		return
	}
	c.add(OK, subject, "", "%s sent, captured and equal in all of %d bytes", text.Count(r.Sent, "datagram"), r.Bytes)
	c.add(OK, subject, "", "counters agree: %d received are %d read and %d dropped", r.Stats.Received, r.Read(), r.Stats.Dropped)
}

// deviceText says what the device gave.
func deviceText(r *selftest.Report) string {
	l := r.Layout
	s := fmt.Sprintf("link type %s, mode %s", r.Link, r.Mode)
	if r.Buffer > 0 {
		of := "blocks"
		if r.Mode == capture.ModeBPF {
			of = "read buffers"
		}
		s += fmt.Sprintf("; %s in %s of %s, headers of %d bytes, aligned to %d", text.Size(r.Buffer), of, text.Size(int64(l.Unit)), l.Header, l.Align)
	}
	return s + fmt.Sprintf("; times from the %s, to %s", l.Clock, l.Resolution)
}
