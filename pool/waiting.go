package pool

import (
	"cmp"
	"slices"
	"time"
)

// WaiterInfo is a snapshot of one request that waits for a server session.
type WaiterInfo struct {
	Borrower              Borrower // whose it is; to be compared only, since it belongs to its loop
	Database, User, Class string
	Position              int           // in its pool's queue, from 1
	Waited                time.Duration // since it was queued, or the pool resumed
	Obstacle              Obstacle      // in the way of its pool
	Detail                string        // of the obstacle: the key of the limit, or PostgreSQL's error
}

// Obstacle is why a pool has nothing to lend to those who wait.
type Obstacle uint8

// The obstacles. Where there are several, the first of them counts.
const (
	ObstaclePaused  Obstacle = iota // an administrator has paused the database
	ObstacleRefused                 // PostgreSQL cannot be reached or refuses; it is tried again after a while
	ObstacleLimit                   // a limit that spans several pools, or PostgreSQL's own max_connections
	ObstacleOpening                 // one is being opened or cleaned
	ObstacleClosing                 // PostgreSQL has yet to end those whose places are needed
	ObstacleBusy                    // all are lent
	obstacles
)

var obstacleNames = [obstacles]string{
	"paused", "PostgreSQL refuses", "limit", "a server session is being opened", "server sessions are being closed", "all server sessions are busy",
}

// String is the obstacle as views show it.
func (o Obstacle) String() string { return obstacleNames[o] }

// Queue is a snapshot of the requests that wait, at most so many, by database and user, in the order in which they wait.
func (m *Manager) Queue(most int) []WaiterInfo {
	pools := m.of("")
	slices.SortFunc(pools, func(p, q *Pool) int {
		return cmp.Or(cmp.Compare(p.Key.Database, q.Key.Database), cmp.Compare(p.Key.User, q.Key.User))
	})
	var all []WaiterInfo
	for _, p := range pools {
		all = p.appendWaiting(all, most)
	}
	return all
}

func (p *Pool) appendWaiting(all []WaiterInfo, most int) []WaiterInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(p.queue.len, most-len(all))
	if n <= 0 {
		return all
	}
	all = slices.Grow(all, n)
	obstacle, detail := p.obstacleLocked()
	r := p.queue.first
	for i := range n {
		all = append(all, WaiterInfo{
			Borrower: r.Borrower, Database: p.Key.Database, User: p.Key.User, Class: r.Class.Name,
			Position: i + 1, Waited: p.clock.now() - r.since, Obstacle: obstacle, Detail: detail,
		})
		r = r.next
	}
	return all
}

// obstacleLocked says why those who wait are not served now.
func (p *Pool) obstacleLocked() (Obstacle, string) {
	switch {
	case p.orders.Paused:
		return ObstaclePaused, ""
	case p.failure != nil && p.clock.now() < p.retryAt:
		return ObstacleRefused, p.failure.Error()
	case p.capped:
		return ObstacleLimit, p.house.budgets.inTheWay(p, &p.cfg)
	case len(p.attempts)+p.arriving+p.cleaning > 0:
		return ObstacleOpening, ""
	case len(p.leaving) > 0 && p.totalLocked() >= p.limitLocked():
		return ObstacleClosing, ""
	}
	return ObstacleBusy, ""
}
