package frontend

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"pooler/backend"
	"pooler/internal/loop"
	"pooler/internal/sessionstate"
)

// statementBook counts statements on one loop, whose thread alone touches it. A text must lose its literals before it
// can be counted, which costs about as much as a tenth of relaying it. So each is counted as long as there are few;
// beyond that every slow one, and one in sampleOf of the others in place of all.
type statementBook struct {
	entries map[string]*statementEntry
	budget  int // texts that may still be looked at before the next look at the clients
	skip    int // until the next sample
}

type statementEntry struct {
	StatementStat
	last time.Duration
}

const (
	statementBudget = 100 // in lookEvery
	sampleOf        = 64
	slowStatement   = 10 * time.Millisecond
	maxStatements   = 1_000 // different ones of a loop
)

// count counts the statement that u notes, which took so long, and returns its fingerprint if it has made one.
func (b *statementBook) count(u *backend.Usage, standardStrings bool, took time.Duration) string {
	u.Uncounted = false
	weight := uint64(1)
	switch {
	case b.budget > 0:
		b.budget--
	case took >= slowStatement:
	case b.skip > 0:
		b.skip--
		return ""
	default:
		b.skip, weight = sampleOf-1, sampleOf
	}
	e := b.entry(sessionstate.Fingerprint(u.Noted.Head(), standardStrings, sessionstate.FingerprintShown))
	e.Calls += weight
	e.Time += took * time.Duration(weight)
	e.Longest = max(e.Longest, took)
	e.Estimated = e.Estimated || weight > 1
	e.last = max(e.last, u.Query)
	return e.Text
}

// pinned counts that a statement with this fingerprint has pinned its server session.
func (b *statementBook) pinned(fingerprint string) {
	if fingerprint != "" {
		b.entry(fingerprint).Pins++
	}
}

func (b *statementBook) entry(name string) *statementEntry {
	e := b.entries[name]
	if e == nil {
		if len(b.entries) >= maxStatements {
			b.makeRoom()
		}
		if b.entries == nil {
			b.entries = map[string]*statementEntry{}
		}
		e = &statementEntry{}
		e.Text = name
		b.entries[name] = e
	}
	return e
}

// makeRoom forgets the quarter of the statements that took the least time in all.
func (b *statementBook) makeRoom() {
	all := make([]*statementEntry, 0, len(b.entries))
	for _, e := range b.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(x, y *statementEntry) int { return cmp.Compare(x.Time, y.Time) })
	for _, e := range all[:len(all)/4+1] {
		delete(b.entries, e.Text)
	}
}

func (c *crew) statementStats() []StatementStat {
	list := make([]StatementStat, 0, len(c.statements.entries))
	for _, e := range c.statements.entries {
		st := e.StatementStat
		st.Last = loop.Epoch().Add(e.last)
		list = append(list, st)
	}
	return list
}

// Statements lists what statements took, those with the most time first. It asks the loops, so no loop may call it.
func (srv *Server) Statements() []StatementStat {
	merged := map[string]int{}
	var list []StatementStat
	for _, st := range gather(srv, (*crew).statementStats) {
		i, known := merged[st.Text]
		if !known {
			merged[st.Text] = len(list)
			list = append(list, st)
			continue
		}
		into := &list[i]
		into.Calls += st.Calls
		into.Time += st.Time
		into.Longest = max(into.Longest, st.Longest)
		into.Pins += st.Pins
		into.Estimated = into.Estimated || st.Estimated
		if st.Last.After(into.Last) {
			into.Last = st.Last
		}
	}
	slices.SortFunc(list, func(a, b StatementStat) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), strings.Compare(a.Text, b.Text))
	})
	return list
}
