package alert

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"capd/internal/extract"
)

// BenchmarkFollow measures the time from a line to its file: 1,000 alerts a minute, each about another flow of an hour of recordings
// with flow tables.
func BenchmarkFollow(b *testing.B) {
	const files, flows, packets = 60, 20_000, 60_000
	r := newRecording(b)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range packets {
		n := random.IntN(flows)
		payload := make([]byte, 600)
		r.send(time.Duration(i)*files*time.Minute/packets, ethernet(ip4(fmt.Sprintf("192.0.2.%d", n%250), fmt.Sprintf("198.51.100.%d", n/250), 17, udp(uint16(n), 443, payload...))))
	}
	r.write(files, true)
	b.ResetTimer()
	var mu sync.Mutex
	lines := make(map[*Alert]time.Time)
	var took []time.Duration
	q := r.asker(nil)
	q.Directory, q.Window = b.TempDir(), Window{10 * time.Minute, 10 * time.Minute, 0}
	found := uint64(0)
	q.Asked = func(done []*Done, _ *extract.Answer) {
		mu.Lock()
		defer mu.Unlock()
		for _, d := range done {
			found += d.Packets
			for _, a := range d.Alerts {
				took = append(took, time.Since(lines[a]))
			}
		}
	}
	f := &Follower{Asker: q, Holder: &Holder{Lease: func(context.Context, time.Time) error { return nil }}, Failed: func(err error) { b.Error(err) }}
	_, err := f.Run(b.Context(), func(_ context.Context, each func(*Alert) error) error {
		for i := range max(b.N, 10) {
			n := random.IntN(flows)
			at := noon.Add(time.Duration(random.Int64N(int64(files * time.Minute))))
			a := r.parse(eveLine(at, at, i, endsOf(fmt.Sprintf("192.0.2.%d", n%250), n, fmt.Sprintf("198.51.100.%d", n/250), 443, "UDP")))[0]
			mu.Lock()
			lines[a] = time.Now()
			mu.Unlock()
			if err := each(a); err != nil {
				return err
			}
			time.Sleep(time.Minute / 1000)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
	b.ReportMetric(float64(took[len(took)-1])/1e6, "max-ms")
	b.ReportMetric(float64(found)/float64(len(took)), "packets/alert")
}
