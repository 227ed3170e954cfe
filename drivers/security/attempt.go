package main

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pooler/internal/pgtest/certs"
)

// attempt is one login as a driver needs it: nothing but texts.
type attempt struct {
	host     string // or the directory of a Unix socket
	port     int
	user     string
	password string
	database string
	sslmode  string // disable, require, verify-full
	direct   bool   // sslnegotiation=direct
	root     string // file of the CAs that the client trusts, PEM
	cert     string // file, PEM
	key      string // file, PEM
	pk8      string // the key in PKCS#8 without PEM, as pgjdbc wants it
	binding  bool   // channel_binding=require
	newest   bool   // min_protocol_version=3.2
}

// outcome is what a driver tells of an attempt.
type outcome struct {
	OK      bool   `json:"ok"`
	User    string `json:"user,omitempty"`    // current_user, session_user
	TLS     bool   `json:"tls,omitempty"`     // what pg_stat_ssl says, of the connection to PostgreSQL
	Code    string `json:"code,omitempty"`    // SQLSTATE, "" where the driver does not tell
	Message string `json:"message,omitempty"` // without ports and directories
}

func (o outcome) String() string {
	if o.OK {
		return fmt.Sprintf("works as %s, TLS %v", o.User, o.TLS)
	}
	return strings.TrimSpace("refused: " + o.Code + " " + o.Message)
}

// whoQuery is what every driver asks: one row, one text.
const whoQuery = "SELECT current_user || ',' || session_user || ',' || coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)"

// connected is the outcome of an attempt that whoQuery gave who for.
func connected(who string) outcome {
	user, tls, _ := cutLast(who, ",")
	return outcome{OK: true, User: user, TLS: tls == "true"}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// line is the attempt as the programs in other languages read it: name=value, separated by tabs.
func (a attempt) line() string {
	fields := []string{
		"host=" + a.host, "port=" + strconv.Itoa(a.port), "user=" + a.user, "password=" + a.password, "database=" + a.database,
		"sslmode=" + a.sslmode, "direct=" + strconv.FormatBool(a.direct), "root=" + a.root, "cert=" + a.cert, "key=" + a.key,
		"pk8=" + a.pk8, "binding=" + strconv.FormatBool(a.binding), "query=" + whoQuery,
	}
	return strings.Join(fields, "\t")
}

// keywords are the attempt as libpq's connection parameters, whose names pgx shares.
func (a attempt) keywords() []string {
	words := []string{
		"host=" + a.host, "port=" + strconv.Itoa(a.port), "user=" + a.user, "dbname=" + a.database, "sslmode=" + a.sslmode,
		"sslrootcert=" + a.root, "connect_timeout=10",
	}
	if a.password != "" {
		words = append(words, "password="+a.password)
	}
	if a.direct {
		words = append(words, "sslnegotiation=direct")
	}
	if a.cert != "" {
		words = append(words, "sslcert="+a.cert, "sslkey="+a.key)
	}
	if a.newest {
		words = append(words, "min_protocol_version=3.2", "max_protocol_version=3.2")
	}
	if a.binding {
		words = append(words, "channel_binding=require")
	}
	return words
}

// place is where an attempt goes.
type place struct {
	host     string
	socket   string
	port     int
	database string
}

// attempt makes of a question what a driver needs.
func (s *stage) attempt(q question, at place) (attempt, error) {
	a := attempt{
		host: at.host, port: at.port, user: q.method.name, database: at.database,
		sslmode: q.mode.sslmode, direct: q.mode.direct, binding: q.try.binding, newest: q.try.newest, root: s.certs.CA.CertFile,
	}
	if q.method.kind == "local" {
		a.host = at.socket
	}
	if q.try.database != "" {
		a.database = q.try.database
	}
	if q.try.badRoot {
		a.root = s.certs.Other.CertFile
	}
	switch q.try.password {
	case "right":
		a.password = rightPassword(q.method.name)
	case "wrong":
		a.password = "wrong"
	}
	pair, err := s.pairOf(q.method, q.try)
	if err != nil || pair == nil {
		return a, err
	}
	a.cert, a.key = pair.CertFile, pair.KeyFile
	a.pk8, err = s.pk8Of(pair)
	return a, err
}

// pk8Of writes a key in the form that pgjdbc wants, once: other drivers ask at the same time.
func (s *stage) pk8Of(pair *certs.Pair) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := strings.TrimSuffix(pair.KeyFile, filepath.Ext(pair.KeyFile)) + ".pk8"
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	block, _ := pem.Decode(pair.Key)
	return file, os.WriteFile(file, block.Bytes, 0o600)
}
