package frontend

import (
	"context"
	"errors"
	"time"
)

// ErrNotFlushed tells that clients or PostgreSQL have not read in time what is queued for them.
var ErrNotFlushed = errors.New("clients or servers do not read what is queued for them")

// suspendTimeout is how long Suspend waits for everything to be written (PgBouncer's suspend_timeout).
const suspendTimeout = 10 * time.Second

// Suspend stops reading from clients, and returns once everything that is queued to clients and to PostgreSQL has been
// written. Clients that connect meanwhile wait, but for the console's. If that takes too long, or ctx ends, they go on
// as if nothing had happened, and there is an error. No loop may call it.
func (srv *Server) Suspend(ctx context.Context) error {
	srv.suspended.Store(true)
	gather(srv, func(c *crew) []struct{} {
		c.suspended = true
		for i := range c.berths {
			c.berths[i].session.client.Pause()
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(ctx, suspendTimeout)
	defer cancel()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for len(gather(srv, (*crew).unwritten)) > 0 {
		if !srv.suspended.Load() {
			return nil // somebody has said RESUME
		}
		select {
		case <-ctx.Done():
			srv.resume()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ErrNotFlushed
			}
			return ctx.Err()
		case <-look.C:
		}
	}
	return nil
}

// unwritten is a session for which something is queued, if there is one.
func (c *crew) unwritten() []SessionID {
	for i := range c.berths {
		if s := c.berths[i].session; s.client.Queued() > 0 || s.lease != nil && s.lease.Conn.Queued() > 0 {
			return []SessionID{s.id}
		}
	}
	return nil
}

// Resume reads from clients again after Suspend. It reports whether they were suspended.
func (srv *Server) Resume() bool {
	if !srv.suspended.Load() {
		return false
	}
	srv.resume()
	return true
}

// Suspended tells whether clients are not read from.
func (srv *Server) Suspended() bool { return srv.suspended.Load() }

func (srv *Server) resume() {
	srv.suspended.Store(false)
	for _, c := range srv.crews {
		c.loop.Post(func() {
			c.suspended = false
			for i := range c.berths {
				c.berths[i].session.listen()
			}
		})
	}
	srv.loops[0].Post(srv.releaseGreeters)
}

// listen reads from the client again, unless something else than SUSPEND is in the way, which then does so.
func (s *Session) listen() {
	if len(s.pending) == 0 && (s.lease == nil || s.lease.Conn.Queued() == 0) {
		s.client.Resume()
	}
}

// releaseGreeters lets those in who have come while clients were suspended. It runs on the loop that accepts.
func (srv *Server) releaseGreeters() {
	for g := srv.greeters.first; g != nil; {
		next := g.next
		if g.held {
			early := g.buf
			g.held, g.buf = false, nil
			g.stream.Resume()
			g.become(early)
		}
		g = next
	}
}
