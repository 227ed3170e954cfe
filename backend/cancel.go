package backend

import (
	"fmt"
	"io"
	"net"
	"time"

	"pooler/config"
)

// Cancel asks PostgreSQL to cancel what the conn is running. Until PostgreSQL has closed the connection that carries
// the request, the conn is fenced: the signal may still be under way, so it must reach no other query. A second
// Cancel meanwhile is the same cancel.
func (c *Conn) Cancel() {
	if c.cancelling || !c.Alive() {
		return
	}
	c.cancelling = true
	l, request, addr, wait, tcp := c.Loop(), c.cancelKey, c.Addr, c.cancelWait, c.tcp
	go func() {
		err := sendCancel(addr, request, wait, tcp)
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

// sendCancel delivers a CancelRequest and returns once PostgreSQL has closed the connection, which it does after the
// signal has been sent (ProcessCancelRequest in PostgreSQL's postmaster.c).
func sendCancel(addr Address, request []byte, wait time.Duration, tcp config.TCP) error {
	nc, err := (&net.Dialer{Timeout: wait, KeepAlive: -1, Control: tuned(tcp)}).Dial(addr.Network, addr.Addr)
	if err != nil {
		return fmt.Errorf("connect to cancel: %w", err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(wait))
	if _, err := nc.Write(request); err != nil {
		return fmt.Errorf("send cancel: %w", err)
	}
	if _, err := io.Copy(io.Discard, nc); err != nil {
		return fmt.Errorf("wait for cancel to be taken: %w", err)
	}
	return nil
}
