package hba

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// cursor goes through the columns of a line.
type cursor struct{ rest []column }

func (c *cursor) next(what string) (column, error) {
	if len(c.rest) == 0 {
		return nil, fmt.Errorf("end-of-line before %s", what)
	}
	first := c.rest[0]
	c.rest = c.rest[1:]
	return first, nil
}

// one is next for a column that holds one word.
func (c *cursor) one(what, many string) (token, error) {
	words, err := c.next(what)
	if err != nil {
		return token{}, err
	}
	if len(words) > 1 {
		return token{}, fmt.Errorf("multiple values specified for %s", many)
	}
	return words[0], nil
}

// parseRule reads a line. Its texts are PostgreSQL's where it has one.
func parseRule(l line) (*Rule, error) {
	r := &Rule{File: l.file, Line: l.number}
	c := &cursor{l.columns}
	for _, read := range []func(*cursor) error{r.readKind, r.readNames, r.readAddress, r.readMethod, r.readOptions} {
		if err := read(c); err != nil {
			return nil, err
		}
	}
	r.compile()
	return r, nil
}

func (r *Rule) readKind(c *cursor) error {
	t, err := c.one("connection type", "connection type")
	if err != nil {
		return err
	}
	switch r.Kind = Kind(t.text); r.Kind {
	case Local, Host, HostSSL, HostNoSSL, HostGSSEnc, HostNoGSSEnc:
		return nil
	}
	return fmt.Errorf("invalid connection type %s", show(t.text))
}

func (r *Rule) readNames(c *cursor) (err error) {
	if r.databases, err = readNames(c, "database specification"); err != nil {
		return err
	}
	r.users, err = readNames(c, "role specification")
	return err
}

func readNames(c *cursor, what string) ([]token, error) {
	words, err := c.next(what)
	if err != nil {
		return nil, err
	}
	for i := range words {
		if err := words[i].compile(); err != nil {
			return nil, err
		}
	}
	return words, nil
}

func (r *Rule) readAddress(c *cursor) error {
	if r.Kind == Local {
		return nil
	}
	t, err := c.one("IP address specification", "host address")
	if err != nil {
		return err
	}
	r.where = []token{t}
	switch {
	case t.is("all"):
		return nil
	case t.is("samehost"):
		r.address.kind = addressSameHost
		return nil
	case t.is("samenet"):
		r.address.kind = addressSameNet
		return nil
	}
	text, length, cidr := strings.Cut(t.text, "/")
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil && cidr:
		return fmt.Errorf("invalid address %s: want an IP address (four decimal numbers, or IPv6) in front of the slash", show(t.text))
	case err != nil:
		return r.readHostName(text)
	case addr.Zone() != "":
		return fmt.Errorf("invalid address %s: zones are not compared; leave it out", show(t.text))
	}
	r.address = address{kind: addressNet, net: exactBits(addr)}
	if !cidr {
		return r.readMask(c, addr)
	}
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n > addr.BitLen() {
		return fmt.Errorf("invalid CIDR mask in address %s", show(t.text))
	}
	r.address.mask = prefixMask(n, r.address.net.family)
	return nil
}

func (r *Rule) readMask(c *cursor, addr netip.Addr) error {
	t, err := c.one("netmask specification", "netmask")
	if err != nil {
		return err
	}
	r.where = append(r.where, t)
	mask, err := netip.ParseAddr(t.text)
	switch {
	case err != nil || mask.Zone() != "":
		return fmt.Errorf("invalid IP mask %s", show(t.text))
	case mask.Is4() != addr.Is4():
		return errors.New("IP address and mask do not match")
	}
	r.address.mask = exactBits(mask)
	return nil
}

// readHostName refuses what looks like an address, which PostgreSQL takes for one in some other
// notation (127.1, 010.0.0.1) or for a name that no host has (256.0.0.1).
func (r *Rule) readHostName(name string) error {
	last := name[strings.LastIndexByte(name, '.')+1:]
	number := last != "" && (strings.Trim(last, "0123456789") == "" || strings.HasPrefix(strings.ToLower(last), "0x"))
	if number || name == "" || strings.ContainsAny(name, ":%") {
		return fmt.Errorf("invalid address %s: want an IP address (four decimal numbers, or IPv6) or a host name", show(name))
	}
	r.address = address{kind: addressName, name: name}
	return nil
}

func (r *Rule) readMethod(c *cursor) error {
	t, err := c.one("authentication method", "authentication type")
	if err != nil {
		return err
	}
	r.Method = Method(t.text)
	switch r.Method {
	case "ident":
		if r.Kind != Local {
			break
		}
		r.Method = Peer // as PostgreSQL does
	case Peer:
		if r.Kind != Local {
			return errors.New("peer authentication is only supported on local sockets")
		}
	case Cert:
		if r.Kind != HostSSL {
			return errors.New("cert authentication is only supported on hostssl connections")
		}
	case Trust, Reject, Password, MD5, SCRAM, LDAP, OAuth:
	}
	if instead := insteadOf(r.Method); instead != "" {
		return fmt.Errorf("authentication method %q is not supported: %s", t.text, instead)
	}
	if !r.Method.known() {
		return fmt.Errorf("invalid authentication method %s", show(t.text))
	}
	return nil
}

func (m Method) known() bool {
	switch m {
	case Trust, Reject, Password, MD5, SCRAM, Cert, Peer, LDAP, OAuth:
		return true
	}
	return false
}

// insteadOf says what to use in place of methods that PostgreSQL has and we have not.
func insteadOf(m Method) string {
	switch string(m) {
	case "gss", "sspi":
		return "use cert, oauth or scram-sha-256"
	case "ident":
		return "what the client's machine says proves nothing; use cert or scram-sha-256, or peer in local lines"
	case "pam", "bsd", "radius":
		return "use ldap or scram-sha-256"
	}
	return ""
}
