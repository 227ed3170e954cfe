package hba

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pooler/internal/pgtest"
)

// postgres is the judge: what it takes, what it refuses, and in which words.
var postgres pgtest.Shared

func TestMain(m *testing.M) {
	postgres.Options = pgtest.Options{
		Settings: map[string]string{"ssl": "on"},
		Files:    testCertificate(),
	}
	pgtest.Main(m, &postgres)
}

func testCertificate() map[string][]byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return map[string][]byte{
		"server.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"server.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}
}

// writeFile writes a file of the server's, which keeps its owner.
func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(postgres.Server(t).DataDir(), name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func query(t *testing.T, sql string) [][]string {
	t.Helper()
	rows, err := postgres.Server(t).Exec(t.Context(), "postgres", sql)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// unsupported ends what a PostgreSQL says that was built without a method.
const unsupported = "not supported by this build"

// serverVersion is the major one.
func serverVersion(t *testing.T) int {
	t.Helper()
	number, err := strconv.Atoi(query(t, "SHOW server_version_num")[0][0])
	if err != nil {
		t.Fatal(err)
	}
	return number / 10_000
}

// seen is a line as PostgreSQL's pg_hba_file_rules shows it.
type seen struct {
	Type, Address, Netmask, Method string
	Databases, Users               []string
	Options                        []string
	Error                          string `json:"-"`
}

// pgLines is what PostgreSQL makes of a file, by line.
func pgLines(t *testing.T, text string) map[string]seen {
	t.Helper()
	writeFile(t, "pg_hba.conf", text)
	lines := map[string]seen{}
	for _, row := range query(t, `SELECT line_number, error, auth_method IS NOT NULL, json_build_object(
		'Type', type, 'Databases', database, 'Users', user_name, 'Address', address, 'Netmask', netmask,
		'Method', auth_method, 'Options', options) FROM pg_hba_file_rules ORDER BY line_number`) {
		s := seen{Error: row[1]}
		if row[2] == "t" {
			if err := json.Unmarshal([]byte(row[3]), &s); err != nil {
				t.Fatal(err)
			}
			// How it spells networks and numbers is its own.
			s.Options = slices.DeleteFunc(s.Options, func(o string) bool { return !alike(o) })
			slices.Sort(s.Options)
		}
		lines[row[0]] = s
	}
	return lines
}

// alike options are those that both sides tell in the same words.
func alike(option string) bool {
	name, value, _ := strings.Cut(option, "=")
	return value != "" && !slices.Contains([]string{"ldapurl", "ldapscope", "ldaptls", "clientname"}, name)
}

// ourLines is what we make of it.
func ourLines(t *testing.T, text string) map[string]seen {
	t.Helper()
	rd := &reader{open: single("f", []byte(text)), left: maxBytes, alone: true}
	lines, err := rd.read("f", 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]seen{}
	for _, err := range rd.faults {
		var f fault
		errors.As(err, &f)
		all[fmt.Sprint(f.line)] = seen{Error: f.reason}
	}
	for _, l := range lines {
		r, err := parseRule(l)
		if err != nil {
			all[fmt.Sprint(l.number)] = seen{Error: err.Error()}
			continue
		}
		s := seen{Type: string(r.Kind), Method: string(r.Method), Databases: texts(r.databases), Users: texts(r.users)}
		s.Address, s.Netmask = spellAddress(r)
		for name, value := range r.Options {
			if alike(name + "=" + value) {
				s.Options = append(s.Options, name+"="+value)
			}
		}
		slices.Sort(s.Options)
		all[fmt.Sprint(l.number)] = s
	}
	return all
}

func texts(tokens []token) (all []string) {
	for _, t := range tokens {
		all = append(all, t.text)
	}
	return all
}

func spellAddress(r *Rule) (addr, mask string) {
	if r.Kind == Local {
		return "", ""
	}
	if r.address.kind != addressNet {
		return r.where[0].text, ""
	}
	text, _, _ := strings.Cut(r.where[0].text, "/")
	return netip.MustParseAddr(text).String(), r.address.mask.String()
}

func (b bits) String() string {
	var a [16]byte
	for i := range 8 {
		a[i], a[8+i] = byte(b.hi>>(56-8*i)), byte(b.lo>>(56-8*i))
	}
	if b.family == 4 {
		return netip.AddrFrom4([4]byte(a[12:])).String()
	}
	return netip.AddrFrom16(a).String()
}

// isStricter tells reasons of ours that PostgreSQL does not have: see TestDifferencesFromPostgreSQL.
func isStricter(reason string) bool {
	return strings.HasPrefix(reason, "invalid address") || strings.Contains(reason, `requires argument "ldapserver"`)
}

// compare holds our reading of a file against PostgreSQL's; it returns how many lines both took.
func compare(t *testing.T, text string) (taken int) {
	t.Helper()
	theirs, ours := pgLines(t, text), ourLines(t, text)
	lines := strings.Split(text, "\n")
	for i := range lines {
		number := fmt.Sprint(i + 1)
		a, read := theirs[number]
		b := ours[number]
		if a.Method != "" {
			taken++
			a.Error = "" // "cannot match" and the like
		}
		if read && a.Method == "" && b.Error != "" || isStricter(b.Error) || strings.HasSuffix(a.Error, unsupported) {
			continue
		}
		if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
			t.Errorf("line %d: %s\nPostgreSQL %+v\nwe         %+v", i+1, lines[i], a, b)
		}
	}
	return taken
}
