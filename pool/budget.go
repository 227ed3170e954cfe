package pool

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"pooler/backend"
	"pooler/config"
)

// budgets counts server sessions against the limits that span several pools: of a database, of a user, of all, and
// what PostgreSQL itself takes. A pool that is refused a slot is remembered; the arbiter sees to it that it gets one in
// its turn. Its mutex is the innermost: it is taken under a Pool's.
type budgets struct {
	mu        sync.Mutex // guards all below, and Pool.slots
	all       int
	databases map[string]int
	users     map[string]int
	servers   map[backend.Address]*serverBudget
	wanting   map[*Pool]*want
	turn      uint64
	clock     *clock
	kick      chan struct{} // a slot has become free, or somebody wants one: the arbiter has work
}

// serverBudget is what is known of one PostgreSQL's max_connections: nothing, until it refuses a connection.
type serverBudget struct {
	used  int
	limit int
	until time.Duration // the limit counts as long as this; then it is tried again
}

// want is a pool whose clients wait for a server session that a limit does not allow.
type want struct {
	turn       uint64 // of its first refusal: earlier goes first among equals
	promised   int    // slots that other pools are giving up for it
	promisedAt time.Duration
}

// promiseKept is how long the arbiter waits for a slot that has been promised, before it asks another pool for one.
const promiseKept = time.Second

// limitKind says what a limit spans.
type limitKind uint8

const (
	limitAll limitKind = iota
	limitDatabase
	limitUser
	limitServer
)

// String is the key of the configuration, the server's own in the last case.
func (k limitKind) String() string {
	return [...]string{"max_server_connections", "max_db_connections", "max_user_connections", "max_connections"}[k]
}

// limit is one that spans several pools, with what is used of it.
type limit struct {
	kind        limitKind
	used, limit int
}

func newBudgets(c *clock) budgets {
	return budgets{
		databases: map[string]int{}, users: map[string]int{}, servers: map[backend.Address]*serverBudget{},
		wanting: map[*Pool]*want{}, clock: c, kick: make(chan struct{}, 1),
	}
}

func addressOf(cfg config.Pool) backend.Address { return backend.AddressOf(cfg.Host, cfg.Port) }

// limitsLocked is the limits that hold for p, narrowest first.
func (b *budgets) limitsLocked(p *Pool, cfg *config.Pool) []limit {
	limits := make([]limit, 0, 4)
	if cfg.MaxUser > 0 {
		limits = append(limits, limit{limitUser, b.users[p.Key.User], cfg.MaxUser})
	}
	if cfg.MaxDatabase > 0 {
		limits = append(limits, limit{limitDatabase, b.databases[p.Key.Database], cfg.MaxDatabase})
	}
	if s := b.servers[p.server]; s != nil && b.clock.now() < s.until {
		limits = append(limits, limit{limitServer, s.used, s.limit})
	}
	if cfg.MaxServers > 0 {
		limits = append(limits, limit{limitAll, b.all, cfg.MaxServers})
	}
	return limits
}

// take counts one more server session for p, if every limit allows it and no pool that has less is waiting for the
// slot. Otherwise p is remembered. The caller holds p.mu.
func (b *budgets) take(p *Pool, cfg *config.Pool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, refused := b.refusalLocked(p, cfg); refused {
		if b.wanting[p] == nil {
			b.turn++
			b.wanting[p] = &want{turn: b.turn}
		}
		b.wake()
		return false
	}
	if w := b.wanting[p]; w != nil {
		w.promised = max(0, w.promised-1)
	}
	b.countLocked(p, 1)
	return true
}

// refusalLocked is the first limit that has no slot for p, or only for those who come before it.
func (b *budgets) refusalLocked(p *Pool, cfg *config.Pool) (limit, bool) {
	for _, l := range b.limitsLocked(p, cfg) {
		if l.limit-l.used <= b.aheadLocked(p, l.kind) {
			return l, true
		}
	}
	return limit{}, false
}

// inTheWay names the limit that keeps p from a slot; "": none does any more.
func (b *budgets) inTheWay(p *Pool, cfg *config.Pool) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, refused := b.refusalLocked(p, cfg); refused {
		return l.kind.String()
	}
	return ""
}

// give gives the slot of a server session back that has ended, or has not come about.
func (b *budgets) give(p *Pool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.countLocked(p, -1)
	if len(b.wanting) > 0 {
		b.wake()
	}
}

func (b *budgets) wake() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

func (b *budgets) countLocked(p *Pool, n int) {
	p.slots += n
	b.all += n
	addTo(b.databases, p.Key.Database, n)
	addTo(b.users, p.Key.User, n)
	s := b.servers[p.server]
	if s == nil {
		s = &serverBudget{}
		b.servers[p.server] = s
	}
	if s.used += n; s.used == 0 && b.clock.now() >= s.until {
		delete(b.servers, p.server)
	}
}

