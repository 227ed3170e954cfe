package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pooler/internal/pgtest"
	"pooler/internal/pgtest/certs"
)

// Of all secrets that a pooler knows, or is told, whatever goes wrong, none is in what it says to anybody. Point 6 of the
// issue about security.
func TestNothingSecretIsToldByTheProgram(t *testing.T) {
	bin, papers := buildProgram(t), certs.New(t)
	for format, end := range map[string]func(*teller, *pgconn.PgConn){"text": (*teller).shutDown, "json": (*teller).abort} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			k := &teller{
				program: &program{port: freePort(t)}, t: t, bin: bin, papers: papers, checks: format == "text", vault: newVault(), said: newVault(),
				told: map[string]*strings.Builder{}, secret: map[string]string{},
			}
			k.dir = t.TempDir()
			k.pg = pgtest.Start(t, papers.Postgres(pgtest.Options{
				Auth: "scram-sha-256", Settings: map[string]string{"log_connections": "on", "log_disconnections": "on"},
				HBA: []string{"hostssl all certified 127.0.0.1/32 cert", "host all hashed 127.0.0.1/32 md5", "host all sender,oauther 127.0.0.1/32 password"},
			}, papers.Server()))
			k.prepare()
			directory := k.startDirectory()
			var issuer string
			issuer, k.tokens = startIssuer(t)
			collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(&k.collect, r.Body)
				w.WriteHeader(http.StatusTeapot) // so that the log tells of it
			}))
			t.Cleanup(collector.Close)
			endpoint := strings.Replace(collector.URL, "http://", "http://tracer:"+k.vault.password("password of the collector")+"@", 1)
			k.configure(format, k.fakeServer(), issuer, directory, endpoint)
			k.serve()
			k.scene(end)
		})
	}
}

// teller is a pooler with every kind of secret, and what it tells to whom.
type teller struct {
	*program
	t        *testing.T
	bin, dir string
	pg       *pgtest.Server
	papers   *certs.Set
	checks   bool // faults in files are also for `pooler check` to find: one of the poolers is enough
	vault    *vault
	said     *vault            // what clients said themselves: PostgreSQL may know, and errors may tell them again
	files    map[string]string // what is right, by the file's name
	tokens   func(subject string, until time.Time) string
	web      string
	collect  output // what the collector of traces has got

	told   map[string]*strings.Builder // by where
	secret map[string]string           // a user's password, or what was set in its place
}

// hear keeps what was told.
func (k *teller) hear(where string, what ...any) {
	b := k.told[where]
	if b == nil {
		b = &strings.Builder{}
		k.told[where] = b
	}
	fmt.Fprintln(b, what...)
}

