package web

import (
	"net"
	"sync"
	"sync/atomic"
)

// maxConnections bounds the descriptors that HTTP takes from the pooler's own clients. Further connections are closed.
const maxConnections = 256

// boundedListener accepts only so many connections at the same time.
type boundedListener struct {
	*net.TCPListener
	most int32
	open atomic.Int32
}

func listen(addr string) (*boundedListener, error) {
	where, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenTCP("tcp", where)
	if err != nil {
		return nil, err
	}
	return &boundedListener{TCPListener: l, most: maxConnections}, nil
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &countedConn{TCPConn: c, leave: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		_ = c.Close()
	}
}

// countedConn keeps all methods of a TCP connection: package http closes one half first where the client is still sending.
type countedConn struct {
	*net.TCPConn
	leave func()
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.leave()
	return c.TCPConn.Close()
}
