package journal

// ring is a list to whose end things are added and from whose beginning they are taken. Its memory grows with what is
// in it, and falls when little is left.
type ring[T any] struct {
	items []T // a power of two
	first int
	len   int
}

const smallest = 16

func (r *ring[T]) push(one T) {
	if r.len == len(r.items) {
		r.resize(max(smallest, 2*len(r.items)))
	}
	*r.at(r.len) = one
	r.len++
}

func (r *ring[T]) pop() (one T) {
	p := r.at(0)
	one, *p = *p, one // nothing is kept alive
	r.first, r.len = (r.first+1)%len(r.items), r.len-1
	if len(r.items) > smallest && r.len < len(r.items)/4 {
		r.resize(len(r.items) / 2)
	}
	return one
}

// at is the item number i from the beginning.
func (r *ring[T]) at(i int) *T { return &r.items[(r.first+i)%len(r.items)] }

// longest is the ring that has most in it.
func longest[T any](rings []ring[T]) *ring[T] {
	most := &rings[0]
	for i := range rings {
		if rings[i].len > most.len {
			most = &rings[i]
		}
	}
	return most
}

func (r *ring[T]) resize(size int) {
	r.items, r.first = r.appendTo(make([]T, 0, size))[:size], 0
}

func (r *ring[T]) appendTo(dst []T) []T {
	end := min(r.first+r.len, len(r.items))
	dst = append(dst, r.items[r.first:end]...)
	return append(dst, r.items[:r.len-(end-r.first)]...)
}
