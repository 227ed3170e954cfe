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
}

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

// Len is how many statements are prepared.
func (p *PreparedSet) Len() int { return len(p.byStatement) }

// Clear notes that none is prepared any more.
func (p *PreparedSet) Clear() {
	for s := range p.byStatement {
		p.Remove(s)
	}
}
