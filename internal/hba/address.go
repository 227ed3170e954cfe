package hba

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// bits is an address or a mask for quick comparison.
type bits struct {
	hi, lo uint64
	family uint8 // 4, 6, or 0 for no address, which is in no network
}

// bitsOf takes an IPv4 address out of its IPv6 form, which sockets for both families give it. Zones
// are not compared, as in PostgreSQL.
func bitsOf(a netip.Addr) bits {
	return exactBits(a.Unmap())
}

func exactBits(a netip.Addr) bits {
	if !a.IsValid() {
		return bits{}
	}
	b := a.As16()
	return bits{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), familyOf(a)}
}

// in tells whether b is in the network of net with mask, one bit of which need not follow the other.
func (b bits) in(net, mask bits) bool {
	return b.family == net.family && (b.hi^net.hi)&mask.hi == 0 && (b.lo^net.lo)&mask.lo == 0
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return 4
	}
	return 6
}

// prefixMask is the mask of a network of n bits.
func prefixMask(n int, family uint8) bits {
	if family == 4 {
		n += 96
	}
	ones := func(n int) uint64 { return ^(^uint64(0) >> min(max(n, 0), 64)) }
	return bits{ones(n), ones(n - 64), family}
}

type addressKind uint8

const (
	addressAll addressKind = iota
	addressNet
	addressName // a host name, or the end of one if it begins with a dot
	addressSameHost
	addressSameNet
)

// address is where clients of a rule come from.
type address struct {
	kind      addressKind
	net, mask bits
	name      string
}

func (a *address) matches(addr bits, facts *Facts) (verdict, Need) {
	switch a.kind {
	case addressAll:
		return yes, NeedNothing
	case addressNet:
		return verdictOf(addr.in(a.net, a.mask)), NeedNothing
	case addressName:
		if facts.HostNames == nil {
			return unknown, NeedHostName
		}
		return verdictOf(slices.ContainsFunc(facts.HostNames, a.names)), NeedNothing
	case addressSameHost, addressSameNet:
		if facts.Interfaces == nil {
			return unknown, NeedInterfaces
		}
		return verdictOf(slices.ContainsFunc(facts.Interfaces, func(p netip.Prefix) bool {
			return addr.in(exactBits(p.Addr()), a.interfaceMask(p))
		})), NeedNothing
	}
	return no, NeedNothing
}

func (a *address) names(host string) bool {
	if strings.HasPrefix(a.name, ".") && len(host) > len(a.name) {
		host = host[len(host)-len(a.name):]
	}
	return equalFold(a.name, host)
}

func (a *address) interfaceMask(p netip.Prefix) bits {
	n := p.Bits()
	if a.kind == addressSameHost || n <= 0 { // PostgreSQL does not believe in an empty mask
		n = p.Addr().BitLen()
	}
	return prefixMask(n, familyOf(p.Addr()))
}

// equalFold compares without regard to the case of ASCII letters.
func equalFold(a, b string) bool {
	lower := func(c byte) byte {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// Interfaces asks the operating system for what Facts.Interfaces wants. It sends nothing, but takes
// longer the more interfaces there are.
func Interfaces() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of this machine: %w", err)
	}
	prefixes := make([]netip.Prefix, 0, len(addrs))
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				ones, _ := n.Mask.Size()
				prefixes = append(prefixes, netip.PrefixFrom(addr.Unmap(), ones))
			}
		}
	}
	return prefixes, nil
}
