package frontend

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"pooler/config"
	"pooler/internal/hba"
)

// Pass is what somebody has who has proven with a password, and not over PostgreSQL's protocol, that he is User. Any
// goroutine may use it.
type Pass struct {
	User string
	srv  *Server
	who  hba.Client

	mu       sync.Mutex // guards all below
	seen     sighting
	checked  time.Time
	checking bool
	void     bool
}

// sighting is what somebody has to be checked against, and how that was found out.
type sighting struct {
	now  *current
	rule *hba.Rule
	inquiry
	secret config.Secret
	looked question // of which secret is the answer; zero: auth_file has it, or none is needed
}

// passFresh is how long a pass is believed if PostgreSQL or name servers have to be asked what it is worth.
const passFresh = 5 * time.Second

func newPass(srv *Server, v Visitor, seen sighting) *Pass {
	return &Pass{User: v.User, srv: srv, who: v.client(), seen: seen, checked: time.Now()}
}

// examine finds out what a client of the console has to be checked against.
func (srv *Server) examine(ctx context.Context, who hba.Client) (sighting, error) {
	s := sighting{now: srv.settings.Load()}
	for {
		need := s.findRule(who)
		if need == hba.NeedNothing {
			return s, srv.findSecret(ctx, &s, who)
		}
		err := s.mayAsk(need)
		if err == nil {
			err = srv.findFact(ctx, &s, need, who)
		}
		if err != nil {
			return s, judgement(err)
		}
	}
}

// findFact finds out what is needed to find the rule.
func (srv *Server) findFact(ctx context.Context, s *sighting, need hba.Need, who hba.Client) (err error) {
	switch need {
	case hba.NeedGroups:
		s.facts.Groups, err = srv.rolesOf(ctx, s.now, who)
	case hba.NeedHostName:
		s.facts.HostNames, _, err = await(ctx, srv, srv.naming.of(placeOf(who.Addr)), func() ([]string, bool, error) {
			return srv.hostNames(ctx, who.Addr), true, nil
		})
	case hba.NeedInterfaces:
		s.facts.Interfaces = srv.interfaces(ctx)
	case hba.NeedNothing:
	}
	return err
}

func (s *sighting) findRule(who hba.Client) (need hba.Need) {
	s.rule, need = s.now.credentials.rules.Match(who, s.facts)
	return need
}

// rolesOf asks for a goroutine of which roles a user is a member.
func (srv *Server) rolesOf(ctx context.Context, now *current, who hba.Client) (map[string]bool, error) {
	about, err := whomToAsk(now.cfg, who.Database)
	if err != nil {
		return nil, err
	}
	a := srv.lookUp(ctx, question{about, who.User, true})
	return a.groups, a.err
}

// findSecret adds the secret, if the rule asks for one.
func (srv *Server) findSecret(ctx context.Context, s *sighting, who hba.Client) error {
	if s.rule == nil || s.rule.Method != hba.Password && s.rule.Method != hba.MD5 && s.rule.Method != hba.SCRAM {
		return nil
	}
	secret, ok := s.now.credentials.stored(who.User)
	about, asked := s.now.cfg.AuthLookup(who.Database)
	if s.secret = secret; ok || !asked {
		return nil
	}
	s.looked = question{about, who.User, false}
	a := srv.lookUp(ctx, s.looked)
	if a.err != nil {
		return unchecked(a.err)
	}
	s.secret = a.secret
	return nil
}

// same tells whether who was checked against one would be let in by the other.
func (s *sighting) same(other sighting) bool {
	return s.rule != nil && other.rule != nil && s.rule.String() == other.rule.String() && s.secret == other.secret
}

// Right is what the holder may do now. A reload that changes his secret, or how clients prove who they are, makes the
// pass worthless; what others have to be asked about is looked at every few seconds.
func (p *Pass) Right() Right {
	if !p.holds() {
		return RightNone
	}
	return p.srv.rightOf(p.User)()
}

func (p *Pass) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.srv.settings.Load(); now != p.seen.now {
		again := sighting{now: now, inquiry: p.seen.inquiry}
		if again.findRule(p.who) == hba.NeedNothing {
			again.secret, again.looked = p.secretBy(now)
		} else {
			again.rule = nil
		}
		p.void = p.void || !again.same(p.seen)
		p.seen = again
	}
	asks := p.seen.looked != question{} || p.seen.facts.Groups != nil || p.seen.facts.HostNames != nil
	if asks && !p.void && !p.checking && time.Since(p.checked) > passFresh {
		p.checking = p.srv.through(p.srv.resolving, p.check)
	}
	return !p.void
}

// CheckedOnce tells whether only an LDAP server knew whether the password was right: it is not asked again what has become of
// the holder, since that would take the password.
func (p *Pass) CheckedOnce() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.rule != nil && p.seen.rule.Method == hba.LDAP
}

// secretBy is the holder's secret by another configuration, as far as it can be known without asking.
func (p *Pass) secretBy(now *current) (config.Secret, question) {
	if secret, ok := now.credentials.stored(p.who.User); ok || p.seen.looked == (question{}) {
		return secret, question{}
	}
	return p.seen.secret, p.seen.looked
}

// check asks again what the pass rests on. While that cannot be found out, the pass holds.
func (p *Pass) check() {
	ctx, cancel := context.WithTimeout(p.srv.life, passFresh)
	defer cancel()
	var seen sighting
	var err error
	if bug := p.srv.contain(func() { seen, err = p.srv.examine(ctx, p.who) }); bug != nil {
		err = bug
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checking, p.checked = false, time.Now()
	if err == nil && seen.now == p.seen.now {
		p.void = p.void || !seen.same(p.seen)
		p.seen = seen
	}
}

// Admin is the holder as the console sees him. He has no connection, so Serve is not for him.
func (p *Pass) Admin(remote netip.AddrPort, application string) *Admin {
	return &Admin{User: p.User, Database: "pooler", Application: application, Remote: remote, Right: p.Right}
}

// await runs f when it is its turn and returns what it does, or why it was not waited for.
func await[A any](ctx context.Context, srv *Server, at turn, f func() (A, bool, error)) (a A, ok bool, err error) {
	type outcome struct {
		a   A
		ok  bool
		err error
	}
	result := make(chan outcome, 1)
	if !srv.through(at, func() {
		if ctx.Err() != nil {
			return
		}
		var o outcome
		if bug := srv.contain(func() { o.a, o.ok, o.err = f() }); bug != nil {
			o.err = unchecked(bug)
		}
		result <- o
	}) {
		return a, false, errShuttingDown
	}
	select {
	case o := <-result:
		return o.a, o.ok, o.err
	case <-ctx.Done():
		return a, false, context.Cause(ctx)
	}
}
