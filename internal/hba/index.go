package hba

import "iter"

// index finds the rules that a client may fall under: those that name its user, those that name its
// database, and those that name neither. It holds positions in the file, in rising order.
type index struct {
	byUser     map[string][]int32
	byDatabase map[string][]int32
	others     []int32
}

func newIndex(rules []*Rule) index {
	x := index{byUser: map[string][]int32{}, byDatabase: map[string][]int32{}}
	for i, r := range rules {
		switch {
		case r.user.onlyNames():
			r.user.file(x.byUser, int32(i))
		case r.database.onlyNames():
			r.database.file(x.byDatabase, int32(i))
		default:
			x.others = append(x.others, int32(i))
		}
	}
	return x
}

// candidates yields the positions of the rules that c may fall under, in rising order.
func (x *index) candidates(c Client) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		lists := [...][]int32{x.byUser[c.User], x.byDatabase[c.Database], x.others}
		for {
			first := -1
			for i, list := range lists {
				if len(list) > 0 && (first < 0 || list[0] < lists[first][0]) {
					first = i
				}
			}
			if first < 0 || !yield(lists[first][0]) {
				return
			}
			lists[first] = lists[first][1:]
		}
	}
}
