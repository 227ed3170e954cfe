package frontend

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/loop"
	"pooler/pool"
)

// lookups asks PostgreSQL about users that want to log in: what secret one has (auth_query) and of which roles one is a
// member. It belongs to the loop that accepts.
//
// A look-up borrows a server session from a pool as a client does, so that all limits hold; but from pools that no client
// can ask for (lookupSuffix), and of a class that none can be in. So nothing that a client has set or made, a search_path, a
// role, a temporary table, can be in force where its password is looked up.
type lookups struct {
	srv    *Server
	loop   *loop.Loop
	known  map[question]finding
	asking map[question]*lookup // to which others may still be added
	all    map[*lookup]struct{}
	kept   int       // size of what is known, in bytes
	swept  time.Time // when what is too old was let go of

	changes atomic.Uint64 // of roles, that have come through the pooler
	noted   uint64        // of those
}

// question is what a look-up is about.
type question struct {
	config.AuthLookup
	user   string
	groups bool // the roles that user is a member of, rather than its secret
}

// finding is what PostgreSQL has answered. It never changes.
type finding struct {
	secret config.Secret
	groups map[string]bool
	err    error
	asked  time.Time
	size   int  // what it takes while it is remembered, in bytes
	cached bool // it was not asked for this time
}

const (
	lookupSuffix = " (auth_query)" // behind auth_user's name in the name of a pool; no client may have it
	lookupClass  = "auth query"    // CheckClass refuses it to clients because of the space
	maxLookups   = 10_000          // answers that are remembered
	maxKept      = 16 << 20        // and their size, in bytes; an answer may list thousands of roles

	// lookupSessions is how many server sessions a pool for look-ups has at most. One answers thousands of questions a
	// second, and who asks has proven nothing yet.
	lookupSessions = 4
)

func newLookups(srv *Server, l *loop.Loop) *lookups {
	return &lookups{srv: srv, loop: l, known: map[question]finding{}, asking: map[question]*lookup{}, all: map[*lookup]struct{}{}}
}

// isLookupUser tells whether the name is one of a pool for look-ups.
func isLookupUser(name string) bool { return strings.HasSuffix(name, lookupSuffix) }

// lookupPool is the configuration of the pool for look-ups whose clients' name is key.User.
func lookupPool(cfg *config.Config, key pool.Key) (config.Pool, bool) {
	p, ok := cfg.LookupPool(config.AuthLookup{User: strings.TrimSuffix(key.User, lookupSuffix), DBName: key.Database})
	p.User, p.Callbacks, p.Reserve, p.Size = key.User, false, 0, min(p.Size, lookupSessions)
	return p, ok
}

// ask has then called with the answer to q, at once or later, on the loop. Whoever asks the same meanwhile shares the
// answer.
func (ls *lookups) ask(q question, then func(finding)) {
	ls.keepUp()
	if a, ok := ls.known[q]; ok && time.Since(a.asked) < ls.fresh() {
		a.cached = true
		then(a)
		return
	}
	if one := ls.asking[q]; one != nil {
		one.waiting = append(one.waiting, then)
		return
	}
	one := &lookup{lookups: ls, question: q, waiting: []func(finding){then}}
	ls.asking[q], ls.all[one] = one, struct{}{}
	one.begin()
}

// fresh is how long an answer is believed.
func (ls *lookups) fresh() time.Duration { return time.Duration(ls.srv.Config().AuthQueryCache) }

// forget lets go of the answer to one question, which has turned out not to be what the client knows.
func (ls *lookups) forget(q question) {
	if a, ok := ls.known[q]; ok {
		ls.kept -= a.size
		delete(ls.known, q)
	}
}

func (ls *lookups) forgetAll() {
	clear(ls.known)
	ls.kept = 0
}

// sweep lets go of answers that are believed no more. It is for now and then.
func (ls *lookups) sweep() {
	if time.Since(ls.swept) < time.Second {
		return
	}
	ls.swept = time.Now()
	for q, a := range ls.known {
		if time.Since(a.asked) >= ls.fresh() {
			ls.forget(q)
		}
	}
}

// rolesChanged lets go of all answers. Any goroutine may call it, and who asks from then on hears what holds now.
func (ls *lookups) rolesChanged() { ls.changes.Add(1) }

// keepUp carries that out. What is being asked may be answered with what was: that is for those who asked before.
func (ls *lookups) keepUp() {
	if n := ls.changes.Load(); n != ls.noted {
		ls.noted = n
		ls.forgetAll()
		clear(ls.asking)
	}
}

// end gives up the look-ups that are under way.
func (ls *lookups) end() {
	for one := range ls.all {
		one.giveUp(errShuttingDown)
	}
}

