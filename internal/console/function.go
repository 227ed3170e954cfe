package console

import "strings"

// niladic are the functions that SQL writes without parentheses.
func (sc *scope) niladic(name string) (operand, bool) {
	name = strings.ToLower(name)
	switch name {
	case "current_user", "session_user", "user", "current_role":
		return operand{typ: Text, fixed: printable(sc.session.admin.User), name: name}, true
	case "current_catalog":
		return operand{typ: Text, fixed: sc.session.admin.Database, name: name}, true
	case "current_schema":
		return operand{typ: Text, fixed: "public", name: name}, true
	case "current_timestamp":
		return operand{typ: Timestamp, fixed: sc.now, name: name}, true
	}
	return operand{}, false
}

// call is one of the functions that drivers and dashboards call.
func (sc *scope) call(e *call) operand {
	args := make([]operand, len(e.args))
	for i, a := range e.args {
		args[i] = sc.compile(a)
	}
	o := operand{typ: Text, name: e.name}
	switch {
	case e.name == "current_setting" && (len(args) == 1 || len(args) == 2):
		o.fixed = sc.setting(args)
		return o
	case len(args) > 0:
	case e.name == "now", e.name == "clock_timestamp":
		o.typ, o.fixed = Timestamp, sc.now
		return o
	case e.name == "version":
		o.fixed = "PostgreSQL " + sc.session.settings.value("server_version") + ", the admin console of pooler"
		return o
	case e.name == "pg_backend_pid":
		o.typ, o.fixed = Int4, int64(int32(sc.session.admin.ID))
		return o
	case e.name == "pg_is_in_recovery":
		o.typ, o.fixed = Bool, false
		return o
	case e.name == "pg_advisory_unlock_all":
		o.fixed = ""
		return o
	case e.name == "current_database":
		o.fixed = sc.session.admin.Database
		return o
	case e.name == "current_schema", e.name == "current_user":
		o, _ = sc.niladic(e.name)
		return o
	}
	panic(sc.fault(e.offset(), codeUndefinedFunction, "function %s with %d arguments does not exist", shortened(e.name), len(args)).
		withHint(hintNoDatabase))
}

// setting is current_setting(name [, missing_ok]).
func (sc *scope) setting(args []operand) any {
	if !args[0].isFixed() {
		panic(sc.fault(args[0].offset, codeNotSupported, "the name of a parameter must be a constant"))
	}
	name, ok := sc.as(args[0], Text).fixed.(string)
	if !ok {
		return nil // NULL, or a parameter that is not bound yet
	}
	if canonicalName, ok := settingName(name); ok {
		return sc.session.settings.value(canonicalName)
	}
	if len(args) == 2 && args[1].fixed == true {
		return nil
	}
	panic(sc.fault(args[0].offset, codeUndefinedObject, `unrecognized configuration parameter "%s"`, shortened(name)))
}
