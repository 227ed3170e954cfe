package auth

// generations is a map of bounded size that forgets what has not been used for long: when the young half is full, the
// old one is dropped. The owner guards it.
type generations[K comparable, V any] struct {
	half       int // entries of a generation
	young, old map[K]V
}

func newGenerations[K comparable, V any](limit int) generations[K, V] {
	return generations[K, V]{half: max(1, limit/2), young: map[K]V{}}
}

func (g *generations[K, V]) get(key K) (V, bool) {
	v, ok := g.young[key]
	if ok {
		return v, true
	}
	if v, ok = g.old[key]; ok {
		g.put(key, v)
	}
	return v, ok
}

func (g *generations[K, V]) put(key K, v V) {
	delete(g.old, key)
	if _, ok := g.young[key]; !ok && len(g.young) >= g.half {
		g.old, g.young = g.young, map[K]V{}
	}
	g.young[key] = v
}

func (g *generations[K, V]) drop(key K) {
	delete(g.young, key)
	delete(g.old, key)
}

func (g *generations[K, V]) len() int { return len(g.young) + len(g.old) }
