package hba

import (
	"net/netip"
	"testing"
)

// TestRefusal has the forms that TestPostgreSQLLetsTheSameClientsIn does not get to see.
func TestRefusal(t *testing.T) {
	reject := &Rule{Method: Reject}
	host := Client{Addr: netip.MustParseAddr("::ffff:127.0.0.1"), User: "u", Database: "d"}
	six := Client{Addr: netip.MustParseAddr("2001:db8::1"), User: "u", Database: "d", TLS: true}
	replica := Client{Local: true, User: "u", Replication: true}
	for _, tt := range []struct {
		name string
		c    Client
		rule *Rule
		want string
	}{
		{"IPv4 in IPv6's form", host, nil, `no pg_hba.conf entry for host "127.0.0.1", user "u", database "d", no encryption`},
		{"IPv6 with TLS", six, nil, `no pg_hba.conf entry for host "2001:db8::1", user "u", database "d", SSL encryption`},
		{"rejected", six, reject, `pg_hba.conf rejects connection for host "2001:db8::1", user "u", database "d", SSL encryption`},
		{"replication", replica, nil, `no pg_hba.conf entry for replication connection from host "[local]", user "u", no encryption`},
		{"replication, rejected", replica, reject, `pg_hba.conf rejects replication connection for host "[local]", user "u", no encryption`},
	} {
		if code, got := Refusal(tt.c, tt.rule); code != "28000" || got != tt.want {
			t.Errorf("%s: got %s %s\nwant %s", tt.name, code, got, tt.want)
		}
	}
}

func TestFailure(t *testing.T) {
	for m, want := range map[Method]string{
		Trust:    `28000 "trust" authentication failed for user "u"`,
		Reject:   `28000 authentication failed for user "u": host rejected`,
		Password: `28P01 password authentication failed for user "u"`,
		MD5:      `28P01 password authentication failed for user "u"`,
		SCRAM:    `28P01 password authentication failed for user "u"`,
		Cert:     `28000 certificate authentication failed for user "u"`,
		Peer:     `28000 Peer authentication failed for user "u"`,
		LDAP:     `28000 LDAP authentication failed for user "u"`,
		OAuth:    `28000 OAuth bearer authentication failed for user "u"`,
	} {
		if code, message := Failure(m, "u"); code+" "+message != want {
			t.Errorf("%s: got %s %s, want %s", m, code, message, want)
		}
	}
}
