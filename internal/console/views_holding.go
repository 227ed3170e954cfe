package console

import (
	"cmp"
	"context"
	"slices"
	"time"

	"pooler/frontend"
	"pooler/pool"
)

// serverOf names the server session that a client holds.
func serverOf(c *frontend.ClientInfo) any {
	if c.Server == 0 {
		return nil
	}
	return serverPtr(c.Server)
}

func keyOf(c *frontend.ClientInfo) pool.Key { return pool.Key{Database: c.Database, User: c.User} }

// pinRow is a client whose server session cannot leave it.
type pinRow struct {
	*frontend.ClientInfo
	now          time.Time
	keepsWaiting int // clients of its pool
}

func pinAttrs() []attr[pinRow] {
	return []attr[pinRow]{
		{"client", Text, func(p pinRow) any { return clientPtr(p.ID) }},
		{"application", Text, func(p pinRow) any { return p.Application }},
		{"user", Text, func(p pinRow) any { return p.User }},
		{"database", Text, func(p pinRow) any { return p.Database }},
		{"addr", Text, func(p pinRow) any { return pgbAddr(p.Remote) }},
		{"server", Text, func(p pinRow) any { return serverOf(p.ClientInfo) }},
		{"server_pid", Int4, func(p pinRow) any { return some(int32(p.ServerPID)) }},
		{"reason", Text, func(p pinRow) any { return p.Pinned }},
		{"statement", Text, func(p pinRow) any { return some(p.PinStatement) }},
		{"since", Timestamp, func(p pinRow) any { return p.PinnedSince }},
		{"pinned_seconds", Float8, func(p pinRow) any { return secondsSince(p.now, p.PinnedSince) }},
		{"keeps_waiting", Int4, func(p pinRow) any { return p.keepsWaiting }},
		{"activity", Text, func(p pinRow) any { return p.State }},
		{"activity_seconds", Float8, func(p pinRow) any { return secondsSince(p.now, p.Since) }},
		{"class", Text, func(p pinRow) any { return some(p.Class) }},
		{"id", Int8, func(p pinRow) any { return p.ID }},
	}
}

// pinRows is the pinned clients, those first that keep most others waiting, and then those that have been for longest.
func pinRows(_ context.Context, src *Snapshots) []pinRow {
	now, clients := src.Now(), src.engaged()
	waiting := map[pool.Key]int{}
	for i := range clients {
		if !clients[i].Waiting.IsZero() {
			waiting[keyOf(&clients[i])]++
		}
	}
	var rows []pinRow
	for i := range clients {
		if c := &clients[i]; c.Pinned != "" {
			rows = append(rows, pinRow{c, now, waiting[keyOf(c)]})
		}
	}
	slices.SortFunc(rows, func(a, b pinRow) int {
		return cmp.Or(cmp.Compare(b.keepsWaiting, a.keepsWaiting), a.PinnedSince.Compare(b.PinnedSince), cmp.Compare(a.ID, b.ID))
	})
	return rows
}

// waiterRow is a client that waits for a server session, and the one that has held one of its pool for longest.
type waiterRow struct {
	frontend.WaiterInfo
	now    time.Time
	client *frontend.ClientInfo // nil: it has left meanwhile
	holder *frontend.ClientInfo // nil: nobody holds one
}

func waiterAttrs() []attr[waiterRow] {
	client := func(of func(*frontend.ClientInfo) any) func(waiterRow) any {
		return func(w waiterRow) any {
			if w.client == nil {
				return nil
			}
			return of(w.client)
		}
	}
	holder := func(of func(*frontend.ClientInfo) any) func(waiterRow) any {
		return func(w waiterRow) any {
			if w.holder == nil {
				return nil
			}
			return of(w.holder)
		}
	}
	type info = frontend.ClientInfo
	return []attr[waiterRow]{
		{"client", Text, func(w waiterRow) any { return clientPtr(w.Client) }},
		{"user", Text, func(w waiterRow) any { return w.User }},
		{"database", Text, func(w waiterRow) any { return w.Database }},
		{"application", Text, client(func(c *info) any { return c.Application })},
		{"addr", Text, client(func(c *info) any { return pgbAddr(c.Remote) })},
		{"position", Int4, func(w waiterRow) any { return w.Position }},
		{"waited_seconds", Float8, func(w waiterRow) any { return secondsSince(w.now, w.Since) }},
		{"why", Text, func(w waiterRow) any { return w.Why }},
		{"holder", Text, holder(func(c *info) any { return clientPtr(c.ID) })},
		{"holder_application", Text, holder(func(c *info) any { return c.Application })},
		{"holder_state", Text, holder(func(c *info) any { return c.State })},
		{"holder_pinned", Text, holder(func(c *info) any { return some(c.Pinned) })},
		{"held_seconds", Float8, func(w waiterRow) any { return w.held() }},
		{"holder_statement", Text, holder(func(c *info) any { return some(c.Statement) })},
		{"holder_server_pid", Int4, holder(func(c *info) any { return some(int32(c.ServerPID)) })},
		{"class", Text, func(w waiterRow) any { return some(w.Class) }},
		{"id", Int8, func(w waiterRow) any { return w.Client }},
		{"holder_id", Int8, holder(func(c *info) any { return c.ID })},
	}
}

func (w waiterRow) held() any {
	if w.holder == nil {
		return nil
	}
	return secondsSince(w.now, w.holder.Held)
}

// waiterRows is those who wait, by pool and place in the queue.
func waiterRows(_ context.Context, src *Snapshots) []waiterRow {
	now, waiting, clients := src.Now(), src.Waiting(), src.engaged()
	byID := make(map[frontend.SessionID]*frontend.ClientInfo, len(clients))
	holders := map[pool.Key]*frontend.ClientInfo{}
	for i := range clients {
		c := &clients[i]
		byID[c.ID] = c
		if h := holders[keyOf(c)]; c.Server != 0 && (h == nil || c.Held.Before(h.Held)) {
			holders[keyOf(c)] = c
		}
	}
	rows := make([]waiterRow, 0, len(waiting))
	for _, w := range waiting {
		rows = append(rows, waiterRow{w, now, byID[w.Client], holders[w.Key]})
	}
	slices.SortFunc(rows, func(a, b waiterRow) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.User, b.User), cmp.Compare(a.Position, b.Position))
	})
	return rows
}

func holdingViews() []definition {
	return []definition{
		define("pins", "clients whose server session cannot leave them, why, and whom that keeps waiting", pinAttrs(), pinRows),
		define("waiting", "clients that wait for a server session, why, and who has held one for longest", waiterAttrs(), waiterRows),
	}
}
