package frontend

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/hba"
	"pooler/pool"
)

// claim is a greeter's claim to be a user, while it is looked into. It belongs to the greeter's loop, and to a goroutine
// while the greeter is summing.
type claim struct {
	*current // what it goes by, from beginning to end
	who      hba.Client
	inquiry
	rule    *hba.Rule
	proof   auth.Proof
	looked  question // what the secret is the answer to
	cached  bool     // it was the answer to an earlier login's
	instead error    // why it gets no session, which it is told when it has proven itself
	cancel  context.CancelFunc
}

// drop ends what is being done elsewhere for a client that has gone.
func (c *claim) drop() {
	if c != nil && c.cancel != nil {
		c.cancel()
	}
}

// local tells whether the client is on this machine: at the other end of a Unix socket, and not behind a proxy there.
func (g *greeter) local() bool { return !g.proxied && !g.remote.IsValid() }

// identify has the client prove that it is who it says, by the rule that it falls under. early is what it has sent behind
// its StartupMessage.
func (g *greeter) identify(now *current, early []byte) {
	g.buf = slices.Clone(early)
	g.claim = &claim{current: now, who: hba.Client{
		Local: g.local(), TLS: g.tls != nil, Addr: g.remote.Addr(), Database: g.start.database, User: g.start.user,
	}}
	if _, known := now.cfg.Database(g.start.database); !known && !config.IsConsole(g.start.database) {
		g.claim.instead = noSuchDatabase(g.start.database)
	}
	g.findRule()
}

// findRule finds the rule, if need be with what others have to be asked for first.
func (g *greeter) findRule() {
	c, srv := g.claim, g.srv
	rule, need := c.credentials.rules.Match(c.who, c.facts)
	if err := c.mayAsk(need); err != nil {
		g.leave(unchecked(err))
		return
	}
	switch need {
	case hba.NeedNothing:
		g.follow(rule)
	case hba.NeedGroups:
		g.findGroups(g.findRule)
	case hba.NeedHostName:
		g.elsewhere(srv.naming.of(placeOf(c.who.Addr)), func(ctx context.Context) { c.facts.HostNames = srv.hostNames(ctx, c.who.Addr) }, g.findRule)
	case hba.NeedInterfaces:
		g.elsewhere(srv.resolving, func(ctx context.Context) { c.facts.Interfaces = srv.interfaces(ctx) }, g.findRule)
	}
}

// findGroups finds out of which roles the user is a member, and goes on with then. Of a database that does not exist nobody
// can be asked: its users are members of nothing.
func (g *greeter) findGroups(then func()) {
	c := g.claim
	about, err := whomToAsk(c.cfg, c.who.Database)
	switch {
	case err != nil && c.instead != nil:
		c.facts.Groups = map[string]bool{}
		then()
		return
	case err != nil:
		g.leave(unchecked(err))
		return
	}
	g.lookUp(question{about, c.who.User, true}, func(a finding) {
		c.facts.Groups = a.groups
		then()
	})
}

// whomToAsk says who is to be asked for the roles of users of a database.
func whomToAsk(cfg *config.Config, database string) (config.AuthLookup, error) {
	about, ok := cfg.AuthLookup(database)
	switch {
	case ok:
		return about, nil
	case about.User == "":
		return about, fmt.Errorf("there is no auth_user to ask for the roles of users of database %q", database)
	}
	return about, fmt.Errorf("there is no auth_dbname in which to ask for the roles of users of database %q", database)
}

// follow does what the rule demands.
func (g *greeter) follow(rule *hba.Rule) {
	c := g.claim
	if c.rule = rule; rule == nil || rule.Method == hba.Reject {
		if rule != nil {
			g.method = methodReject
		}
		refusal := refusalOf(hba.Refusal(c.who, rule))
		refusal.Cause = c.instead
		g.leave(refusal)
		return
	}
	if rule.ClientCert() != "" && g.certificate() == nil {
		g.method = methodOf(rule.Method)
		g.leave(refusalOf(hba.NoCertificate()))
		return
	}
	switch g.method = methodOf(rule.Method); rule.Method {
	case hba.Trust:
		g.proven()
	case hba.Cert:
		g.proven() // which looks at the certificate, as for any rule with clientcert=verify-full
	case hba.Peer:
		g.askSystem()
	case hba.LDAP:
		ask, p := auth.LDAP(c.credentials.directories[rule], c.who.User)
		g.prove(p, ask)
	case hba.OAuth:
		ask, p := auth.OAuth(c.credentials.validators[rule], func(systemUser string) bool { return c.allows(g.srv.life, g.srv, systemUser) })
		g.prove(p, ask)
	case hba.Password, hba.MD5, hba.SCRAM:
		g.findSecret()
	case hba.Reject:
	}
}

// findSecret finds the user's secret, in auth_file or in PostgreSQL, and asks the client to prove that it knows it.
func (g *greeter) findSecret() {
	c := g.claim
	if secret, ok := c.credentials.stored(c.who.User); ok {
		g.challenge(secret, true)
		return
	}
	about, ok := c.cfg.AuthLookup(c.who.Database)
	if !ok {
		g.challenge(config.Secret{}, false)
		return
	}
	c.looked = question{about, c.who.User, false}
	g.lookUp(c.looked, func(a finding) {
		c.cached = a.cached
		g.challenge(a.secret, a.secret.Kind != config.SecretNone)
	})
}

