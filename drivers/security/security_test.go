package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func TestDirectoryKnowsTheRightPasswordsOnly(t *testing.T) {
	d, err := startDirectory()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.close() }()
	conn, err := ldap.DialURL(fmt.Sprintf("ldap://127.0.0.1:%d", d.port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Bind("uid=ann,dc=example", rightPassword("ann")); err != nil {
		t.Errorf("right password: %v", err)
	}
	for _, wrong := range [][2]string{{"uid=ann,dc=example", "x"}, {"uid=bob,dc=example", rightPassword("ann")}, {"ann", rightPassword("ann")}} {
		if err := conn.Bind(wrong[0], wrong[1]); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			t.Errorf("%v: got %v, want invalid credentials", wrong, err)
		}
	}
}

func TestMessagesAreComparedWithoutPortsDirectoriesAndDatabases(t *testing.T) {
	at := place{socket: "/tmp/x", port: 6432}
	got := neutral("connection on \"/tmp/x/.s.PGSQL.6432\" failed:\n no entry for  database \"via_pass_plus\"", at)
	if want := `connection on "DIR/.s.PGSQL.PORT" failed: no entry for database "app"`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Each kind of difference that is not meant must be counted as one.
func TestReportCountsWhatDiffers(t *testing.T) {
	works, refused := connected("ann,ann,true"), outcome{Code: "28P01", Message: "FATAL: password authentication failed"}
	via := serverMethods()[0]
	for _, tt := range []struct {
		name      string
		want, got outcome
		differ    int
	}{
		{"both work", works, works, 0},
		{"both refuse", refused, refused, 0},
		{"the pooler refuses", works, refused, 1},
		{"the pooler lets in", refused, works, 1},
		{"another code", refused, outcome{Code: "28000", Message: refused.Message}, 1},
		{"other words", refused, outcome{Code: refused.Code, Message: "no"}, 1},
		{"somebody else", works, connected("bob,ann,true"), 1},
		{"no TLS to the server", works, connected("ann,ann,false"), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := answer{question: question{driver: "pgx", method: methods()[0]}, via: &via, want: tt.want, got: tt.got}
			a.reason = excuse(a)
			var out strings.Builder
			if got := report(&out, []answer{a}, options{pooler: "x"}); got != tt.differ {
				t.Errorf("%d differences, want %d\n%s", got, tt.differ, &out)
			}
		})
	}
}
