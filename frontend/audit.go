package frontend

import (
	"slices"
	"strings"

	"pooler/backend"
	"pooler/config"
	"pooler/internal/journal"
	"pooler/internal/sessionstate"
)

// sampleEvery is after how many of its statements a client is audited although they seem harmless, with
// state_check = "auto": what triggers, defaults and views may have left is found so, and learned. The audit takes
// PostgreSQL about 0.5 ms, so this costs it 0.5 µs a statement.
const sampleEvery = 1000

// note takes note of what a statement may leave in its server session, when it is sent to be run. text is its
// beginning at least.
func (s *Session) note(t *sessionstate.Text, text []byte) {
	c := s.lease.Conn
	c.Unseen = uint64(s.id)
	if c.Opaque() {
		t = &sessionstate.Text{Effects: t.Effects | sessionstate.EffectUnknown}
	}
	t = s.limits.policy.Seen(t)
	switch {
	case t.Effects&sequenced != 0:
		s.noteSequence(t)
	case s.pins&sequencePin != 0 && c.Status() == 'I':
		if s.sequenceAge++; s.sequenceAge > maxSequenceAge {
			s.pins &^= sequencePin
		}
	}
	if t.Effects&(sessionstate.EffectNeighbours|sessionstate.EffectDefaults) != 0 {
		s.noteNeighbours(t)
	}
	if t.Effects&noted == 0 && !s.tempPath && s.seemsHarmless(text) {
		return
	}
	s.noteReset(t, text)
	if s.boundary != sessionstate.BoundarySession {
		s.noteLeft(t, text)
	}
}

// noteReset takes note of a statement that may set start-up parameters back to the server's default, which is not the
// client's.
func (s *Session) noteReset(t *sessionstate.Text, text []byte) {
	if t.Effects&(sessionstate.EffectReset|sessionstate.EffectDiscard) != 0 {
		s.resetting = nil
		if s.base != nil && (t.Effects&sessionstate.EffectReset != 0 || t.DiscardsAll()) {
			s.resetting = t
		}
	}
	if !t.Resets(s.base) {
		return
	}
	d := s.doubt(text)
	d.AllSettings, d.Resets = true, append(d.Resets, t)
	if t.Effects&(sessionstate.EffectSettings|sessionstate.EffectRole) != 0 {
		s.restore = carryRestore
	} else if s.restore == carryNothing {
		s.restore = carryRestoreLocal
	}
}

// noteLeft takes note of what a statement may leave that the boundary has to know.
func (s *Session) noteLeft(t *sessionstate.Text, text []byte) {
	if lasting := sessionstate.PinsOf(t.Effects); lasting != 0 {
		s.pins |= lasting
		s.notePins(text[:min(len(text), maxShownText)])
	}
	if s.tempPath {
		s.doubt(text).Kinds |= tempPin
	}
	if t.Doubtful(s.pins) && (s.limits.StateCheck != config.CheckOff || t.Effects&^sessionstate.EffectUnknown != 0) {
		s.doubt(text).Raise(t, s.pins)
		if s.doubts.Pointless() {
			s.doubts = nil
		}
	}
	if s.limits.StateCheck == config.CheckStrict {
		d := s.doubt(text)
		d.RaiseAll()
		d.Sampled = true
	}
	s.noteExecuted(t, text)
}

// noted are the effects that note has something to do for.
const noted = ^(sessionstate.EffectSequenceRead | sessionstate.EffectInsert | sessionstate.EffectDefaults |
	sessionstate.EffectNeighbours | sessionstate.EffectShowPrepared | sessionstate.EffectSequence)

// sequenced are the effects that may leave a value for currval and lastval.
const sequenced = sessionstate.EffectSequence | sessionstate.EffectInsert | sessionstate.EffectUnknown

// seemsHarmless is for a statement without effects. It reports false when it is to be audited all the same.
func (s *Session) seemsHarmless(text []byte) bool {
	switch {
	case s.limits.StateCheck == config.CheckOff, s.boundary == sessionstate.BoundarySession:
		return true
	case s.limits.StateCheck == config.CheckAuto && s.untilSample > 0 && !s.srv.learned.has(text) && !s.suspected():
		s.untilSample--
		return s.pins&sessionstate.PinUnverified == 0
	}
	s.untilSample = sampleEvery
	d := s.doubt(text)
	d.RaiseAll()
	d.Sampled = true
	return false
}

// suspected tells whether the pool looks for a statement that leaves state unseen.
func (s *Session) suspected() bool {
	return s.pool.Suspicions.Load() > 0 && s.pool.Suspicions.Add(-1) >= 0
}

// noteExecuted adds what the prepared statements do that the text executes by SQL.
func (s *Session) noteExecuted(t *sessionstate.Text, text []byte) {
	if t.Effects&sessionstate.EffectExecute == 0 {
		return
	}
	var names []string
	if t.Details != nil {
		names = t.Details.Executes
	}
	for _, name := range names {
		s.noteRun(name, text)
	}
	if len(names) == 0 {
		s.doubt(text).RaiseAll()
	}
}