// challenge asks the client to prove that it knows the secret.
func (g *greeter) challenge(secret config.Secret, known bool) {
	c := g.claim
	var ask []byte
	var p auth.Proof
	g.method, ask, p = c.credentials.byPassword(c.rule.Method, c.who.User, secret, known, g.binding())
	g.prove(p, ask)
}

// lookUp has PostgreSQL asked, and goes on with then. If it says that there is no such database, that is for those who prove
// themselves: others must not find out which there are.
func (g *greeter) lookUp(q question, then func(finding)) {
	g.wait()
	g.srv.lookups.ask(q, func(a finding) {
		if g.loop == nil {
			return // it has gone meanwhile
		}
		g.goOn()
		a = q.whole(a)
		var refused *backend.ServerError
		switch {
		case a.err == nil:
			then(a)
		case errors.As(a.err, &refused) && refused.Response.Code == codeNoSuchDatabase && q.DBName == g.start.database:
			g.claim.instead = a.err
			then(finding{groups: map[string]bool{}})
		default:
			g.leave(uncheckedBy(a.err))
		}
	})
}

// elsewhere runs f in a goroutine when it is its turn and then, on the loop, goes on with then, unless the client has gone
// meanwhile. ctx ends when it has, or client_login_timeout.
func (g *greeter) elsewhere(at turn, f func(ctx context.Context), then func()) {
	g.wait()
	l := g.loop
	ctx, cancel := context.WithDeadline(g.srv.life, g.deadline)
	g.claim.cancel = cancel
	if !g.srv.through(at, func() {
		defer cancel()
		if g.gone.Load() {
			return
		}
		bug := g.srv.contain(func() { f(ctx) })
		l.PostPatient(func() {
			switch {
			case g.loop == nil:
			case bug != nil:
				g.leave(unchecked(bug))
			default:
				g.goOn()
				then()
			}
		})
	}) {
		g.leave(errShuttingDown)
	}
}

// wait has the client wait for what is being found out, no longer than client_login_timeout.
func (g *greeter) wait() {
	g.summing = true
	g.keepDeadline()
}

// keepDeadline has the login end by the client_login_timeout of the client's own, if that is less: what a client calls itself
// gives it no more time than anybody has.
func (g *greeter) keepDeadline() {
	cfg := g.claim.cfg
	own := cfg.Session(g.start.client(g.remote)).LoginTimeout
	g.deadline = g.since.Add(min(own, time.Duration(cfg.ClientLoginTimeout)))
}

// proven goes on with a client that has proven who it is, but for its certificate.
func (g *greeter) proven() {
	rule := g.claim.rule
	if rule.ClientCert() != "verify-full" {
		g.enter()
		return
	}
	name, err := certified(rule, g.certificate())
	if err != nil {
		g.leave(failure(rule.Method, g.claim.who.User, err))
		return
	}
	g.ifMapped(name, g.enter)
}

// enter goes on with a client that has proven everything.
func (g *greeter) enter() {
	if missing := g.claim.instead; missing != nil {
		g.leave(missing)
		return
	}
	if p := g.claim.proof; p != nil {
		g.start.learned, _ = p.Learned()
	}
	early := g.buf
	g.start.method = g.method
	g.buf, g.claim = nil, nil
	g.become(early)
}

// failure is what a client is told that has not proven to be user; only the log says why.
func failure(m hba.Method, user string, cause error) *Refusal {
	r := refusalOf(hba.Failure(m, user))
	r.Cause = cause
	return r
}

// certificate is the client's, nil if it has shown none that is valid.
func (g *greeter) certificate() *x509.Certificate {
	if g.tls == nil {
		return nil
	}
	return g.tls.peer
}

// binding is what SCRAM can be tied to.
func (g *greeter) binding() auth.Binding {
	if g.tls == nil {
		return auth.Binding{}
	}
	return auth.Binding{EndPoint: g.tls.endPoint}
}

// unchecked is for what has kept the pooler from finding out whether a client is who it says; only the log says what.
func unchecked(cause error) *Refusal {
	return &Refusal{Code: codeSystemError, Message: "authentication could not be checked", Cause: cause}
}

// uncheckedBy is what a client is told when PostgreSQL could not be asked. What it says to anybody who connects, it says to
// this one too: that it is starting, for which clients try again elsewhere, or full.
func uncheckedBy(err error) error {
	var refused *backend.ServerError
	if errors.As(err, &refused) && slices.Contains([]string{codeCannotConnectNow, codeTooManyConnections}, refused.Response.Code) ||
		errors.Is(err, pool.ErrStopped) || errors.Is(err, pool.ErrClosed) {
		return err
	}
	return unchecked(err)
}

func refusalOf(code, message string) *Refusal { return &Refusal{Code: code, Message: message} }

func noSuchDatabase(name string) *Refusal {
	return &Refusal{
		Code: codeNoSuchDatabase, Message: fmt.Sprintf("database %q does not exist", name),
		Hint: `The pooler's configuration has neither a table for it nor the fallback [databases."*"].`,
	}
}
