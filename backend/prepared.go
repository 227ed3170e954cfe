package backend

import (
	"container/list"

	"pooler/internal/sessionstate"
)

// PreparedSet is the prepared statements that a server session holds, least recently used last.
type PreparedSet struct {
	byStatement map[*sessionstate.Statement]*list.Element
	order       list.List
	statements  *sessionstate.Statements // counts holders
	stale       map[*sessionstate.Statement]bool
}

// MarkStale notes that s has to be closed and prepared again: a table that it uses has changed.
func (p *PreparedSet) MarkStale(s *sessionstate.Statement) {
	if p.byStatement[s] == nil {
		return
	}
	if p.stale == nil {
		p.stale = map[*sessionstate.Statement]bool{}
	}
	p.stale[s] = true
}

// Stale tells whether s has to be closed and prepared again.
func (p *PreparedSet) Stale(s *sessionstate.Statement) bool { return len(p.stale) > 0 && p.stale[s] }

// Has tells whether s is prepared, and counts that as a use.
func (p *PreparedSet) Has(s *sessionstate.Statement) bool {
	e := p.byStatement[s]
	if e == nil {
		return false
	}
	p.order.MoveToFront(e)
	return true
}

// Add notes that s is being prepared.
func (p *PreparedSet) Add(s *sessionstate.Statement, all *sessionstate.Statements) {
	if p.Has(s) {
		return
	}
	if p.byStatement == nil {
		p.byStatement = map[*sessionstate.Statement]*list.Element{}
		p.statements = all
	}
	all.Hold(s)
	p.byStatement[s] = p.order.PushFront(s)
}

// Remove notes that s is not prepared after all, or was closed.
func (p *PreparedSet) Remove(s *sessionstate.Statement) {
	e := p.byStatement[s]
	if e == nil {
		return
	}
	delete(p.byStatement, s)
	delete(p.stale, s)
	p.order.Remove(e)
	p.statements.Drop(s)
}

// Oldest is the statement whose last use is longest ago, if there are more than limit.
func (p *PreparedSet) Oldest(limit int) *sessionstate.Statement {
	if len(p.byStatement) <= limit {
		return nil
	}
	return p.order.Back().Value.(*sessionstate.Statement)
}

// All is the statements, most recently used first.
func (p *PreparedSet) All() []*sessionstate.Statement {
	all := make([]*sessionstate.Statement, 0, p.order.Len())
	for e := p.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*sessionstate.Statement))
	}
	return all
}

// Len is how many statements are prepared.
func (p *PreparedSet) Len() int { return len(p.byStatement) }

// Clear notes that none is prepared any more.
func (p *PreparedSet) Clear() {
	for s := range p.byStatement {
		p.Remove(s)
	}
}
