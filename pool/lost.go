package pool

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"pooler/internal/loop"
)

// lostPeers counts server sessions whose connection has come to an end, by how that was noticed.
type lostPeers [loop.FateOther + 1]atomic.Uint64

// Lost is how many server sessions have been lost since the start, by how that was noticed.
func (m *Manager) Lost() map[string]uint64 {
	st := make(map[string]uint64, len(m.lost))
	for _, f := range loop.Fates() {
		st[f.String()] = m.lost[f].Load()
	}
	return st
}

// useLocked says for the log what the conn is used for.
func (l *Lease) useLocked() string {
	switch l.state {
	case ServerIdle:
		return "idle"
	case ServerReclaiming, ServerCleaning:
		return "reclaiming"
	default:
		return "lent"
	}
}

// noteLost counts and logs the loss of l's connection.
func (l *Lease) noteLost(use string) {
	p, e := l.pool, l.Conn.Ending
	p.house.lost[e.Fate].Add(1)
	args := []any{"server_pid", l.Conn.PID, "conn_id", uint64(l.Conn.ID), "noticed", e.Fate.String(), "use", use}
	if e.Silent >= 0 {
		args = append(args, "silent", e.Silent.Round(100*time.Millisecond).String())
	}
	if e.Err != nil {
		args = append(args, "error", e.Err)
	}
	p.log.WarnContext(context.Background(), "server session lost", args...)
}

// bereavedLocked returns who is to be refused, and with what error, because l was the last server session and
// PostgreSQL's host does not answer: an attempt to connect would keep them waiting as long again. While the pool is
// paused nobody is: who paused it may have taken the host away.
func (p *Pool) bereavedLocked(l *Lease) ([]*Request, error) {
	if len(p.leases) > 0 || p.orders.Paused || !l.Conn.Ending.Fate.Vanished() {
		return nil, nil
	}
	err := fmt.Errorf("PostgreSQL at %s does not answer (%s)", l.Conn.Addr, l.Conn.Ending.Fate)
	return p.queue.popAll(), err
}
