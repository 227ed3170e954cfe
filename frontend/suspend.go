package frontend

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// What becomes of a SUSPEND that does not succeed.
var (
	ErrNotFlushed = errors.New("clients or servers do not read what is queued for them")
	ErrSuspended  = errors.New("clients are suspended already")
	ErrResumed    = errors.New("RESUME was given meanwhile")
)

// suspendTimeout is how long Suspend waits for everything to be written (PgBouncer's suspend_timeout).
const suspendTimeout = 10 * time.Second

// suspension is whether clients are not read from.
type suspension struct {
	mu    sync.Mutex    // held while a change is posted to the crews, so that all of them hear of each in the same order
	last  uint64        // number of the SUSPEND that was given last; guarded by mu
	order atomic.Uint64 // number of the SUSPEND in force, 0: none; written with mu held
}

// Suspend stops reading from clients, and returns once everything that is queued to clients and to PostgreSQL has been
// written. Clients that connect meanwhile wait, but for the console's. If that takes too long (ErrNotFlushed), or ctx
// ends, they go on as if nothing had happened. While they are suspended there is no other (ErrSuspended); one that is
// resumed before it is done has not succeeded (ErrResumed). No loop may call it.
func (srv *Server) Suspend(ctx context.Context) error {
	order := srv.beginSuspension()
	if order == 0 {
		return ErrSuspended
	}
	ctx, cancel := context.WithTimeout(ctx, suspendTimeout)
	defer cancel()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for len(gather(srv, (*crew).unwritten)) > 0 {
		if srv.suspension.order.Load() != order {
			return ErrResumed
		}
		select {
		case <-ctx.Done():
			srv.endSuspension(order)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ErrNotFlushed
			}
			return ctx.Err()
		case <-look.C:
		}
	}
	if srv.suspension.order.Load() != order {
		return ErrResumed
	}
	return nil
}

// beginSuspension returns the number of the new order, or 0 if there is one.
func (srv *Server) beginSuspension() uint64 {
	now := &srv.suspension
	now.mu.Lock()
	defer now.mu.Unlock()
	if now.order.Load() != 0 {
		return 0
	}
	now.last++
	now.order.Store(now.last)
	for _, c := range srv.crews {
		c.loop.Post(func() {
			c.suspended = true
			for i := range c.berths {
				c.berths[i].session.client.Pause()
			}
		})
	}
	return now.last
}

// endSuspension ends that SUSPEND, unless it is not in force any more; 0: whichever is. It reports whether one was.
func (srv *Server) endSuspension(order uint64) bool {
	now := &srv.suspension
	now.mu.Lock()
	defer now.mu.Unlock()
	if was := now.order.Load(); was == 0 || order != 0 && was != order {
		return false
	}
	now.order.Store(0)
	for _, c := range srv.crews {
		c.loop.Post(func() {
			c.suspended = false
			for i := range c.berths {
				c.berths[i].session.listen()
			}
		})
	}
	srv.loops[0].Post(srv.releaseGreeters)
	return true
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
func (srv *Server) Resume() bool { return srv.endSuspension(0) }

// Suspended tells whether clients are not read from.
func (srv *Server) Suspended() bool { return srv.suspension.order.Load() != 0 }

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
