package frontend

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pooler/backend"
	"pooler/internal/sessionstate"
)

// learned is the statements that have left state which their text does not show. They are audited each time. Any
// goroutine may use it.
type learned struct {
	len   atomic.Int32
	mu    sync.Mutex
	known map[string]struct{} // by fingerprint
}

// maxLearned bounds the memory; beyond it all is forgotten and learned anew.
const maxLearned = 10_000

func (l *learned) has(text []byte) bool {
	if l.len.Load() == 0 {
		return false
	}
	key := sessionstate.Fingerprint(text[:min(len(text), maxShownText)], true)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.known[key]
	return ok
}

func (l *learned) add(text []byte) {
	key := sessionstate.Fingerprint(text, true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil || len(l.known) >= maxLearned {
		l.known = map[string]struct{}{}
	}
	l.known[key] = struct{}{}
	l.len.Store(int32(len(l.known)))
}

// customs knows the names of extensions' parameters (app.user) in each database: PostgreSQL lists them nowhere, so an
// audit has to ask by name. They come from statements, and from the functions of the database. Any goroutine may use it.
type customs struct {
	mu  sync.Mutex
	all map[string]*databaseCustoms
}

type databaseCustoms struct {
	names []string  // sorted
	read  time.Time // when the functions were last looked at
}

const (
	functionsFresh = 30 * time.Second // how long what functions mention is believed
	maxCustoms     = 1000             // names a database
)

// ask returns the names to ask about beside those of names that have a dot, and sets functions if the database's
// functions should be looked at.
func (cs *customs) ask(database string, functions *bool, names []string) []string {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	d := cs.ofLocked(database)
	*functions = time.Since(d.read) > functionsFresh
	if *functions {
		d.read = time.Now()
	}
	list := slices.Clone(d.names)
	for _, n := range names {
		if strings.Contains(n, ".") && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

// learn takes note of what an audit has found. It reports whether there are names that the audit did not ask about.
func (cs *customs) learn(database string, r *backend.Report) bool {
	more := false
	cs.mu.Lock()
	defer cs.mu.Unlock()
	d := cs.ofLocked(database)
	for _, n := range r.Mentions {
		more = d.add(n) || more
	}
	for _, o := range r.Settings {
		if strings.Contains(o.Name, ".") {
			d.add(o.Name)
		}
	}
	return more
}

// expire has the functions of a database looked at again: there is a new one.
func (cs *customs) expire(database string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.ofLocked(database).read = time.Time{}
}

func (cs *customs) ofLocked(database string) *databaseCustoms {
	if cs.all == nil {
		cs.all = map[string]*databaseCustoms{}
	}
	d := cs.all[database]
	if d == nil {
		d = &databaseCustoms{}
		cs.all[database] = d
	}
	return d
}

func (d *databaseCustoms) add(name string) bool {
	i, known := slices.BinarySearch(d.names, name)
	if known || len(d.names) >= maxCustoms {
		return false
	}
	d.names = slices.Insert(d.names, i, name)
	return true
}