// noteRun takes note of what the statement of that name does, which SQL's EXECUTE, or a Bind, has run.
func (s *Session) noteRun(name string, text []byte) {
	var executed *sessionstate.Text
	if st := s.names[name]; st != nil {
		executed = st.Text
	} else if sql, ok := s.sqlNames.Value(name); ok {
		executed = s.crew.texts.Get([]byte(sql), s.lease.Conn.StdStrings)
	}
	if executed == nil || executed.Effects&sessionstate.EffectExecute != 0 { // of another, or of itself
		s.doubt(text).RaiseAll()
	}
	if executed != nil {
		body := *executed
		body.Effects &^= sessionstate.EffectPrepare | sessionstate.EffectExecute
		s.note(&body, text)
	}
}

// doubt returns the session's doubts, which it begins if there are none.
func (s *Session) doubt(text []byte) *sessionstate.Doubts {
	if s.doubts == nil {
		s.doubts = &sessionstate.Doubts{Text: string(text[:min(len(text), maxShownText)]), Errors: s.lease.Conn.Errors}
	}
	return s.doubts
}

// maxShownText is how much of a statement is kept to be shown to operators, in bytes.
const maxShownText = 1000

// audit asks PostgreSQL what the session holds. Until OnAudited nothing else is sent.
func (s *Session) audit() {
	c, d := s.lease.Conn, s.doubts
	q := backend.Question{Kinds: d.Kinds, AllSettings: d.AllSettings, Names: d.Names}
	if c.Errors != d.Errors { // what was set may not have been
		d.AllSettings = d.AllSettings || len(d.Names) > 0
	}
	if d.AllSettings {
		q.AllSettings = true
		q.Names = s.srv.customs.ask(s.pool.Key.Database, &q.Functions, append(slices.Clone(d.Names), c.Customs...))
	}
	s.asking = true
	s.srv.counters.audits.Add(1)
	c.Audit(q)
}

// OnAudited implements backend.Borrower.
func (s *Session) OnAudited(r *backend.Report) {
	d := s.doubts
	s.doubts, s.asking = nil, false
	switch {
	case r == nil: // asked again after the next statement
		s.pins |= d.Kinds | sessionstate.PinUnverified
	case s.isLeak(d, r):
		s.contain()
		return
	case s.srv.customs.learn(s.pool.Key.Database, r): // there is more to ask about
		s.doubts = d
		s.audit()
		return
	default:
		s.lease.Conn.Looked(d.AllSettings)
		s.pins = s.pins&^(d.Kinds|sessionstate.PinUnverified) | r.Held&d.Kinds
		s.adoptSettings(d, r)
		if d.Kinds&sessionstate.PinSet(sessionstate.EffectPrepare) != 0 {
			s.adoptPrepared(r)
		}
		s.notePins([]byte(d.Text))
	}
	s.plan()
	s.decide()
}

// Bounds on the settings that are carried for one client; beyond them they pin.
const (
	maxCarried      = 500
	maxCarriedBytes = 32 << 10
)

// adoptSettings makes what is in force on the server session the client's own.
func (s *Session) adoptSettings(d *sessionstate.Doubts, r *backend.Report) {
	if !d.AllSettings && len(d.Names) == 0 {
		return
	}
	c := s.lease.Conn
	now := slices.DeleteFunc(inForce(r, c.Login), func(o sessionstate.Setting) bool {
		_, own := s.req.Settings.Value(o.Name)
		return o.Value == "" && !own && !isBuiltIn(o.Name) && !slices.Contains(d.Names, o.Name) // another's, emptied
	})
	if len(d.Resets) > 0 { // back to the client's own value, of which PostgreSQL knows nothing
		now = slices.DeleteFunc(now, func(o sessionstate.Setting) bool {
			_, own := s.base.Value(o.Name)
			return own && o.Value == "" && !isBuiltIn(o.Name) && d.GoesBack(o.Name)
		})
	}
	if !d.AllSettings {
		now = append(now, c.Settings.Without(d.Names)...)
	}
	size := 0
	for _, o := range now {
		size += len(o.Name) + len(o.Value)
	}
	if len(now) > maxCarried || size > maxCarriedBytes {
		s.pins |= sessionstate.PinSet(sessionstate.EffectSettings)
	}
	c.Settings = s.srv.interner.Intern(now)
	want := s.srv.interner.Overlay(s.base, now)
	if want.Equal(s.base) {
		s.pins &^= s.limits.policy.Pinning() & settingsPins
	} else {
		s.pins |= (s.limits.policy.Pinning() | s.limits.policy.Discarding()) & settingsPins
	}
	s.req.Settings = want
	path, _ := want.Value("search_path")
	s.tempPath = strings.Contains(path, "pg_temp")
	c.NoteCustoms(now)
}

