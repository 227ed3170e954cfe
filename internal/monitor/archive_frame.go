package monitor

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// A frame is what has changed in one step: for each series that did, its number, a mask of its columns that did, and
// by how much each. All are variable-length integers, since most are small. What has not changed takes no room.

// maxColumns is what a mask has room for.
const maxColumns = 32

// errFrame is what frames from a damaged file are met with.
var errFrame = errors.New("not a frame")

// appendChange appends how after differs from before to a frame.
func appendChange(frame []byte, id uint64, before, after []int64) []byte {
	var mask uint64
	for i, v := range after {
		if v != before[i] {
			mask |= 1 << i
		}
	}
	if mask == 0 {
		return frame
	}
	frame = binary.AppendUvarint(frame, id)
	frame = binary.AppendUvarint(frame, mask)
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		frame = binary.AppendVarint(frame, after[i]-before[i])
	}
	return frame
}

// eachChange tells of each change in a frame of so many columns, until the frame turns out not to be one: it may have
// come from a file.
func eachChange(frame []byte, columns int, change func(id uint64, column int, by int64)) error {
	for len(frame) > 0 {
		id, n := binary.Uvarint(frame)
		if n <= 0 {
			return errFrame
		}
		mask, k := binary.Uvarint(frame[n:])
		if k <= 0 || mask == 0 || mask>>columns != 0 {
			return errFrame
		}
		frame = frame[n+k:]
		for ; mask != 0; mask &= mask - 1 {
			by, n := binary.Varint(frame)
			if n <= 0 {
				return errFrame
			}
			frame = frame[n:]
			change(id, bits.TrailingZeros64(mask), by)
		}
	}
	return nil
}

// state is the values of each series at a time. Those of which all are 0 are left out.
type state map[uint64][]int64

// apply makes s the state after the frame.
func (s state) apply(frame []byte, columns int) {
	var last uint64
	var values []int64
	settle := func() {
		if values != nil && allZero(values) {
			delete(s, last)
		}
	}
	// The frames of rings are our own: they are never found to be damaged.
	_ = eachChange(frame, columns, func(id uint64, column int, by int64) {
		if values == nil || id != last {
			settle()
			if last, values = id, s[id]; values == nil {
				values = make([]int64, columns)
				s[id] = values
			}
		}
		values[column] += by
	})
	settle()
}

// clone copies s, with all its values in one piece.
func (s state) clone(columns int) state {
	all := make([]int64, 0, len(s)*columns)
	c := make(state, len(s))
	for id, values := range s {
		all = append(all, values...)
		c[id] = all[len(all)-columns : len(all) : len(all)]
	}
	return c
}

func allZero(values []int64) bool {
	for _, v := range values {
		if v != 0 {
			return false
		}
	}
	return true
}
