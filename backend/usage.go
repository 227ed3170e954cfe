package backend

import "time"

// Usage is a borrower's notes of what it does with the conn; they end with the loan. Times are since loop.Epoch.
type Usage struct {
	Query       time.Duration // when the request that is not answered yet began; 0: there is none
	Transaction time.Duration // when the transaction began; 0: there is none
	Text        []byte        // the beginning of the statement that runs, or has run last
	Uncounted   bool          // what runs it took is not known yet
}

// maxNoted is how many bytes of a statement are noted.
const maxNoted = 1 << 10

// Note takes note of the statement that is about to run, which the caller keeps.
func (u *Usage) Note(text []byte) {
	u.Text = append(u.Text[:0], text[:min(len(text), maxNoted)]...)
	u.Uncounted = true
}

// reset forgets the last borrower's, but keeps the buffer.
func (u *Usage) reset() { *u = Usage{Text: u.Text[:0]} }
