package web

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Bounds of the descriptors that HTTP takes from the pooler's own clients: of all, and of one address, which may be a
// proxy's. Beyond, the connection that has been idle longest makes room; if none is idle the new one is closed.
const (
	maxConnections = 256
	maxOfAddress   = maxConnections / 2
	fullLogged     = time.Minute // at most so often
)

// boundedListener accepts only so many connections at the same time.
type boundedListener struct {
	*net.TCPListener
	log             *slog.Logger
	most, ofAddress int

	mu     sync.Mutex // guards all below, and the connections' idle and closed
	open   map[*boundConn]struct{}
	logged time.Time
}

func listen(addr string, log *slog.Logger) (*boundedListener, error) {
	where, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenTCP("tcp", where)
	if err != nil {
		return nil, err
	}
	return &boundedListener{TCPListener: l, log: log, most: maxConnections, ofAddress: maxOfAddress, open: map[*boundConn]struct{}{}}, nil
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		tcp, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		c := &boundConn{TCPConn: tcp, l: l, idle: time.Now()}
		if remote, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
			c.from = remote.AddrPort().Addr().Unmap()
		}
		gone, logged := l.admit(c)
		if gone != nil {
			_ = gone.TCPConn.Close()
		}
		if logged {
			l.log.WarnContext(context.Background(), "http connections are at their limit", "remote", c.from.String(), "closed", gone.from.String())
		}
		if gone != c {
			return c, nil
		}
	}
}

// admit counts c among those that are open. gone is who has to go, c itself or who makes room for it; nil: nobody.
func (l *boundedListener) admit(c *boundConn) (gone *boundConn, logged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ofAddress := 0
	var idleOfAll, idleOfAddress *boundConn
	for other := range l.open {
		idleOfAll = idler(idleOfAll, other)
		if other.from == c.from {
			ofAddress++
			idleOfAddress = idler(idleOfAddress, other)
		}
	}
	switch {
	case ofAddress >= l.ofAddress:
		gone = idleOfAddress
	case len(l.open) >= l.most:
		gone = idleOfAll
	default:
		l.open[c] = struct{}{}
		return nil, false
	}
	if gone != nil {
		delete(l.open, gone)
		l.open[c] = struct{}{}
	} else {
		gone = c
	}
	now := time.Now()
	if logged = now.Sub(l.logged) >= fullLogged; logged {
		l.logged = now
	}
	return gone, logged
}

// idler is which of two has been idle for longer. b need not be idle; a is, or nil.
func idler(a, b *boundConn) *boundConn {
	if !b.idle.IsZero() && (a == nil || b.idle.Before(a.idle)) {
		return b
	}
	return a
}

// note is the server's ConnState: a connection is idle until its first request and between requests.
func (l *boundedListener) note(c net.Conn, state http.ConnState) {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	if c, ok := c.(*boundConn); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch state {
		case http.StateActive:
			c.idle = time.Time{}
		case http.StateIdle:
			c.idle = time.Now()
		case http.StateNew, http.StateHijacked, http.StateClosed:
		}
	}
}

// boundConn keeps all methods of a TCP connection: package http closes one half first where the client is still sending.
type boundConn struct {
	*net.TCPConn
	l    *boundedListener
	from netip.Addr
	idle time.Time // since when; zero: a request is under way
}

// Close implements net.Conn.
func (c *boundConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.open, c)
	c.l.mu.Unlock()
	return c.TCPConn.Close()
}