func (k *teller) scene(end func(*teller, *pgconn.PgConn)) {
	t := k.t
	console := func(c *pgconn.Config) { c.Database = "pooler" }
	operator, err := k.enter("admin", k.secret["admin"], console)
	if err != nil {
		t.Fatalf("%v\n%s", err, k.out.String())
	}
	before, err := os.Stat(k.pg.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	k.logins()
	k.handshakes()
	k.statements()
	fake, err := k.enter("filed", k.secret["filed"], func(c *pgconn.Config) { c.Database = "fake" })
	if err == nil {
		err = k.ask(fake, "rows", "SELECT 'the one'")
	}
	if err != nil {
		t.Errorf("the server of which all is known: %v", err)
	}
	cancel := k.running()
	k.faults(operator)
	k.orders(operator)
	until(t, "a sample is taken", func() bool {
		results, err := operator.Exec(t.Context(), "SHOW HISTORY").ReadAll()
		return err == nil && len(results[0].Rows) > 0
	})
	k.dashboard(k.look(operator))
	if err := k.ask(operator, "rows", "SET show_literals = true"); err != nil {
		t.Error(err)
	}
	results, err := operator.Exec(t.Context(), "SHOW CLIENTS").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	k.has(k.said, "SHOW CLIENTS with show_literals", fmt.Sprintf("%s", results[0].Rows), "a running string")
	if err := k.ask(operator, "rows", "SET show_literals = false"); err != nil {
		t.Error(err)
	}
	cancel()
	end(k, operator)
	k.verdict(before.Size())
}

// look has the console show all it can, and returns the names of the views.
func (k *teller) look(operator *pgconn.PgConn) (views []string) {
	k.t.Helper()
	results, err := operator.Exec(k.t.Context(), "SHOW HELP").ReadAll()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, row := range results[0].Rows {
		if name, ok := strings.CutPrefix(string(row[0]), "SHOW "); ok {
			views = append(views, strings.ToLower(name))
		}
	}
	for _, view := range views {
		if err := k.ask(operator, "SHOW "+view, "SHOW "+view); err != nil {
			k.t.Errorf("SHOW %s: %v", view, err)
		}
	}
	return views
}

// shutDown ends the pooler on its console.
func (k *teller) shutDown(operator *pgconn.PgConn) {
	_ = k.ask(operator, "rows", "SHUTDOWN WAIT_FOR_SERVERS")
	if err := <-k.exited; err != nil {
		k.t.Errorf("it ends with %v", err)
	}
	history, err := os.ReadFile(filepath.Join(k.dir, "history"))
	if err != nil || !bytes.Contains(history, []byte("teller")) {
		k.t.Errorf("the history file does not tell of the clients: %v", err)
	}
	if !strings.Contains(k.collect.String(), "teller") || !strings.Contains(k.out.String(), "traces were lost because they could not be sent") {
		k.t.Error("no traces were sent, or they were not refused")
	}
}

// abort has the pooler's runtime write all goroutines' stacks, as a panic that nobody recovers does.
func (k *teller) abort(*pgconn.PgConn) {
	_ = k.cmd.Process.Signal(syscall.SIGABRT)
	if err := <-k.exited; err == nil {
		k.t.Error("it ends as if nothing was")
	}
	if n := strings.Count(k.out.String(), "\ngoroutine "); n < 5 {
		k.t.Errorf("%d goroutines are in the dump", n)
	}
}

// verdict looks at all that was told. before is the size of PostgreSQL's log before the first client.
func (k *teller) verdict(before int64) {
	t := k.t
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	files := map[string]string{}
	for name := range k.files {
		files[name] = read(filepath.Join(k.dir, name))
	}
	k.has(k.vault, "auth_file", files["users"], "filed's password")
	k.has(k.vault, "auth_file", files["users"], "StoredKey of verified")
	k.has(k.vault, "auth_file", files["users"], "MD5 of hashed")
	k.has(k.vault, "the HBA file", files["hba"], "reader's password")
	k.has(k.vault, "the key file", files["server.key"], "line 1 of the server's key")
	k.has(k.vault, "pooler.toml", files["pooler.toml"], "looker's password")

	log, serverLog := k.out.String(), read(k.pg.LogFile())[before:]
	k.has(k.said, "PostgreSQL's log", serverLog, "a string")
	k.has(k.said, "PostgreSQL's log", serverLog, "a new password")
	if metrics := k.told["GET /metrics"].String(); !strings.Contains(metrics, `pooler_cancel_requests_total{state="unknown"} 2`) {
		t.Error("the metrics do not tell of two cancel requests with a wrong key")
	}
	for _, want := range []string{
		"client refused", "client logged in", "reload refused", "dashboard login refused", "console command", "password authentication failed", "LDAP", "OAuth",
		"certificate", "(changed)", "***", "are gone", "DEBUG",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q: what it is searched for was not provoked", want)
		}
	}
	history := read(filepath.Join(k.dir, "history"))
	k.hear("the log", log)
	k.hear("the history file", history)
	k.hear("the collector of traces", k.collect.String())
	k.nothingIn(k.vault, k.said)
	clear(k.told)
	k.hear("PostgreSQL's log", serverLog)
	k.nothingIn(k.vault)
}

// nothingIn fails the test for each secret that was told.
func (k *teller) nothingIn(vaults ...*vault) {
	k.t.Helper()
	places, proof := map[string][]string{}, map[string]string{} // by the secret's name
	for _, where := range slices.Sorted(maps.Keys(k.told)) {
		for _, v := range vaults {
			if v == k.said && (where == "errors" || where == "rows") {
				continue // told to those who said it
			}
			for name, around := range v.find(k.told[where].String()) {
				places[name], proof[name] = append(places[name], where), around
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		k.t.Errorf("LEAK: %s: told by %s, such as …%q…", name, strings.Join(places[name], ", "), proof[name])
	}
}

// has fails the test unless a secret is found where it must be: the search is not blind, and what was provoked has happened.
func (k *teller) has(v *vault, where, text, name string) {
	k.t.Helper()
	if v.find(text)[name] == "" {
		k.t.Errorf("%s does not have the %s, or the search does not find it", where, name)
	}
}
