package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

const (
	maxAuthFileSize = 64 << 20
	md5Prefix       = "md5"
	scramPrefix     = "SCRAM-SHA-256$"
	sha256Size      = 32
)

// AuthFile is who may log in and what proves it, read from PgBouncer's userlist.txt format.
// It is never changed after it was read.
type AuthFile struct {
	Warnings []string // what an operator should look at, as "file:line: reason" or "file: reason"

	secrets map[string]Secret
}

// Secret finds the secret of a user.
func (a *AuthFile) Secret(user string) (Secret, bool) {
	s, ok := a.secrets[user]
	return s, ok
}

// SecretKind is the form in which a secret is kept.
type SecretKind uint8

// The kinds of secrets. The zero value proves nothing, so that a mistake refuses a client.
const (
	SecretNone  SecretKind = iota // an empty secret, with which nobody can log in
	SecretClear                   // clear text
	SecretMD5                     // "md5" and 32 hex digits
	SecretSCRAM                   // SCRAM-SHA-256$iterations:salt$storedkey:serverkey
)

func (k SecretKind) String() string {
	switch k {
	case SecretNone:
		return "none"
	case SecretClear:
		return "clear"
	case SecretMD5:
		return "md5"
	case SecretSCRAM:
		return "scram-sha-256"
	}
	return "SecretKind(" + strconv.Itoa(int(k)) + ")"
}

// Secret is what proves a user, as the file has it. Printing or logging it shows its kind only.
type Secret struct {
	Kind SecretKind
	Text string
}

func (s Secret) String() string { return s.Kind.String() + " (hidden)" }

// GoString implements fmt.GoStringer, for %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue implements slog.LogValuer: a JSON handler would print the fields.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Verifier is a SCRAM secret taken apart.
type Verifier struct {
	Iterations int
	Salt       []byte
	StoredKey  []byte
	ServerKey  []byte
}

// Verifier takes a SecretSCRAM apart; it returns false for any other kind.
func (s Secret) Verifier() (Verifier, bool) {
	if s.Kind != SecretSCRAM {
		return Verifier{}, false
	}
	return parseVerifier(s.Text)
}

func parseVerifier(text string) (Verifier, bool) {
	text, scram := strings.CutPrefix(text, scramPrefix)
	cost, keys, ok1 := strings.Cut(text, "$")
	rounds, salt, ok2 := strings.Cut(cost, ":")
	stored, server, ok3 := strings.Cut(keys, ":")
	if !scram || !ok1 || !ok2 || !ok3 {
		return Verifier{}, false
	}
	var v Verifier
	var errs [4]error
	v.Iterations, errs[0] = strconv.Atoi(rounds)
	v.Salt, errs[1] = base64.StdEncoding.DecodeString(salt)
	v.StoredKey, errs[2] = base64.StdEncoding.DecodeString(stored)
	v.ServerKey, errs[3] = base64.StdEncoding.DecodeString(server)
	ok := errors.Join(errs[:]...) == nil && v.Iterations > 0 && len(v.Salt) > 0 &&
		len(v.StoredKey) == sha256Size && len(v.ServerKey) == sha256Size
	return v, ok
}

// LoadAuthFile reads an auth_file.
func LoadAuthFile(path string) (*AuthFile, error) {
	data, err := readFile(path, maxAuthFileSize)
	if err != nil {
		return nil, err
	}
	a, err := ParseAuthFile(path, data)
	if err != nil {
		return nil, err
	}
	a.Warnings = append(a.Warnings, Exposed(path, "it holds secrets")...)
	return a, nil
}

// HasClearText tells whether any user's password stands there as it is. There may be no file (nil).
func (a *AuthFile) HasClearText() bool {
	if a == nil {
		return false
	}
	for _, s := range a.secrets {
		if s.Kind == SecretClear {
			return true
		}
	}
	return false
}

// ParseAuthFile reads the text of an auth_file; name stands for it in messages. The error joins
// every fault as "name:line: reason" and never contains a secret.
func ParseAuthFile(name string, data []byte) (*AuthFile, error) {
	a := &AuthFile{secrets: make(map[string]Secret)}
	var bad faults
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		user, secret, err := parseAuthLine(line)
		if err != nil {
			if len(bad) < maxFaults {
				bad = append(bad, fault{file: name, line: n, reason: err.Error()})
			}
			continue
		}
		if _, ok := a.secrets[user]; ok {
			a.warn(name, n, "user %q appears again; the last line counts", user)
		}
		if secret.Kind == SecretNone {
			a.warn(name, n, "user %q has an empty secret, with which nobody can log in", user)
		}
		a.secrets[user] = secret
	}
	if err := bad.err(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *AuthFile) warn(name string, line int, format string, args ...any) {
	if len(a.Warnings) < maxFaults {
		a.Warnings = append(a.Warnings, fmt.Sprintf("%s:%d: ", name, line)+fmt.Sprintf(format, args...))
	}
}

// parseAuthLine reads "user" "secret"; PgBouncer ignores what follows, and so do we.
func parseAuthLine(line string) (user string, secret Secret, err error) {
	user, rest, ok := cutQuoted(line)
	if !ok {
		return "", Secret{}, errors.New(`want "user" "secret", both between double quotes`)
	}
	if user == "" || strings.ContainsRune(user, 0) {
		return "", Secret{}, errors.New("a user name must not be empty or contain a zero byte")
	}
	text, _, ok := cutQuoted(strings.TrimLeft(rest, " \t"))
	if !ok {
		return "", Secret{}, fmt.Errorf("want the secret of user %q between double quotes", user)
	}
	if secret, err = ParseSecret(text); err != nil {
		return "", Secret{}, fmt.Errorf("user %q has %w", user, err)
	}
	return user, secret, nil
}

// ParseSecret reads a secret in the form in which PostgreSQL's pg_authid and an auth_file have it. The error does not
// contain it.
func ParseSecret(text string) (Secret, error) {
	s := Secret{Kind: kindOf(text), Text: text}
	if _, ok := s.Verifier(); s.Kind == SecretSCRAM && !ok {
		return Secret{}, fmt.Errorf("a malformed secret; want %siterations:salt$storedkey:serverkey", scramPrefix)
	}
	return s, nil
}

// cutQuoted takes a quoted word off the front of s. Within it, "" stands for one quote.
func cutQuoted(s string) (word, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, `"`)
	var b strings.Builder
	for ok {
		var part string
		if part, s, ok = strings.Cut(s, `"`); !ok {
			break
		}
		b.WriteString(part)
		if !strings.HasPrefix(s, `"`) {
			return b.String(), s, true
		}
		b.WriteByte('"')
		s = s[1:]
	}
	return "", "", false
}

// kindOf tells the kinds apart as PostgreSQL does, whose hex digits are lower case.
func kindOf(text string) SecretKind {
	hex, isMD5 := strings.CutPrefix(text, md5Prefix)
	switch {
	case text == "":
		return SecretNone
	case isMD5 && len(hex) == 32 && strings.Trim(hex, "0123456789abcdef") == "":
		return SecretMD5
	case strings.HasPrefix(text, scramPrefix):
		return SecretSCRAM
	}
	return SecretClear
}
