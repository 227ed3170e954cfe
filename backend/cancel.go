package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Cancel asks PostgreSQL to cancel what the conn is running. Until PostgreSQL has closed the connection that carries
// the request, the conn is fenced: the signal may still be under way, so it must reach no other query. A second
// Cancel meanwhile is the same cancel.
func (c *Conn) Cancel() {
	if c.cancelling || !c.Alive() {
		return
	}
	c.cancelling = true
	l, way, request, wait := c.Loop(), c.wayBack(), c.cancelKey, c.cancelWait
	go func() {
		err := way.cancel(request, wait)
		l.Post(func() { c.cancelConfirmed(err) })
	}()
}

// cancelAgain is after what time a statement whose client has gone is cancelled again. PostgreSQL forgets a cancel
// that comes before the statement it was meant for, and the two come on different connections.
const cancelAgain = 100 * time.Millisecond

// Cancelling tells whether the conn is fenced.
func (c *Conn) Cancelling() bool { return c.cancelling }

// Unsure tells that a cancel could not be confirmed: the conn must not be lent again.
func (c *Conn) Unsure() bool { return c.unsure }

func (c *Conn) cancelConfirmed(err error) {
	c.cancelling = false
	c.unsure = c.unsure || err != nil
	switch {
	case !c.Alive():
	case c.borrower != nil:
		c.borrower.OnCancelConfirmed()
	case c.reclaim.active:
		c.reclaimStep()
		c.cancelLater()
	}
}

// cancelLater cancels again what a client that has gone has left running, if it still runs then.
func (c *Conn) cancelLater() {
	if !c.reclaim.active || c.Replies.Idle() {
		return
	}
	l, again := c.Loop(), &retry{c}
	c.reclaim.again = again
	time.AfterFunc(cancelAgain, func() {
		l.Post(func() {
			if again.conn != nil && !again.conn.Replies.Idle() {
				again.conn.Cancel()
			}
		})
	})
}

// retry is what a letter holds of a conn that may have gone to another loop by the time it is read. It belongs to the
// loop on which the conn is reclaimed.
type retry struct{ conn *Conn } // nil: the reclaim has ended

// wayBack is the way that the conn has taken, with the certificates of now: they may have been replaced since.
func (c *Conn) wayBack() route {
	way := c.route
	if way.tls != inClear {
		way.with = cmp.Or(c.dialer.known(way.key), way.with)
	}
	return way
}

// cancel delivers a CancelRequest and returns once PostgreSQL has closed the connection, which it does after the signal
// has been sent (ProcessCancelRequest in PostgreSQL's postmaster.c).
func (r route) cancel(request []byte, wait time.Duration) error {
	if len(request) == 0 {
		return errNoKey
	}
	ctx, stop := context.WithTimeout(context.Background(), wait)
	defer stop()
	l, err := r.connect(ctx)
	if err != nil {
		return fmt.Errorf("connect to cancel: %w", err)
	}
	defer func() { _ = l.Close() }()
	return until(ctx, l, func() error {
		if _, err := l.Write(request); err != nil {
			return fmt.Errorf("send cancel: %w", err)
		}
		if _, err := io.Copy(io.Discard, l); err != nil {
			return fmt.Errorf("wait for cancel to be taken: %w", err)
		}
		return nil
	})
}

var errNoKey = errors.New("PostgreSQL has given no key to cancel with")