func addTo(counts map[string]int, key string, n int) {
	if counts[key] += n; counts[key] == 0 {
		delete(counts, key)
	}
}

// aheadLocked is how many waiting pools that share p's limit of that kind come before it.
func (b *budgets) aheadLocked(p *Pool, kind limitKind) int {
	n := 0
	for q := range b.wanting {
		if q != p && shares(p, q, kind) && b.compareLocked(q, p, kind) < 0 {
			n++
		}
	}
	return n
}

func shares(p, q *Pool, kind limitKind) bool {
	switch kind {
	case limitDatabase:
		return p.Key.Database == q.Key.Database
	case limitUser:
		return p.Key.User == q.Key.User
	case limitServer:
		return p.server == q.server
	case limitAll:
	}
	return true
}

// compareLocked says which of two waiting pools gets a slot first (negative: p): the one whose user has fewer server
// sessions, then the one that has fewer itself, then the one that has waited longer. So shares are max-min fair,
// between users and then between their pools.
func (b *budgets) compareLocked(p, q *Pool, kind limitKind) int {
	return cmp.Or(cmp.Compare(b.shareLocked(p, kind), b.shareLocked(q, kind)), cmp.Compare(p.slots, q.slots),
		cmp.Compare(b.turnLocked(p), b.turnLocked(q)))
}

// shareLocked is how many server sessions p's user has under a limit of that kind.
func (b *budgets) shareLocked(p *Pool, kind limitKind) int {
	if kind == limitAll || kind == limitServer {
		return b.users[p.Key.User]
	}
	return p.slots // the pools of a database belong to different users, those of a user to one
}

func (b *budgets) turnLocked(p *Pool) uint64 {
	if w := b.wanting[p]; w != nil {
		return w.turn
	}
	return 1<<64 - 1
}

// forget notes that nobody waits for a slot for p.
func (b *budgets) forget(p *Pool) {
	b.mu.Lock()
	delete(b.wanting, p)
	b.mu.Unlock()
}

// contended tells whether any pool waits for a slot.
func (b *budgets) contended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.wanting) > 0
}

// move notes that p's sessions will be with another PostgreSQL. Those there are still are counted with it, too: soon
// they will.
func (b *budgets) move(p *Pool, server backend.Address) {
	b.mu.Lock()
	defer b.mu.Unlock()
	slots := p.slots
	b.countLocked(p, -slots)
	p.server = server
	b.countLocked(p, slots)
}

// sharesServer tells whether other pools have sessions with p's PostgreSQL.
func (b *budgets) sharesServer(p *Pool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.servers[p.server]
	return s != nil && s.used > p.slots
}

// full notes that PostgreSQL has refused p a connection because it has no place left. For a second the pooler's own
// sessions there may not become more, so that pools give places up for each other.
func (b *budgets) full(p *Pool, server backend.Address) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.servers[server]; s != nil {
		s.limit, s.until = s.used, b.clock.now()+fullFor
	}
	if b.wanting[p] == nil {
		b.turn++
		b.wanting[p] = &want{turn: b.turn}
	}
	b.wake()
}

// fullFor is how long PostgreSQL is believed to be full after it has said so.
const fullFor = time.Second

// waiting is the pools that want a slot, in the order in which they would get one.
func (b *budgets) waiting() []*Pool {
	b.mu.Lock()
	defer b.mu.Unlock()
	pools := make([]*Pool, 0, len(b.wanting))
	for p := range b.wanting {
		pools = append(pools, p)
	}
	slices.SortFunc(pools, func(p, q *Pool) int { return b.compareLocked(p, q, limitAll) })
	return pools
}

// LimitUse is how much of a limit is in use that spans several pools.
type LimitUse struct {
	Key         string // of the configuration
	Name        string // of the database or the user, if it is one's
	Used, Limit int
}

// LimitUses is a snapshot of the limits on server sessions that are set, as far as there are pools under them.
func (m *Manager) LimitUses() []LimitUse {
	limits := map[LimitUse]int{}
	for key, p := range m.all() {
		cfg := p.Config()
		limits[LimitUse{Key: limitAll.String()}] = cfg.MaxServers
		limits[LimitUse{Key: limitDatabase.String(), Name: key.Database}] = cfg.MaxDatabase
		limits[LimitUse{Key: limitUser.String(), Name: key.User}] = cfg.MaxUser
	}
	b := &m.budgets
	b.mu.Lock()
	defer b.mu.Unlock()
	var uses []LimitUse
	for u, limit := range limits {
		if u.Limit = limit; limit <= 0 {
			continue
		}
		switch u.Key {
		case limitDatabase.String():
			u.Used = b.databases[u.Name]
		case limitUser.String():
			u.Used = b.users[u.Name]
		default:
			u.Used = b.all
		}
		uses = append(uses, u)
	}
	return uses
}
