package backend

import (
	"bytes"
	"time"
)

// Usage is a borrower's notes of what it does with the conn; they end with the loan. Times are since loop.Epoch.
type Usage struct {
	Query       time.Duration // when the request that is not answered yet began; 0: there is none
	Transaction time.Duration // when the transaction began; 0: there is none
	Waited      time.Duration // how long the borrower waited for the conn
	Carry       time.Duration // when what is being carried over was sent; 0: nothing is
	Prepare     time.Duration // when the statement was sent that is being prepared again; 0: none is
	Noted       Noted         // the statement that runs, or has run last
	Uncounted   bool          // what runs it took is not known yet
}

// Note takes note of the statement that is about to run, which the caller keeps.
func (u *Usage) Note(text []byte) {
	u.Noted.set(text)
	u.Uncounted = true
}

// reset forgets the last borrower's, but keeps the buffers.
func (u *Usage) reset() {
	u.Noted.Clear()
	*u = Usage{Noted: u.Noted}
}

// Noted is what is kept of the text of the last statement, and of the last one that may have a comment, which is where
// programs say where in their code they are; COMMIT has none.
type Noted struct {
	last, commented excerpt
	mayComment      bool // last has the beginning of one
}

// excerpt is a text's beginning, and of a long one its end, where libraries put comments.
type excerpt struct {
	kept []byte
	head int
}

// Of a text longer than both together, so many bytes are kept.
const (
	notedHead = 768
	notedTail = 256
)

var commentBegin = []byte("/*")

func (n *Noted) set(text []byte) {
	if n.mayComment {
		n.last, n.commented = n.commented, n.last
	}
	n.mayComment = bytes.Contains(text, commentBegin)
	n.last.set(text)
}

func (e *excerpt) set(text []byte) {
	if len(text) <= notedHead+notedTail {
		e.kept, e.head = append(e.kept[:0], text...), len(text)
		return
	}
	e.kept = append(append(e.kept[:0], text[:notedHead]...), text[len(text)-notedTail:]...)
	e.head = notedHead
}

// Head is the last text, or its beginning; it is empty if there is none.
func (n *Noted) Head() []byte { return n.last.kept[:n.last.head] }

// Commented is the beginning and the end of the last text that may have a comment; empty: there is none.
func (n *Noted) Commented() (head, tail []byte) {
	e := &n.commented
	if n.mayComment {
		e = &n.last
	}
	return e.kept[:e.head], e.kept[e.head:]
}

// Follow takes over the comment of what was noted before, unless n has one of its own.
func (n *Noted) Follow(before *Noted) {
	if n.mayComment || n.commented.head > 0 {
		return
	}
	if before.mayComment {
		n.commented, before.last = before.last, n.commented
	} else {
		n.commented, before.commented = before.commented, n.commented
	}
}

// Clone is a copy of its own.
func (n *Noted) Clone() Noted {
	c := *n
	c.last.kept, c.commented.kept = bytes.Clone(n.last.kept), bytes.Clone(n.commented.kept)
	return c
}

// Clear forgets the texts, but keeps the buffers.
func (n *Noted) Clear() {
	n.last.set(nil)
	n.commented.set(nil)
	n.mayComment = false
}
