// Package wire walks and builds PostgreSQL protocol frames where pgproto3 does not serve: on the hot path, where
// a frame is found by its header, looked into when it matters, and otherwise passed on unread.
package wire

import "encoding/binary"

// HeaderSize is the size in bytes of a frame's type and length.
const HeaderSize = 5

// MaxFrame is the largest frame PostgreSQL itself takes or sends, in bytes (PQ_LARGE_MESSAGE_LIMIT, MaxAllocSize).
const MaxFrame = 0x3fffffff + 1

// Part says what Walker.Next has cut off.
type Part uint8

// The parts of a frame.
const (
	None  Part = iota // no part at hand: read on
	Whole             // a whole frame
	Head              // the first bytes of a frame that goes on
	Body              // further bytes of it
	Tail              // its last bytes
	Bad               // not a frame: the stream cannot be followed any more
)

// Walker finds frame borders in a stream of bytes, whatever the chunks it comes in. The zero Walker with a Limits
// begins at a frame border. It keeps no bytes: what it does not cut off, the caller shows it again with more behind.
type Walker struct {
	Limits *Limits
	left   int32
	typ    byte
}

// Limits says for each message type up to which frame size, in bytes, a frame is only shown whole. A larger one, or
// any of a type with limit 0, is shown in parts; its Head then holds at least MinHead bytes.
type Limits [256]int32

// MinHead is how much of a looked-at frame that is too large to be shown whole its Head shows at least, in bytes:
// enough for an ErrorResponse's severity and SQLSTATE, which come first.
const MinHead = 256

// Next cuts the next part off b and returns the frame's type and the part's size in bytes.
func (w *Walker) Next(b []byte) (typ byte, n int, part Part) {
	if w.left > 0 {
		return w.more(b)
	}
	if len(b) < HeaderSize {
		return 0, 0, None
	}
	size := int(binary.BigEndian.Uint32(b[1:])) + 1
	if size < HeaderSize || size > MaxFrame {
		return b[0], 0, Bad
	}
	if size <= len(b) {
		return b[0], size, Whole
	}
	if limit := int(w.Limits[b[0]]); size <= limit || limit > 0 && len(b) < MinHead {
		return b[0], 0, None
	}
	w.typ, w.left = b[0], int32(size-len(b))
	return b[0], len(b), Head
}

func (w *Walker) more(b []byte) (byte, int, Part) {
	switch {
	case len(b) == 0:
		return w.typ, 0, None
	case len(b) < int(w.left):
		w.left -= int32(len(b))
		return w.typ, len(b), Body
	}
	n := int(w.left)
	w.left = 0
	return w.typ, n, Tail
}

// Left is how many bytes of a frame shown in parts are still to come.
func (w *Walker) Left() int { return int(w.left) }

// AtBorder tells whether the next byte begins a frame.
func (w *Walker) AtBorder() bool { return w.left == 0 }

// FrameSize is the size in bytes that the header at the beginning of b announces.
func FrameSize(b []byte) int { return int(binary.BigEndian.Uint32(b[1:])) + 1 }
