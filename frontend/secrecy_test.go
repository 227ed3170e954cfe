package frontend

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/pgtest"
	"pooler/pool"
)

// onlyOf is the configuration of a user's pool.
func onlyOf(t *testing.T, p *testPooler, user string) (cfg config.Pool) {
	t.Helper()
	p.Pools.Each(func(c config.Pool) bool { return c.User == user }, func(q *pool.Pool) { cfg = q.Config() })
	if cfg.User != user {
		t.Fatalf("there is no pool of %s", user)
	}
	return cfg
}

// What somebody logs in with, right or wrong, is in no log line, event, statistic or error.
func TestNothingSecretIsTold(t *testing.T) {
	const right, wrong, ofLooker, ofLDAP = "r1ght-and-secret", "wr0ng-but-secret", "l00ker-secret", "of ldapper"
	pg := pgtest.Start(t, pgtest.Options{Auth: "scram-sha-256"})
	rows, err := pg.Exec(t.Context(), "postgres", fmt.Sprintf(
		"CREATE ROLE looker SUPERUSER LOGIN PASSWORD '%s'; CREATE ROLE asked LOGIN PASSWORD '%s'; CREATE ROLE ldapper LOGIN PASSWORD '%s';"+
			"SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD '%s'; SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL",
		ofLooker, right, ofLDAP, right))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{right, wrong, ofLooker, ofLDAP, "ldap-bind-secret"}
	for _, row := range rows {
		for _, part := range strings.FieldsFunc(row[0], func(r rune) bool { return r == '$' || r == ':' }) {
			if len(part) > 15 && part != "SCRAM-SHA-256" { // salts and keys, and MD5's hash
				secrets = append(secrets, part)
			}
		}
	}
	port := directory(t, nil, nil)
	path := hbaFile(t, fmt.Sprintf(`host all ldapper all ldap ldapserver=127.0.0.1 ldapport=%d ldapprefix="cn="
host all ldapped all ldap ldapserver=127.0.0.1 ldapport=1 ldapbasedn="dc=x" ldapbinddn="cn=reader" ldapbindpasswd="ldap-bind-secret"
host all hashed  all md5
host all +clear  all password
host all plain   all password
host all all     all scram-sha-256`, port))
	p, ring := passing(t, pg, fmt.Sprintf("auth_type = 'hba'\nauth_hba_file = %q\nlog_level = 'debug'\n", path)+looksUp[:len(looksUp)-len("of looker'")]+ofLooker+"'")
	var told []string
	for _, user := range []string{"asked", "hashed", "ldapper", "ldapped", "plain", "nobody"} {
		for _, password := range []string{right, wrong, ofLDAP} {
			_, err := tryPGX(t, p.Addr, user, password)
			told = append(told, fmt.Sprint(err))
			_, err = p.Front.VerifyPassword(t.Context(), visitor(user), password)
			told = append(told, fmt.Sprint(err))
		}
	}
	conn, err := pgconn.Connect(t.Context(), "postgres://asked:"+right+"@"+p.Addr+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	account, _ := ring.Find(auth.AccountOf(onlyOf(t, p, "asked")))
	if len(account.ClientKey) == 0 {
		t.Fatal("no keys were learned")
	}
	for _, key := range [][]byte{account.ClientKey, account.ServerKey} {
		secrets = append(secrets, base64.StdEncoding.EncodeToString(key), fmt.Sprintf("%x", key), fmt.Sprintf("%d", key))
	}
	now := p.Front.settings.Load()
	told = append(told, p.Log.String(), fmt.Sprintf("%+v %+v", p.Front.Stat(), p.Pools.Stats()), fmt.Sprintf("%+v %#v", account, account),
		fmt.Sprintf("%+v", p.Pools.Queue(100)), fmt.Sprintf("%+v", now.credentials.rules.Rules()))
	for _, text := range told {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%.20q… is told in %.2000q", secret, text)
			}
		}
	}
	if log := p.Log.String(); !strings.Contains(log, "client refused") || !strings.Contains(log, "level=DEBUG") {
		t.Errorf("the log is not the one to look at:\n%s", log)
	}
}
