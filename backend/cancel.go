package backend

import (
	"fmt"
	"io"
	"net"
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
	l, request, addr, wait := c.Loop(), c.cancelKey, c.Addr, c.cancelWait
	go func() {
		err := sendCancel(addr, request, wait)
		l.Post(func() { c.cancelConfirmed(err) })
	}()
}

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
	}
}

// sendCancel delivers a CancelRequest and returns once PostgreSQL has closed the connection, which it does after the
// signal has been sent (ProcessCancelRequest in PostgreSQL's postmaster.c).
func sendCancel(addr Address, request []byte, wait time.Duration) error {
	nc, err := net.DialTimeout(addr.Network, addr.Addr, wait)
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