// settingsPins are the pins that stand for settings which a policy does not let be carried.
const settingsPins = sessionstate.PinSet(sessionstate.EffectSettings | sessionstate.EffectRole)

// isBuiltIn tells whether a parameter is not one of an extension's kind.
func isBuiltIn(name string) bool { return !strings.Contains(name, ".") }

// inForce is the settings of a report, each once, without what is nobody's choice.
func inForce(r *backend.Report, login string) []sessionstate.Setting {
	var list []sessionstate.Setting
	seen := map[string]bool{}
	for _, o := range r.Settings {
		if !seen[o.Name] && (o.Name != "session_authorization" || o.Value != login) {
			list = append(list, o)
		}
		seen[o.Name] = true
	}
	return list
}

// adoptPrepared makes the statements that SQL's PREPARE has made the client's own, and takes note of those of the
// protocol that SQL's DEALLOCATE has ended.
func (s *Session) adoptPrepared(r *backend.Report) {
	c := s.lease.Conn
	var list []sessionstate.Setting
	size := 0
	for _, p := range r.Prepared {
		size += len(p.Value)
		if !makesAlone(p, c.StdStrings) {
			s.pins |= sessionstate.PinSet(sessionstate.EffectPrepare) // its text does not make it alone
		}
		list = append(list, p)
	}
	if len(list) > maxCarried || size > maxCarriedBytes {
		s.pins |= sessionstate.PinSet(sessionstate.EffectPrepare)
	}
	c.SQLNames = s.srv.interner.Intern(list)
	s.sqlNames = c.SQLNames
	if len(list) > 0 {
		s.pins |= (s.limits.policy.Pinning() | s.limits.policy.Discarding()) & sessionstate.PinSet(sessionstate.EffectPrepare)
	}
	for name, st := range c.RealNames {
		if !slices.Contains(r.Named, name) {
			delete(c.RealNames, name)
			s.forgetName(name, st)
		}
	}
}

// makesAlone tells whether the text of a statement of SQL's PREPARE makes it and does nothing else.
func makesAlone(p sessionstate.Setting, standardStrings bool) bool {
	d := sessionstate.Inspect([]byte(p.Value), standardStrings)
	return d.Statements == 1 && len(d.Prepares) == 1 && d.Prepares[0] == p.Name
}

// isLeak tells whether the report shows state that this client need not have left: it was found by chance, and others
// have used the server session unseen since it was last looked at.
func (s *Session) isLeak(d *sessionstate.Doubts, r *backend.Report) bool {
	if !d.Sampled {
		return false
	}
	found := s.unexplained(d.Announced, r)
	if len(found) == 0 {
		return false
	}
	s.srv.counters.hidden.Add(1)
	what := s.logArgs("statement", fingerprint(d), "found", strings.Join(found, ","))
	if s.lease.Conn.Mixed {
		s.pool.Suspicions.Store(sampleEvery)
		s.srv.log.Warn("a server session holds state that an unknown statement has left; it is replaced, and the next statements are audited", what...)
		s.report(journal.LeakContained, strings.Join(found, ","),
			"The server session is replaced: an unknown statement has left this there. It was found behind: "+fingerprint(d))
		return true
	}
	if s.srv.learned.add([]byte(d.Text)) {
		s.srv.log.Warn("a statement has left state that its text does not show; it is audited from now on", what...)
	}
	return false
}

// unexplained lists the state of a report that no statement's text has announced.
func (s *Session) unexplained(announced sessionstate.PinSet, r *backend.Report) []string {
	c := s.lease.Conn
	var found []string
	if held := r.Held &^ (s.pins | announced); held != 0 {
		found = append(found, held.String())
	}
	for _, p := range r.Prepared {
		if _, known := c.SQLNames.Value(p.Name); !known && announced&sessionstate.PinSet(sessionstate.EffectPrepare) == 0 {
			found = append(found, "prepared statement")
		}
	}
	for _, o := range inForce(r, c.Login) {
		if announced&settingsPins != 0 {
			break
		}
		// A parameter of an extension's kind that is empty was set once and reset, maybe by another client.
		if _, known := c.Settings.Value(o.Name); !known && (o.Value != "" || !strings.Contains(o.Name, ".")) {
			found = append(found, "setting "+o.Name)
		}
	}
	return found
}

// contain keeps a server session with state of unknown origin from everybody.
func (s *Session) contain() {
	s.srv.counters.leaks.Add(1)
	l := s.letGo()
	l.Conn.Lend(nil)
	l.Conn.Retire(backend.RetireLeak)
	s.sayReady()
	s.proceed()
}

func fingerprint(d *sessionstate.Doubts) string {
	return sessionstate.Fingerprint([]byte(d.Text), true, sessionstate.FingerprintKey)
}
