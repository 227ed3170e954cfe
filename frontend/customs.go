package frontend

import (
	"slices"
	"strings"
	"sync"
	"time"

	"pooler/backend"
	"pooler/internal/sessionstate"
	"pooler/internal/wire"
)

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

// hasForeignCustoms tells whether c has parameters of extensions' kind that this client has never set. They are empty,
// but to the client they should not be there at all.
func (s *Session) hasForeignCustoms(c *backend.Conn) bool {
	return slices.ContainsFunc(c.Customs, s.isForeign)
}

func (s *Session) isForeign(name string) bool {
	_, own := s.req.Settings.Value(name)
	return !own
}

// seesForeign tells whether a frame speaks of a parameter that should not be there, while the session can still get
// another server session.
func (s *Session) seesForeign(frame []byte) bool {
	c := s.lease.Conn
	if !c.Replies.Idle() || c.Status() != 'I' || s.pins != 0 || s.doubts != nil {
		return false
	}
	if time.Until(time.Unix(0, s.pool.Replaced.Load())) > replaceBurst {
		return false
	}
	seen := false
	sessionstate.CustomNames(s.textIn(frame), func(name string) {
		seen = seen || slices.Contains(c.Customs, name) && s.isForeign(name)
	})
	return seen
}

// A pool replaces a hundred server sessions at once, and ten a second, because of parameters that should not be there:
// clients that take turns to set and to ask are not worth more.
const (
	replaceEvery = 100 * time.Millisecond
	replaceBurst = 10 * time.Second
)

// textIn is the statement text that a frame has or runs.
func (s *Session) textIn(frame []byte) []byte {
	body := frame[wire.HeaderSize:]
	switch frame[0] {
	case 'Q', 'P':
		return body
	case 'B':
		if _, rest, ok := wire.Cstring(body); ok {
			name, _, _ := wire.Cstring(rest)
			if st := s.names[string(name)]; st != nil {
				return sessionstate.TextOf(st.Body)
			}
		}
		return s.unnamed.body
	}
	return nil
}

// changeLease gives the server session up for another, before anything of the client has been sent to it.
func (s *Session) changeLease() {
	s.pool.Replaced.Store(max(s.pool.Replaced.Load(), time.Now().UnixNano()) + int64(replaceEvery))
	l := s.lease
	s.lease, s.carry, s.foreign = nil, carryNothing, false
	s.enter(PhaseIdle)
	l.Conn.Lend(nil)
	l.Conn.Retire(backend.RetireForeignSetting)
}
