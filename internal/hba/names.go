package hba

import "slices"

// verdict is the answer to a question for which facts may be missing.
type verdict uint8

const (
	no verdict = iota
	yes
	unknown
)

func verdictOf(is bool) verdict {
	if is {
		return yes
	}
	return no
}

// names is a column of databases or users. Their order means nothing: one that fits is enough.
type names struct {
	all         bool
	sameuser    bool // a database named like the user
	samerole    bool // a database named like a role that the user is a member of
	replication bool // clients of physical replication
	exact       map[string]struct{}
	groups      []string // roles, of which the user must be a member
	patterns    []*pattern
}

// newNames sorts a column; its patterns must compile.
func newNames(tokens []token, databases bool) names {
	var n names
	for _, t := range tokens {
		switch {
		case t.is("all"):
			n.all = true
		case databases && t.is("sameuser"):
			n.sameuser = true
		case databases && (t.is("samerole") || t.is("samegroup")):
			n.samerole = true
		case databases && t.is("replication"):
			n.replication = true
		case !databases && t.isGroup():
			n.groups = append(n.groups, t.text[1:])
		case t.isPattern():
			n.patterns = append(n.patterns, t.pattern)
		default:
			if n.exact == nil {
				n.exact = map[string]struct{}{}
			}
			n.exact[t.text] = struct{}{}
		}
	}
	return n
}

// onlyNames tells whether names alone decide.
func (n *names) onlyNames() bool {
	return !n.all && !n.sameuser && !n.samerole && !n.replication && len(n.groups) == 0 && len(n.patterns) == 0
}

// file notes in byName that rule i names these.
func (n *names) file(byName map[string][]int32, i int32) {
	for name := range n.exact {
		byName[name] = append(byName[name], i)
	}
}

func (n *names) matchUser(user string, groups map[string]bool) verdict {
	if n.all || n.has(user) {
		return yes
	}
	return memberOf(groups, n.groups...)
}

func (n *names) matchDatabase(c *Client, groups map[string]bool) verdict {
	switch {
	case c.Replication:
		return verdictOf(n.replication)
	case n.all, n.sameuser && c.Database == c.User, n.has(c.Database):
		return yes
	case n.samerole:
		return memberOf(groups, c.Database)
	}
	return no
}

func (n *names) has(name string) bool {
	if _, ok := n.exact[name]; ok {
		return true
	}
	return slices.ContainsFunc(n.patterns, func(p *pattern) bool { return p.match(name) })
}

// memberOf tells whether the user, who is in groups, is a member of any of roles.
func memberOf(groups map[string]bool, roles ...string) verdict {
	if len(roles) > 0 && groups == nil {
		return unknown
	}
	return verdictOf(slices.ContainsFunc(roles, func(role string) bool { return groups[role] }))
}
