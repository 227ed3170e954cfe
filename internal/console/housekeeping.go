package console

import "strings"

// The statements by which drivers arrange their session.
type (
	// transaction begins or ends a transaction, which has no effect but its status.
	transaction struct {
		noColumns
		begin bool
		tag   string
	}
	setting struct {
		noColumns
		text      string
		name      string
		nameAt    int
		value     string
		valueAt   int
		local     bool
		toDefault bool
	}
	reset struct {
		noColumns
		text   string
		name   string
		nameAt int
		all    bool
	}
	discard struct {
		noColumns
		all bool
		tag string
	}
	deallocate struct {
		noColumns
		text   string
		name   string
		nameAt int
		all    bool
	}
	// nothing is what has no meaning here and does no harm.
	nothing struct {
		noColumns
		tag string
	}
)

type noColumns struct{}

func (noColumns) columns(*session, *params) ([]Column, error) { return nil, nil }

func (n *nothing) run(*request) (outcome, error) { return outcome{tag: n.tag}, nil }

func (t *transaction) run(r *request) (outcome, error) {
	s := r.session
	out := outcome{tag: t.tag}
	switch {
	case t.begin && s.tx == 'T':
		s.tell("WARNING", &Error{Code: codeActiveTransaction, Message: "there is already a transaction in progress"})
	case t.begin:
		s.tx = 'T'
	case s.tx == 'I':
		s.tell("WARNING", &Error{Code: codeNoTransaction, Message: "there is no transaction in progress"})
	default:
		if s.tx == 'E' {
			out.tag = "ROLLBACK"
		}
		s.tx = 'I'
		clear(s.portals)
	}
	return out, nil
}

// run remembers a parameter. SET LOCAL is forgotten at once: nothing here depends on it within a transaction.
func (st *setting) run(r *request) (outcome, error) {
	s := r.session
	name, ok := settingName(st.name)
	if !ok {
		return outcome{}, faultAt(st.text, st.nameAt, codeUndefinedObject, `unrecognized configuration parameter "%s"`, shortened(st.name))
	}
	before := *s.settings
	value := st.value
	if st.toDefault {
		value = s.settings.begun[name]
	}
	old := s.settings.value(name)
	if err := s.settings.set(name, value); err != nil {
		at := st.valueAt
		if infoOf(name).fixed {
			at = st.nameAt
		}
		return outcome{}, faultAt(st.text, at, err.Code, "%s", err.Message)
	}
	if st.local {
		s.settings.values[name], s.settings.zone = old, before.zone
	}
	s.changed(name)
	return outcome{tag: "SET"}, nil
}

// changed tells the client about a parameter as PostgreSQL would.
func (s *session) changed(name string) {
	if name == "application_name" {
		s.admin.SetApplication(s.settings.value(name))
	}
	if infoOf(name).reported {
		s.report(name)
	}
}

func (st *reset) run(r *request) (outcome, error) {
	name := ""
	if !st.all {
		var ok bool
		if name, ok = settingName(st.name); !ok {
			return outcome{}, faultAt(st.text, st.nameAt, codeUndefinedObject, `unrecognized configuration parameter "%s"`, shortened(st.name))
		}
	}
	r.session.reset(name)
	return outcome{tag: "RESET"}, nil
}

// reset gives one parameter, or all, its first value back.
func (s *session) reset(name string) {
	before := map[string]string{}
	for name, value := range s.settings.values {
		before[name] = value
	}
	s.settings.reset(name)
	for _, info := range settingInfos {
		if s.settings.value(info.name) != before[info.name] {
			s.changed(info.name)
		}
	}
}

func (d *discard) run(r *request) (outcome, error) {
	s := r.session
	if !d.all {
		return outcome{tag: d.tag}, nil
	}
	if s.tx != 'I' {
		return outcome{}, &Error{Code: codeActiveTransaction, Message: "DISCARD ALL cannot run inside a transaction block"}
	}
	s.reset("")
	s.forgetAll()
	clear(s.portals)
	return outcome{tag: d.tag}, nil
}

func (d *deallocate) run(r *request) (outcome, error) {
	s := r.session
	if d.all {
		s.forgetAll()
		return outcome{tag: "DEALLOCATE ALL"}, nil
	}
	name := d.name
	if s.prepared[name] == nil {
		name = strings.ToLower(name)
	}
	if s.prepared[name] == nil {
		return outcome{}, faultAt(d.text, d.nameAt, codeNoSuchStatement, `prepared statement "%s" does not exist`, shortened(d.name))
	}
	s.forget(name)
	return outcome{tag: "DEALLOCATE"}, nil
}
