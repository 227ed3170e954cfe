package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	caseIdle = "idle"

	idleDialers   = 16 // clients that connect at the same time
	idleWarmUp    = 100
	clientTimeout = 20 * time.Second // for each single step of a client
)

// idle measures what a client costs that connected, asked one thing and stays. Each proxy is
// started anew: memory freed by earlier cases would hide the growth.
func (b *bench) idle(ctx context.Context, name string, with *tls.Config, n int) {
	for _, t := range b.targets {
		if !isProxy(t) || ctx.Err() != nil {
			continue
		}
		v, err := b.idleOn(ctx, t, with, n)
		if ctx.Err() == nil {
			b.record(name, t, 1, v, err)
		}
	}
}

func (b *bench) idleOn(ctx context.Context, t *target, with *tls.Config, n int) (values, error) {
	if err := t.restart(ctx); err != nil {
		return nil, err
	}
	at := t.at
	at.tls = with
	warm, err := openClients(ctx, at, min(idleWarmUp, n))
	closeClients(warm)
	if err != nil {
		return nil, err
	}
	before, err := b.settledMemory(ctx, t)
	if err != nil {
		return nil, err
	}
	clients, err := openClients(ctx, at, n)
	defer closeClients(clients)
	if err != nil {
		return nil, err
	}
	after, err := b.settledMemory(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := eachClient(ctx, clients, (*rawClient).selectOne); err != nil {
		return nil, fmt.Errorf("an idle client no longer works: %w", err)
	}
	return values{metricIdleBytes: float64(after-before) / float64(len(clients))}, nil
}

func (b *bench) settledMemory(ctx context.Context, t *target) (int64, error) {
	select {
	case <-time.After(b.opts.settle):
		return memory(t.proc.pid())
	case <-t.proc.done:
		return 0, errors.New("the proxy exited")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// openClients returns all n clients or an error; whatever it returns must be closed.
func openClients(ctx context.Context, at endpoint, n int) ([]*rawClient, error) {
	clients := make([]*rawClient, n)
	err := inParallel(ctx, n, func(i int) (err error) {
		if clients[i], err = dialClient(ctx, at); err != nil {
			return fmt.Errorf("client %d: %w", i+1, err)
		}
		return clients[i].selectOne()
	})
	return clients, err
}

func closeClients(clients []*rawClient) {
	for _, c := range clients {
		if c != nil {
			c.close()
		}
	}
}

func eachClient(ctx context.Context, clients []*rawClient, do func(*rawClient) error) error {
	return inParallel(ctx, len(clients), func(i int) error { return do(clients[i]) })
}

// inParallel calls do(0…n-1) from a few goroutines and stops at the first error.
func inParallel(ctx context.Context, n int, do func(int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range idleDialers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// rawClient speaks just enough of the protocol to log in and ask SELECT 1. It owns no buffer while
// idle, so thousands of them cost little.
type rawClient struct{ conn net.Conn }

func dialClient(ctx context.Context, at endpoint) (*rawClient, error) {
	conn, err := (&net.Dialer{Timeout: clientTimeout}).DialContext(ctx, "tcp", at.addr())
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(clientTimeout)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	c := &rawClient{conn: conn}
	if err := c.logIn(at); err != nil {
		_ = c.conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *rawClient) logIn(at endpoint) error {
	if at.tls != nil {
		if err := c.encrypt(at.tls); err != nil {
			return err
		}
	}
	if _, err := c.conn.Write(startupMessage(at.user, at.database)); err != nil {
		return err
	}
	if err := authenticate(c.conn, at.password); err != nil {
		return err
	}
	return readUntilReady(bufio.NewReaderSize(c.conn, 1024))
}

// encrypt asks for TLS and has it before it returns.
func (c *rawClient) encrypt(with *tls.Config) error {
	if _, err := c.conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(c.conn, answer[:]); err != nil {
		return err
	}
	if answer[0] != 'S' {
		return fmt.Errorf("asked for TLS, the server said %q", answer[0])
	}
	conn := tls.Client(c.conn, with)
	c.conn = conn
	return conn.Handshake()
}

func (c *rawClient) selectOne() error { return c.roundTrip([]byte("Q\x00\x00\x00\x0dSELECT 1\x00")) }

func (c *rawClient) close() {
	_, _ = c.conn.Write([]byte("X\x00\x00\x00\x04")) // a goodbye the proxy may not live to hear
	_ = c.conn.Close()
}

// roundTrip sends a message and reads up to ReadyForQuery.
func (c *rawClient) roundTrip(message []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(clientTimeout)); err != nil {
		return err
	}
	if _, err := c.conn.Write(message); err != nil {
		return err
	}
	return readUntilReady(bufio.NewReaderSize(c.conn, 1024))
}

func readUntilReady(r io.Reader) error {
	for {
		kind, body, err := readMessage(r)
		switch {
		case err != nil:
			return err
		case kind == 'Z':
			return nil
		case kind == 'E':
			return fmt.Errorf("server said: %q", body)
		case kind == 'R' && (len(body) < 4 || binary.BigEndian.Uint32(body) != authOK):
			return errors.New("asked for a password once more")
		}
	}
}

func startupMessage(user, database string) []byte {
	m := []byte{0, 0, 0, 0, 0, 3, 0, 0}
	for _, s := range []string{"user", user, "database", database} {
		m = append(append(m, s...), 0)
	}
	m = append(m, 0)
	binary.BigEndian.PutUint32(m, uint32(len(m)))
	return m
}
