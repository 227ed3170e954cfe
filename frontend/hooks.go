package frontend

import (
	"slices"
	"strings"
	"time"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/sessionstate"
)

// hooking is where the calls of on_get and on_release, and of the callbacks in schema cpool_state, stand for a lease.
// They run as the client, as if it had sent them itself: what they leave is the client's.
type hooking uint8

const (
	hookNone    hooking = iota // there are none, or they are done
	hookGet                    // on_get goes in front of the client's first message
	hookAwaited                // on_get has been sent, and the client's messages wait for its end (hook_failure = "error")
	hookOwed                   // on_get has been run: on_release is due when the session is given back
	hookRelease                // on_release runs
	hookDone                   // it has run: the session is given back, whatever the client has sent meanwhile
)

// getHooks is what is to be run when the client gets the server session c.
func (s *Session) getHooks(c *backend.Conn) []string {
	return s.hooks(s.limits.OnGet, c.Callbacks.Get, "get_callback")
}

func (s *Session) releaseHooks(c *backend.Conn) []string {
	return s.hooks(s.limits.OnRelease, c.Callbacks.Release, "rls_callback")
}

func (s *Session) hooks(own string, callback bool, name string) []string {
	if own == "" && !callback {
		return nil
	}
	var list []string
	if own != "" {
		list = append(list, own)
	}
	if callback {
		list = append(list, "SELECT "+sessionstate.CallbackSchema+"."+name+"("+
			sessionstate.QuoteLiteral(s.pool.Key.Database)+", "+sessionstate.QuoteLiteral(s.limits.Class)+")")
	}
	return list
}

// beginHooks is called when the client has got a server session for a request.
func (s *Session) beginHooks() {
	c := s.lease.Conn
	s.hook, s.lease.Conn.HookFault = hookNone, ""
	get := len(s.getHooks(c)) > 0
	if !get && len(s.releaseHooks(c)) == 0 {
		return
	}
	s.hook = hookGet
	if get && s.limits.HookFailure == config.HookError {
		s.awaitHooks()
	}
}

// takeHooks appends on_get.
func (s *Session) takeHooks(dst []byte) []byte {
	s.hook = hookOwed
	return s.callHooks(dst, s.getHooks(s.lease.Conn))
}

// callHooks appends the hooks' statements, and takes note of what they may leave.
func (s *Session) callHooks(dst []byte, list []string) []byte {
	for _, sql := range list {
		dst = s.inject(dst, sql, sessionstate.Hook)
		s.note(s.crew.texts.Get([]byte(sql), s.lease.Conn.StdStrings), []byte(sql))
	}
	return dst
}

// awaitHooks runs on_get before anything of the client's is sent, so that its failure can refuse that.
func (s *Session) awaitHooks() {
	var out []byte
	if s.carry != carryNothing {
		out = s.takeCarry(nil)
	}
	s.lease.Conn.Write(s.takeHooks(out))
	s.hook, s.asking = hookAwaited, true
}

// releaseHook runs on_release, if it is due, and reports whether that has to be waited for.
func (s *Session) releaseHook() bool {
	if s.hook != hookOwed {
		return false
	}
	c := s.lease.Conn
	list := s.releaseHooks(c)
	if len(list) == 0 {
		s.hook = hookNone
		return false
	}
	s.hook, s.asking = hookRelease, true
	c.Write(s.callHooks(nil, list))
	return true
}

// OnHook implements backend.Borrower.
func (s *Session) OnHook(fault string) {
	if fault == "" {
		return
	}
	s.srv.counters.hookFailures.Add(1)
	name := "on_get"
	if s.hook == hookRelease {
		name = "on_release"
	}
	if s.srv.mayComplain() {
		s.srv.log.Warn("a hook has failed", s.logArgs("hook", name, "fault", fault, "hook_failure", string(s.limits.HookFailure), "class", s.limits.Class)...)
	}
	s.lease.Conn.HookFault = fault
}

// mayComplain keeps what fails at every statement from flooding the log: one line a second.
func (srv *Server) mayComplain() bool {
	now := time.Now().Unix()
	last := srv.complained.Load()
	return last != now && srv.complained.CompareAndSwap(last, now)
}

// hooksSettled goes on behind a hook that had to be waited for. It reports whether the lease is gone.
func (s *Session) hooksSettled() bool {
	switch s.hook {
	case hookAwaited:
		s.hook, s.asking = hookOwed, false
		if s.lease.Conn.HookFault != "" {
			s.refuseForHook()
			return true
		}
	case hookRelease:
		s.hook, s.asking = hookDone, false
	case hookNone, hookGet, hookOwed, hookDone:
	}
	return false
}

// refuseForHook refuses the client's request because on_get has failed; the server session is closed.
func (s *Session) refuseForHook() {
	fault := s.lease.Conn.HookFault
	l := s.letGo()
	l.Conn.Lend(nil)
	l.Conn.Retire(backend.RetireHook)
	s.refuse(&Refusal{
		Code: codeHookFailed, Message: "the pooler's on_get hook has failed: " + fault,
		Hint: `The statement has not been run. The pooler's configuration says so: hook_failure = "error".`,
	})
}

// spoilt tells whether the server session is to be closed because a hook has failed.
func (s *Session) spoilt() bool {
	return s.lease.Conn.HookFault != "" && s.limits.HookFailure != config.HookIgnore
}

// CheckHooks complains of hooks that would get in the way of the pooler's own keeping of sessions.
func CheckHooks(cfg *config.Config, complain func(reason string, key ...string)) {
	check := func(n config.Narrow, table ...string) {
		for _, hook := range []struct {
			key    string
			sql    *string
			mayNot sessionstate.Effect
		}{{"on_get", n.OnGet, hookMayNot}, {"on_release", n.OnRelease, hookMayNot | releaseMayNot}} {
			if hook.sql == nil {
				continue
			}
			if reason := hookFault(*hook.sql, hook.mayNot); reason != "" {
				complain(reason, append(slices.Clone(table), hook.key)...)
			}
		}
	}
	check(config.Narrow{OnGet: &cfg.OnGet, OnRelease: &cfg.OnRelease})
	for name, t := range cfg.Databases {
		check(t.Narrow, "databases", name)
	}
	for name, t := range cfg.Users {
		check(t.Narrow, "users", name)
	}
	for name, t := range cfg.Classes {
		check(t.Narrow, "classes", name)
	}
}

const (
	hookMayNot = sessionstate.EffectDiscard | sessionstate.EffectDeallocate | sessionstate.EffectPrepare |
		sessionstate.EffectExecute | sessionstate.EffectReset
	releaseMayNot = sessionstate.EffectSettings | sessionstate.EffectRole | sessionstate.EffectTemp |
		sessionstate.EffectHoldCursor | sessionstate.EffectListen | sessionstate.EffectLoad
)

// transactionVerbs begin the statements that begin and end transactions.
var transactionVerbs = []string{"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"}

// hookFault says what is wrong with a hook, "" if nothing is.
func hookFault(sql string, mayNot sessionstate.Effect) string {
	if e := sessionstate.Scan([]byte(sql), true) & mayNot; e != 0 {
		return "must not leave or change session state (" + strings.ReplaceAll(e.String(), "_", " ") + "): the pooler keeps that for each client itself"
	}
	for _, verb := range sessionstate.Inspect([]byte(sql), true).Verbs {
		if slices.Contains(transactionVerbs, verb) {
			return "must not begin or end a transaction (" + strings.ToUpper(verb) + ")"
		}
	}
	return ""
}
