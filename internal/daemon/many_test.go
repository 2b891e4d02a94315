package daemon

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"capd/capture"
	"capd/capture/fake"
	"capd/config"
)

// counting is a System that counts what is asked of it.
type counting struct {
	System
	slow           time.Duration // that it takes to open an interface
	listed, opened atomic.Int64
	now, most      atomic.Int64 // interfaces that are being opened, and the most there were
}

func (c *counting) Interfaces() ([]capture.Interface, error) {
	c.listed.Add(1)
	return c.System.Interfaces()
}

func (c *counting) OpenGroup(conf capture.Config, n int, s capture.Spread) ([]*capture.Device, error) {
	c.opened.Add(1)
	now := c.now.Add(1)
	for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
	}
	defer c.now.Add(-1)
	time.Sleep(c.slow)
	return c.System.OpenGroup(conf, n, s)
}

func (c *counting) Changes() <-chan struct{} {
	return c.System.(interface{ Changes() <-chan struct{} }).Changes()
}

// rest lets the time of a bubble pass.
func (r *rig) rest(d time.Duration) { time.Sleep(d) }

// TestStartIsLinear: a start with many interfaces lists them once or twice, opens each
// once, and does not wait for one before it opens the next; a reload neither.
func TestStartIsLinear(t *testing.T) {
	for _, many := range []int{20, 100} {
		onFake(t, func(t *testing.T, _ network) {
			sys := fake.New()
			for i := range many {
				sys.Add(fmt.Sprint("v", i))
			}
			c := &counting{System: sys, slow: 20 * time.Millisecond}
			r := newRig(t, &fakeNetwork{t: t, sys: sys}, func(c *config.Config) {
				fine(c)
				c.RingSize, c.PoolSize = config.AutoSize(config.MiB), config.AutoSize(2*config.MiB)
			}, "v*")
			opt := r.options()
			opt.System = c
			check := func(what string, began time.Time) {
				if took := time.Since(began); took > 3*c.slow {
					t.Errorf("%d interfaces: the %s took %s", many, what, took)
				}
				if listed, opened := c.listed.Swap(0), c.opened.Swap(0); listed > 2 || opened != int64(many) || c.most.Load() > opening {
					t.Errorf("%d interfaces: the %s listed them %d times and opened %d, %d at a time", many, what, listed, opened, c.most.Load())
				}
			}
			began := time.Now()
			opt.Ready = func() { check("start", began) }
			r.start(opt)
			r.await("recording", func() bool { return r.status("v0").State == Recording })
			r.rest(lookEvery / 2) // between two looks
			next := *r.cfg
			next.Interfaces = []config.Interface{{Name: "v*", Recording: r.cfg.Recording}}
			next.Interfaces[0].Snaplen = 1000
			c.listed.Store(0)
			reloaded := time.Now()
			if err := r.d.Reload(&next); err != nil {
				t.Fatal(err)
			}
			check("reload", reloaded)
			r.await("the takeover", r.handed)
			r.end()
		})
	}
}
