package frontend

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets, each wider than the one below by a quarter of a power of two: the bounds of
// Prometheus' native histograms with schema 2. It belongs to one loop.
type histogram struct {
	count   uint64
	sum     time.Duration
	buckets [histogramBuckets]uint32
}

const (
	perOctave        = 4
	lowestOctave     = 10 // 2^10 ns: what is shorter is in the first bucket
	octaves          = 33 // 2^43 ns are 2.4 hours: what is longer is in the last
	histogramBuckets = perOctave * octaves
)

// quarters are 2^(1/4), 2^(2/4) and 2^(3/4), as parts of 2^64 with the first bit worth 1.
var quarters = [perOctave - 1]uint64{0x9837f0518db8a970, 0xb504f333f9de6485, 0xd744fccad69d6af5}

func (h *histogram) add(d time.Duration) {
	h.count++
	h.sum += d
	h.buckets[bucketOf(d)]++
}

// bucketOf is the number of the bucket that counts d.
func bucketOf(d time.Duration) int {
	if d < 1<<lowestOctave {
		return 0
	}
	octave := bits.Len64(uint64(d)) - 1
	mantissa := uint64(d) << (63 - octave)
	i := (octave - lowestOctave) * perOctave
	for _, q := range quarters {
		if mantissa > q {
			i++
		}
	}
	return min(i, histogramBuckets-1)
}

// upperBound is the longest duration that a bucket counts; the last has none.
func upperBound(bucket int) time.Duration {
	octave, quarter := bucket/perOctave+lowestOctave, bucket%perOctave
	if quarter == perOctave-1 {
		return 1 << (octave + 1)
	}
	return time.Duration(quarters[quarter] >> (63 - octave))
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
			list = append(list, Bucket{Upper: upperBound(i), Count: uint64(n)})
		}
	}
	return list
}
