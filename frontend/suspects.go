package frontend

import "time"

// Suspicion is from when on a client that asks nothing is suspected of having been forgotten; 0: never.
type Suspicion struct {
	Idle          time.Duration // holding nothing
	InTransaction time.Duration
	Pinned        time.Duration // holding a server session that cannot leave it
}

// suspectsAtOnce bounds how many clients a loop describes in one go; the others' turn comes when these are known.
const suspectsAtOnce = 50

// Suspects lists the clients that are over a limit, and describes those of them that are not known yet, so many at a
// time. Nobody changes known meanwhile. It asks the loops, so no loop may call it.
func (srv *Server) Suspects(limits Suspicion, known map[SessionID]bool) (over []SessionID, fresh []ClientInfo) {
	type found struct {
		over  []SessionID
		fresh []ClientInfo
	}
	local := srv.onlyAddress()
	for _, part := range gather(srv, func(c *crew) []found {
		var f found
		now := c.now()
		for i := range c.berths {
			b := &c.berths[i]
			if !b.isSuspect(&limits, now) {
				continue
			}
			f.over = append(f.over, b.session.id)
			if !known[b.session.id] && len(f.fresh) < suspectsAtOnce {
				f.fresh = append(f.fresh, b.describe(local))
			}
		}
		return []found{f}
	}) {
		over = append(over, part.over...)
		fresh = append(fresh, part.fresh...)
	}
	for i := range fresh {
		fresh[i].complete()
	}
	return over, fresh
}

// isSuspect judges by what the last look has seen.
func (b *berth) isSuspect(limits *Suspicion, now time.Duration) bool {
	if b.heard != b.seen {
		return false
	}
	limit := time.Duration(0)
	switch b.does {
	case doesNothing:
		limit = limits.Idle
	case doesThink:
		limit = limits.InTransaction
	case doesKeep:
		if b.session.pins != 0 {
			limit = limits.Pinned
		}
	case doesRun, doesWait, doesOwn, doesLogin:
	}
	return limit > 0 && now-b.since >= limit
}
