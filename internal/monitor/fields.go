package monitor

import "slices"

// SourceFields is the names of what is recorded of a source, but for the highest values of gauges (…_max).
func SourceFields() []string { return plainNames(sourceShape()) }

// PoolFields is the names of what is recorded of a pool, likewise.
func PoolFields() []string { return plainNames(poolShape()) }

func plainNames[K comparable](s shape[K]) []string {
	var names []string
	for _, f := range slices.Concat(s.gauges, s.counters) {
		names = append(names, f.name)
	}
	return names
}
