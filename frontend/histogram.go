package frontend

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets, each wider than the one below by a quarter of a power of two: the bounds of
// Prometheus' native histograms with schema 2, which are 2^(n/4) seconds. It belongs to one loop.
type histogram struct {
	count   uint64
	sum     time.Duration
	buckets [histogramBuckets]uint64
}

const (
	perOctave        = 4
	lowestOctave     = -20 // 2^-20 s, nearly a microsecond: what is shorter is in the first bucket
	octaves          = 33  // 2^13 s are 2.3 hours: what is longer is in the last
	histogramBuckets = perOctave * octaves
)

// quarters are 2^(1/4), 2^(2/4) and 2^(3/4), as parts of 2^64 with the first bit worth 1.
var quarters = [perOctave - 1]uint64{0x9837f0518db8a970, 0xb504f333f9de6485, 0xd744fccad69d6af5}

// nanosecond is 2^93 nanoseconds in seconds, rounded down, so that what ends at a bound to the nanosecond is below it.
const nanosecond = (1 << 93) / 1_000_000_000

func (h *histogram) add(d time.Duration) {
	h.count++
	h.sum += d
	h.buckets[bucketOf(d)]++
}

// bucketOf is the number of the bucket that counts d.
func bucketOf(d time.Duration) int {
	if d < time.Second>>-lowestOctave {
		return 0
	}
	high, low := bits.Mul64(uint64(d), nanosecond) // seconds, as parts of 2^93
	zeros := bits.LeadingZeros64(high)
	octave := 127 - zeros - 93
	mantissa := high<<zeros | low>>(64-zeros)
	i := (octave - lowestOctave) * perOctave
	for _, q := range quarters {
		if mantissa > q {
			i++
		}
	}
	return min(max(i, 0), histogramBuckets-1)
}

// upperBound is the longest duration that a bucket counts; the last has none.
func upperBound(bucket int) time.Duration {
	octave, quarter := bucket/perOctave+lowestOctave, bucket%perOctave
	bound := uint64(1) << 63 // 1 to 2, as quarters
	if quarter == perOctave-1 {
		octave++
	} else {
		bound = quarters[quarter]
	}
	high, low := bits.Mul64(bound, uint64(time.Second))
	shift := 63 - octave
	if shift >= 64 {
		return time.Duration(high >> (shift - 64))
	}
	return time.Duration(high<<(64-shift) | low>>shift)
}

// merge adds what other has counted.
func (h *histogram) merge(other *histogram) {
	h.count += other.count
	h.sum += other.sum
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
}

func (h *histogram) list() []Bucket {
	var list []Bucket
	for i, n := range h.buckets {
		if n > 0 {
			list = append(list, Bucket{Upper: upperBound(i), Count: n})
		}
	}
	return list
}