// keep remembers an answer.
func (ls *lookups) keep(q question, a finding) {
	a.size = q.size(a)
	if ls.fresh() <= 0 || a.size > maxKept {
		return
	}
	ls.forget(q)
	if len(ls.known) >= maxLookups || ls.kept+a.size > maxKept {
		ls.forgetAll() // names cost a stranger nothing, and what is forgotten is asked again
	}
	ls.known[q] = a
	ls.kept += a.size
}

// size is about what an answer takes, in bytes.
func (q question) size(a finding) int {
	const entry, role = 400, 48 // of the two maps, with what is fixed in an entry
	n := entry + len(q.user) + len(a.secret.Text)
	for name := range a.groups {
		n += role + len(name)
	}
	return n
}

// lookup is one question on its way.
type lookup struct {
	borrowing
	lookups  *lookups
	question question
	waiting  []func(finding)
	pool     *pool.Pool
	req      pool.Request
	lease    *pool.Lease
	timer    *time.Timer
	asked    time.Time
	heard    []byte // of PostgreSQL's answer
	tooLong  bool   // to be kept
	again    bool   // it is asked a second time, because the server session was lost
	done     bool
}

var (
	errLookupTime = errors.New("PostgreSQL has not answered within client_login_timeout")
	errLookupLost = errors.New("the server session was lost")
	errLookupSize = errors.New("the answer is too large")
)

func (k *lookup) begin() {
	ls := k.lookups
	cfg, ok := ls.srv.poolConfig(k.question.DBName, k.question.User+lookupSuffix)
	if !ok {
		k.finish(finding{err: fmt.Errorf("database %q, in which to look users up, is not in the configuration", k.question.DBName)})
		return
	}
	limit := time.Duration(ls.srv.Config().ClientLoginTimeout)
	p, class, err := ls.srv.pools.Join(cfg, lookupClass)
	if err != nil {
		k.finish(finding{err: err})
		return
	}
	k.pool = p
	k.req = pool.Request{Borrower: k, Loop: ls.loop, Class: class, Terms: &pool.Terms{Wait: limit}}
	k.timer = time.AfterFunc(limit, func() { ls.loop.Post(func() { k.giveUp(errLookupTime) }) })
	k.acquire()
}

func (k *lookup) acquire() {
	switch l, err := k.pool.Acquire(&k.req); {
	case err != nil:
		k.Refused(err)
	case l != nil:
		k.Lent(l)
	}
}

// Lent implements pool.Borrower.
func (k *lookup) Lent(l *pool.Lease) {
	if k.done {
		l.Release()
		return
	}
	k.lease, k.asked, k.heard = l, time.Now(), nil
	l.Conn.Unnamed = nil // the question is the unnamed statement
	for _, e := range lookupEntries {
		l.Conn.Replies.Push(e)
	}
	l.Conn.Write(k.question.encode())
}

// Refused implements pool.Borrower.
func (k *lookup) Refused(err error) { k.finish(finding{err: err}) }

// FromServer implements backend.Borrower.
func (k *lookup) FromServer(p []byte) {
	if k.tooLong = k.tooLong || len(k.heard)+len(p) > maxAnswer; !k.tooLong {
		k.heard = append(k.heard, p...)
	}
}

// OnSettled implements backend.Borrower.
func (k *lookup) OnSettled() {
	l := k.lease
	if l.Conn.Status() == 'I' {
		k.lease = nil
		l.Release()
	}
	a := finding{err: errLookupSize}
	if !k.tooLong {
		a = k.question.read(k.heard)
	}
	a.asked = k.asked
	k.finish(a)
}

// OnServerLost implements backend.Borrower. A session that had idled may have been lost without anybody's fault.
func (k *lookup) OnServerLost(backend.RetireReason) {
	k.lease = nil
	if k.done {
		return
	}
	if k.again {
		k.finish(finding{err: errLookupLost})
		return
	}
	k.again, k.tooLong = true, false
	k.lookups.loop.Post(func() {
		if !k.done {
			k.acquire()
		}
	})
}

// giveUp ends a look-up that PostgreSQL has not answered.
func (k *lookup) giveUp(err error) {
	if k.done {
		return
	}
	if k.lease == nil && k.pool != nil {
		k.pool.Withdraw(&k.req)
	}
	k.finish(finding{err: err})
}

// finish tells those who wait.
func (k *lookup) finish(a finding) {
	if k.done {
		return
	}
	k.done = true
	if k.timer != nil {
		k.timer.Stop()
	}
	if l := k.lease; l != nil {
		k.lease = nil
		l.Reclaim(backend.Leftovers{Dirty: true, Cancel: true})
	}
	if k.pool != nil {
		k.pool.Leave(&k.req)
	}
	ls := k.lookups
	delete(ls.all, k)
	ls.keepUp()
	if ls.asking[k.question] == k { // nothing has changed since
		delete(ls.asking, k.question)
		if a.err == nil {
			ls.keep(k.question, a)
		}
	}
	for _, then := range k.waiting { // there may be thousands
		ls.loop.PostPatient(func() { then(a) })
	}
}
