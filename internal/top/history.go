package top

import (
	"math"

	"capd/internal/control"
)

// window is how many seconds a sparkline shows, however wide it is.
const window = 60

// A history is the last minute of an interface.
type history struct {
	lost    uint64 // in all, when it was last seen
	samples [window]sample
}

// A sample is what was seen in a second.
type sample struct {
	second int64
	rate   float64 // bits a second
	lost   float64 // frames since the sample before
}

// add takes a status in. The losses are those since the last one, so that none
// falls between two looks; of another capd's counters there is no difference.
func (h *history) add(second int64, in *control.Interface, known bool) {
	s := sample{second: second, rate: 8 * in.Rates.Second.Bytes, lost: in.Rates.Second.Lost}
	if known {
		s.lost = float64(in.Lost() - min(h.lost, in.Lost()))
	}
	h.lost = in.Lost()
	h.samples[second%window] = s
}

// spark returns the highest values in equal parts of the window that ends at a
// second; NaN where nothing was seen. Parts begin at multiples of their length,
// so that they move but do not change.
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
