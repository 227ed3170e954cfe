// Package gate bounds how much is done at the same time.
package gate

import "sync"

// Gate runs functions in goroutines, so many at once as its limit says; further ones wait their turn and cost a few
// bytes each. Its zero value lets nothing through. Any goroutine may use it.
type Gate struct {
	mu      sync.Mutex // guards all below
	limit   int
	running int
	waiting []func() // first come, first served
}

// New makes a gate that lets limit functions run at the same time.
func New(limit int) *Gate { return &Gate{limit: limit} }

// Go runs f as soon as there is room.
func (g *Gate) Go(f func()) {
	g.mu.Lock()
	g.waiting = append(g.waiting, f)
	g.startLocked()
	g.mu.Unlock()
}

// SetLimit changes the limit. What runs goes on.
func (g *Gate) SetLimit(limit int) {
	g.mu.Lock()
	g.limit = limit
	g.startLocked()
	g.mu.Unlock()
}

// Limit is how many may run at the same time.
func (g *Gate) Limit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit
}

// Stat is how many run, and how many wait.
func (g *Gate) Stat() (running, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, len(g.waiting)
}

func (g *Gate) startLocked() {
	for g.running < g.limit && len(g.waiting) > 0 {
		f := g.takeLocked()
		g.running++
		go g.run(f)
	}
}

func (g *Gate) takeLocked() func() {
	f := g.waiting[0]
	g.waiting[0] = nil
	if g.waiting = g.waiting[1:]; len(g.waiting) == 0 {
		g.waiting = nil // a storm's queue is not kept
	}
	return f
}

// run runs f and then, in the same goroutine, whoever waits.
func (g *Gate) run(f func()) {
	for f != nil {
		f()
		f = g.next()
	}
}

func (g *Gate) next() func() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running > g.limit || len(g.waiting) == 0 {
		g.running--
		return nil
	}
	return g.takeLocked()
}
