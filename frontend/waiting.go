package frontend

import (
	"time"

	"pooler/pool"
)

// waitersShown bounds the work for who asks.
const waitersShown = 10_000

// Waiting lists the clients that wait for a server session, in the order in which their pools will serve them.
func (srv *Server) Waiting() []WaiterInfo {
	now := time.Now()
	queue := srv.pools.Queue(waitersShown)
	list := make([]WaiterInfo, 0, len(queue))
	for _, w := range queue {
		s, ok := w.Borrower.(*Session)
		if !ok {
			continue
		}
		why := w.Obstacle.String()
		if w.Detail != "" {
			why += ": " + w.Detail
		}
		list = append(list, WaiterInfo{
			Key: pool.Key{Database: w.Database, User: w.User}, Client: s.id, Class: w.Class, Position: w.Position,
			Since: now.Add(-w.Waited), Why: why,
		})
	}
	return list
}
