package top

import (
	"math"

	"capd/internal/control"
)

// window is how many seconds a sparkline covers, regardless of its width.
const window = 60

// A history holds the last minute of an interface.
type history struct {
	lost    uint64 // total at the previous status
	samples [window]sample
}

// A sample holds the values of one second.
type sample struct {
	second int64
	rate   float64 // bits a second
	lost   float64 // frames since the sample before
}

// add adds a status. Losses are the difference to the previous status, so that none is missed
// between two statuses. If known is false, the previous counters are of another capd and there is
// no difference.
func (h *history) add(second int64, in *control.Interface, known bool) {
	s := sample{second: second, rate: 8 * in.Rates.Second.Bytes, lost: in.Rates.Second.Lost}
	if known {
		s.lost = float64(in.Lost() - min(h.lost, in.Lost()))
	}
	h.lost = in.Lost()
	h.samples[second%window] = s
}

// spark divides the window that ends at a second into equal parts, and returns the highest value of
// each; NaN where there is no sample. Parts begin at multiples of their length, so that they move
// without changing their values.
func (h *history) spark(second int64, cells int, value func(sample) float64) []float64 {
	length := int64((window + cells - 1) / cells)
	bins := make([]float64, cells)
	for i := range bins {
		bins[i] = math.NaN()
	}
	last := second / length
	for _, s := range h.samples {
		i := int64(cells) - 1 - (last - s.second/length)
		if s.second > second-window && s.second <= second && i >= 0 {
			bins[i] = max(value(s), zeroed(bins[i]))
		}
	}
	return bins
}

func zeroed(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return f
}

// recently returns the frames lost in the window.
func (h *history) recently(second int64) (lost float64) {
	for _, s := range h.samples {
		if s.second > second-window && s.second <= second {
			lost += s.lost
		}
	}
	return lost
}

func rateOf(s sample) float64 { return s.rate }
func lostOf(s sample) float64 { return s.lost }
