package sessionstate

import "strings"

// set takes what is behind SET. Its words are parameters' names if a dot, = or TO follows.
func (in *inspector) set(st []piece) {
	switch {
	case keyword(st, "local"), keyword(st, "transaction"), keyword(st, "constraints"):
		return
	case keyword(st, "session"):
		st = st[1:]
	}
	if keyword(st, "transaction") { // SET SESSION TRANSACTION is SET TRANSACTION
		return
	}
	last := st[len(st)-1]
	in.resetting = last.is("default") || last.is("local") // the latter is of SET TIME ZONE
	in.parameter(st)
	in.resetting = false
}

// reset takes what is behind RESET.
func (in *inspector) reset(st []piece) {
	in.resetting = true
	defer func() { in.resetting = false }()
	switch {
	case len(st) == 1 && st[0].is("all"):
		in.details.SettingsKnown = false
	case len(st) > 1 && st[0].is("transaction") && st[1].is("isolation"):
		in.addParameter("transaction_isolation")
	default:
		in.parameter(st)
	}
}

// keyword tells whether st begins with word as a keyword, not as a parameter's name.
func keyword(st []piece, word string) bool {
	return len(st) > 1 && st[0].is(word) && st[1].text[0] != '.' && st[1].kind != pieceOperator && !st[1].is("to")
}

// spelled are the parameters that SET and RESET have words of their own for.
var spelled = []struct{ words, parameters string }{
	{"time zone", "timezone"},
	{"session authorization", "session_authorization"},
	{"session session authorization", "session_authorization"}, // SET SESSION of it
	{"authorization", "session_authorization"},                 // SET SESSION has been taken off
	{"xml option", "xmloption"},
	{"characteristics as transaction", "default_transaction_isolation default_transaction_read_only default_transaction_deferrable"},
	{"session characteristics as transaction", "default_transaction_isolation default_transaction_read_only default_transaction_deferrable"},
	{"names", "client_encoding"},
	{"schema", "search_path"},
	{"catalog", ""}, // PostgreSQL refuses it
}

// parameter notes the parameter that st begins with.
func (in *inspector) parameter(st []piece) {
	if len(st) < 2 || keyword(st, st[0].name()) {
		for _, s := range spelled {
			if begins(st, strings.Fields(s.words)) {
				for _, name := range strings.Fields(s.parameters) {
					in.addParameter(name)
				}
				return
			}
		}
	}
	name, ok := parameterName(st)
	if !ok {
		in.details.Opaque = true
		return
	}
	in.addParameter(name)
}

func begins(st []piece, words []string) bool {
	for i, w := range words {
		if i >= len(st) || !st[i].is(w) {
			return false
		}
	}
	return true
}

// parameterName returns the identifiers joined by dots that st begins with, in lower case.
func parameterName(st []piece) (name string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(st) && st[i].isName(); i += 2 {
		b.WriteString(lowerASCII(st[i].name()))
		if i+1 >= len(st) || st[i+1].kind != pieceDot {
			return b.String(), true
		}
		b.WriteByte('.')
	}
	return b.String(), false
}

// setConfig takes the arguments of set_config and what follows them.
func (in *inspector) setConfig(args []piece) {
	if len(args) > 1 && args[1].kind == pieceComma {
		if name, ok := args[0].constant(); ok {
			_, constant := args[min(2, len(args)-1)].constant()
			in.resetting = !constant // it may be NULL
			in.addParameter(lowerASCII(name))
			in.resetting = false
			return
		}
	}
	in.details.SettingsKnown = false
}

func (in *inspector) addParameter(name string) {
	in.parameters.add(name)
	if in.resetting {
		in.resets.add(name)
	}
}
