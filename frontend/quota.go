package frontend

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"pooler/config"
)

// quotaKind is what a limit on clients spans.
type quotaKind uint8

const (
	quotaAll quotaKind = iota // of all clients; checked before they have proven who they are (greeter.begin)
	quotaDatabase
	quotaUser
	quotaClass
	quotaSource
	quotaApplication
	quotaKinds
	quotaLogins = quotaKinds // of a place's connections that have not logged in: counted by the lobby
)

// String is the configuration's key.
func (k quotaKind) String() string {
	return [...]string{
		"max_client_conn", "max_db_client_connections", "max_user_client_connections", "max_class_client_connections",
		"max_source_client_connections", "max_application_client_connections", "max_source_logins",
	}[k]
}

// member is what limits tell clients apart by.
type member struct {
	source                             netip.Addr // invalid: a Unix socket
	database, user, class, application string
}

func memberOf(who config.Client, class string) member {
	return member{who.Source, who.Database, who.User, class, truncate(who.Application)}
}

// name is m's name where a limit of that kind counts it.
func (m member) name(k quotaKind) string {
	return [...]string{"", m.database, m.user, m.class, sourceName(m.source), m.application}[k]
}

func sourceName(a netip.Addr) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}

// quotas counts the clients that are logged in, under every name that a limit may count them by. Any goroutine may use
// it. What it keeps is bounded by the clients there are.
type quotas struct {
	mu       sync.Mutex // guards all below
	cohorts  map[member]*cohort
	counters map[quotaKey]*counter
	all      counter
	crossed  []crossing    // marks crossed that nobody has been told of
	kick     chan struct{} // there are some
}

type quotaKey struct {
	kind quotaKind
	name string
}

// cohort is the clients that no limit can tell apart.
type cohort struct {
	who      member
	clients  int
	counters [quotaKinds]*counter
}

// counter is the clients that one limit counts.
type counter struct {
	quotaKey
	clients int
	mark    mark
}

func newQuotas() *quotas {
	return &quotas{cohorts: map[member]*cohort{}, counters: map[quotaKey]*counter{}, kick: make(chan struct{}, 1)}
}

func limitsByKind(l *config.ClientLimits) [quotaKinds]int {
	return [...]int{l.All, l.Database, l.User, l.Class, l.Source, l.Application}
}

// take counts one more client, unless one of its limits is reached. connected is how many are connected in all.
func (q *quotas) take(who member, l *config.ClientLimits, connected int) (*cohort, *Refusal) {
	limits := limitsByKind(l)
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.cohortLocked(who)
	for k := quotaDatabase; k < quotaKinds; k++ {
		if c := g.counters[k]; limits[k] > 0 && c.clients >= limits[k] {
			q.forgetLocked(g)
			return nil, overQuota(c.quotaKey, limits[k])
		}
	}
	q.countLocked(g, 1)
	q.lookLocked(g, limits, connected)
	return g, nil
}

// give counts one client less.
func (q *quotas) give(g *cohort, l *config.ClientLimits, connected int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.countLocked(g, -1)
	q.lookLocked(g, limitsByKind(l), connected)
	q.forgetLocked(g)
}

// look compares what is used with the limits, which have changed.
func (q *quotas) look(g *cohort, l *config.ClientLimits, connected int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lookLocked(g, limitsByKind(l), connected)
}

// lookAll compares the number of connections with max_client_conn.
func (q *quotas) lookAll(connected, limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.markLocked(&q.all, connected, limit)
}

func (q *quotas) cohortLocked(who member) *cohort {
	if g := q.cohorts[who]; g != nil {
		return g
	}
	g := &cohort{who: who}
	g.counters[quotaAll] = &q.all
	for k := quotaDatabase; k < quotaKinds; k++ {
		key := quotaKey{k, who.name(k)}
		c := q.counters[key]
		if c == nil {
			c = &counter{quotaKey: key}
			q.counters[key] = c
		}
		g.counters[k] = c
	}
	q.cohorts[who] = g
	return g
}

func (q *quotas) countLocked(g *cohort, n int) {
	g.clients += n
	for _, c := range g.counters {
		c.clients += n
	}
}

// forgetLocked drops what counts nobody any more.
func (q *quotas) forgetLocked(g *cohort) {
	if g.clients > 0 {
		return
	}
	delete(q.cohorts, g.who)
	for _, c := range g.counters {
		if c.clients == 0 && c.kind != quotaAll {
			delete(q.counters, c.quotaKey)
		}
	}
}

func (q *quotas) lookLocked(g *cohort, limits [quotaKinds]int, connected int) {
	q.markLocked(&q.all, connected, limits[quotaAll])
	for k := quotaDatabase; k < quotaKinds; k++ {
		q.markLocked(g.counters[k], g.counters[k].clients, limits[k])
	}
}

// markLocked notes a mark that c has crossed upwards, for who waits on kick.
func (q *quotas) markLocked(c *counter, used, limit int) {
	before := c.mark
	if c.mark = before.after(used, limit); c.mark <= before {
		return
	}
	if len(q.crossed) < alarmsKept {
		q.crossed = append(q.crossed, crossing{limit: c.kind.String(), of: c.quotaKey, used: used, max: limit})
	}
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// takeCrossed returns what has been crossed since the last call.
func (q *quotas) takeCrossed() []crossing {
	q.mu.Lock()
	defer q.mu.Unlock()
	crossed := q.crossed
	q.crossed = nil
	return crossed
}

// sources is who the clients are that a limit counts, those with the most first.
func (q *quotas) sources(of quotaKey) []Source {
	counts := map[Source]int{}
	for _, g := range q.members(of) {
		who := g.who
		counts[Source{Address: sourceName(who.source), Application: who.application, User: who.user, Database: who.database}] += g.clients
	}
	all := make([]Source, 0, len(counts))
	for s, n := range counts {
		s.Clients = n
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.Clients, a.Clients), strings.Compare(a.String(), b.String()))
	})
	return all
}

// members copies the cohorts that a limit counts, and no more, since logins wait meanwhile.
func (q *quotas) members(of quotaKey) []cohort {
	q.mu.Lock()
	defer q.mu.Unlock()
	var found []cohort
	for _, g := range q.cohorts {
		if g.counters[of.kind].name == of.name {
			found = append(found, *g)
		}
	}
	return found
}

// overQuota is what a client is told that a limit shuts out.
func overQuota(of quotaKey, limit int) *Refusal {
	message := "too many clients "
	switch {
	case of.kind == quotaAll:
		message = "sorry, too many clients already" // PostgreSQL's own words, which programs know
	case of.kind == quotaSource:
		message += "from " + of.name
	case of.kind == quotaLogins:
		message = "too many connections from " + of.name + " that have not logged in"
	case of.name == "" && of.kind == quotaClass:
		message += "without a connection class"
	case of.name == "" && of.kind == quotaApplication:
		message += "without an application_name"
	default:
		message += "for " + of.String()
	}
	return &Refusal{
		Code: codeTooManyConnections, Message: message,
		Hint: fmt.Sprintf("The pooler's limit %s = %d is reached.", of.kind, limit), limit: of.kind.String(),
	}
}

// String names who is counted, for people.
func (key quotaKey) String() string {
	switch key.kind {
	case quotaDatabase:
		return fmt.Sprintf("database %q", key.name)
	case quotaUser:
		return fmt.Sprintf("user %q", key.name)
	case quotaClass:
		return fmt.Sprintf("connection class %q", key.name)
	case quotaSource:
		return "source " + key.name
	case quotaApplication:
		return fmt.Sprintf("application %q", key.name)
	case quotaAll, quotaKinds:
	}
	return "all"
}
