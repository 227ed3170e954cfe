package config

import (
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// RequireAuth is the value of server_require_auth: by which methods the pooler is ready to log in to a server, as in
// libpq's require_auth. It is a list with commas, either of methods that may be used or, each with "!" in front, of those
// that may not. "" takes any.
type RequireAuth string

// The methods that server_require_auth knows.
const (
	RequirePassword = "password"      // in clear text
	RequireMD5      = "md5"           // broken
	RequireSCRAM    = "scram-sha-256" // with which the server proves itself, too
	RequireNone     = "none"          // the server lets the pooler in without asking: trust, cert, peer
)

// Allows tells whether the pooler may log in by a method.
func (r RequireAuth) Allows(method string) bool {
	methods, negated := r.list()
	return r == "" || slices.Contains(methods, method) != negated
}

// list is the methods without their "!".
func (r RequireAuth) list() (methods []string, negated bool) {
	for m := range strings.SplitSeq(string(r), ",") {
		m, not := strings.CutPrefix(strings.TrimSpace(m), "!")
		methods, negated = append(methods, m), not
	}
	return methods, negated
}

// fault says what is wrong with the list; "" if nothing is.
func (r RequireAuth) fault() string {
	if r == "" {
		return ""
	}
	methods, _ := r.list()
	slices.Sort(methods)
	for _, m := range methods {
		switch m {
		case RequirePassword, RequireMD5, RequireSCRAM, RequireNone:
		default:
			return "want password, md5, scram-sha-256 and none, separated by commas"
		}
	}
	switch n := strings.Count(string(r), "!"); {
	case n > 0 && n < len(methods):
		return `want "!" in front of every method or of none`
	case len(slices.Compact(methods)) < strings.Count(string(r), ",")+1:
		return "names a method twice"
	}
	return ""
}

func (fs *faults) requireAuth(key toml.Key, r RequireAuth) {
	if reason := r.fault(); reason != "" {
		fs.add(key, "%s, got %q", reason, string(r))
	}
}
