package config

import (
	"net/netip"
	"testing"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{} // the Unix socket
	}
	return netip.MustParseAddr(s)
}

func TestRuleNames(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true},
		{"", "any", true},
		{"app", "app", true},
		{"app", "application", false},
		{"app", "App", false},
		{"app", "", false},
		{"*", "", true},
		{"*", "any", true},
		{"app*", "app", true},
		{"app*", "application", true},
		{"app*", "my app", false},
		{"*app", "my app", true},
		{"*app", "apple", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a*b*c", "a b c", true},
		{"a*b*c", "abbcbc", true},
		{"a*b*c", "acb", false},
		{"*b*b*", "ab", false},
		{"a**b", "ab", true},
		{"[a]?", "a", false},
		{"[a]?", "[a]?", true},
	}
	for _, tt := range tests {
		if got := matches(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%q, %q: got %v", tt.pattern, tt.name, got)
		}
	}
}

func TestRuleSources(t *testing.T) {
	tests := []struct {
		source, from string
		want         bool
	}{
		{"", "10.0.0.1", true},
		{"", "", true},
		{"unix", "", true},
		{"unix", "127.0.0.1", false},
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"10.0.0.1", "", false},
		{"10.0.0.0/8", "10.255.0.1", true},
		{"10.0.0.0/8", "11.0.0.1", false},
		{"10.1.2.3/8", "10.255.0.1", true}, // as in pg_hba.conf
		{"0.0.0.0/0", "10.0.0.1", true},
		{"0.0.0.0/0", "::1", false},
		{"::/0", "::1", true},
		{"::/0", "10.0.0.1", false},
		{"2001:db8::/32", "2001:db8:1::1", true},
		{"2001:db8::/32", "2001:db9::1", false},
		{"10.0.0.1", "::ffff:10.0.0.1", true},
		{"10.0.0.0/8", "::ffff:10.0.0.1", true},
		{"::ffff:10.0.0.1", "10.0.0.1", true},
		{"::ffff:10.0.0.0/104", "10.0.0.1", true},
		{"::ffff:10.0.0.0/104", "11.0.0.1", false},
		{"fe80::/10", "fe80::1%eth0", true},
		{"fe80::1", "fe80::1%eth0", true},
		{"somewhere", "10.0.0.1", false}, // not valid; it must not be for everybody
	}
	for _, tt := range tests {
		r := Rule{Source: tt.source}
		if got := r.from(addr(tt.from)); got != tt.want {
			t.Errorf("%q, %q: got %v", tt.source, tt.from, got)
		}
	}
}

func TestFirstRuleThatFitsCounts(t *testing.T) {
	c := mustParse(t, `
[[rules]]
database = "app"
user = "a*"
application_name = "*report*"
source = "10.0.0.0/8"
pool_connection_class = "four"

[[ "rules" ]]
user = "a*"
pool_purity = "new"

[[rules]]
pool_connection_class = "rest"
`+anyDatabase)
	fits := Client{Database: "app", User: "alice", Application: "a report", Source: addr("10.1.1.1")}
	tests := []struct {
		name string
		but  func(who *Client)
		want Rule
	}{
		{"all that is given fits", func(*Client) {}, c.Rules[0]},
		{"another database", func(who *Client) { who.Database = "other" }, c.Rules[1]},
		{"another application", func(who *Client) { who.Application = "psql" }, c.Rules[1]},
		{"another source", func(who *Client) { who.Source = addr("") }, c.Rules[1]},
		{"another user", func(who *Client) { who.User = "bob" }, c.Rules[2]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			who := fits
			tt.but(&who)
			if got := c.ruleFor(who); got != tt.want {
				t.Errorf("got %+v", got)
			}
		})
	}
	c.Rules = nil
	if got := c.ruleFor(fits); got != (Rule{}) {
		t.Errorf("without rules: %+v", got)
	}
}
