package config

import (
	"net/netip"
	"strings"
)

// ruleFor is the first rule that fits who, or an empty one.
func (c *Config) ruleFor(who Client) Rule {
	for _, r := range c.Rules {
		if r.fits(who) {
			return r
		}
	}
	return Rule{}
}

func (r *Rule) fits(who Client) bool {
	return matches(r.Database, who.Database) && matches(r.User, who.User) &&
		matches(r.ApplicationName, who.Application) && r.from(who.Source)
}

// matches tells whether s is as pattern says, in which * stands for any part and "" for anything.
func matches(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, rest, more := strings.Cut(tail, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s, tail = s[at+len(part):], rest
	}
}

// Matches tells whether s is as pattern says, in which * stands for any part, as in rules; but "" stands for itself.
func Matches(pattern, s string) bool {
	return pattern == s || pattern != "" && matches(pattern, s)
}

// sourceUnix is a Rule's Source for clients of the Unix socket.
const sourceUnix = "unix"

func (r *Rule) from(source netip.Addr) bool {
	switch r.Source {
	case "":
		return true
	case sourceUnix:
		return !source.IsValid()
	}
	network, err := parseNetwork(r.Source)
	return err == nil && network.Contains(source.Unmap().WithZone(""))
}

// parseNetwork reads an address or a network such as 10.0.0.0/8. IPv4 in the guise of IPv6 is IPv4, as in from.
func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	network, err := netip.ParsePrefix(s)
	if mapped := 128 - 32; network.Addr().Is4In6() && network.Bits() >= mapped {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-mapped)
	}
	return network.Masked(), err
}
