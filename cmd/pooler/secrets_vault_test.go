package main

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pooler/config"
	"pooler/internal/pgtest/certs"
)

// vault knows secrets, and finds them in what is told, whole, in part, or in another encoding.
type vault struct {
	forms map[[shortest]byte][]form // by how they begin
}

func (v *vault) add(name string, texts ...string) {
	for _, text := range texts {
		if len(text) >= shortest {
			begin := [shortest]byte([]byte(text))
			v.forms[begin] = append(v.forms[begin], form{text, name})
		}
	}
}

type form struct{ text, name string }

const (
	shortest = 8  // bytes of a form: less may be there by chance
	part     = 12 // bytes of a beginning or an end that tell too much
)

func newVault() *vault { return &vault{map[[shortest]byte][]form{}} }

// password makes a secret that is nowhere else, of letters only, since faults are told of up to what is no letter.
func (v *vault) password(name string) string {
	p := strings.Map(func(r rune) rune {
		if r < 'A' {
			r += 'G' - '2' // of the digits that it has
		}
		return r
	}, rand.Text())
	v.keep(name, p)
	return p
}

// keep adds a secret, in each form in which it could be told.
func (v *vault) keep(name, secret string) {
	for _, piece := range []string{secret[:min(part, len(secret))], secret[max(0, len(secret)-part):]} {
		b := []byte(piece)
		numbers, quoted := fmt.Sprintf("%d", b), strconv.Quote(piece)
		v.add(name, base64Forms(b)...)
		v.add(name, piece, fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), numbers[1:len(numbers)-1], quoted[1:len(quoted)-1])
	}
}

// base64Forms are those of b wherever it stands in what is encoded, without the letters that its neighbours have a share in.
func base64Forms(b []byte) (texts []string) {
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := e.EncodeToString(append(make([]byte, before), b...))
			texts = append(texts, text[(before*8+5)/6:(before+len(b))*8/6])
		}
	}
	return texts
}

// number keeps a cancel key of four bytes, which is too short to look for parts of it.
func (v *vault) number(name string, key []byte) {
	n := binary.BigEndian.Uint32(key)
	v.add(name, fmt.Sprintf("%08x", n), fmt.Sprintf("%08X", n), fmt.Sprint(n), fmt.Sprint(int32(n)), fmt.Sprintf("%d", key), strconv.Quote(string(key)), base64.StdEncoding.EncodeToString(key))
}

// find names the secrets in a text, each with what is around it.
func (v *vault) find(text string) map[string]string {
	found := map[string]string{}
	for i := 0; i+shortest <= len(text); i++ {
		for _, f := range v.forms[[shortest]byte([]byte(text[i:i+shortest]))] {
			if strings.HasPrefix(text[i:], f.text) && found[f.name] == "" {
				found[f.name] = text[max(0, i-150):min(len(text), i+len(f.text)+20)]
			}
		}
	}
	return found
}

// scram keeps all that comes of a password with PostgreSQL's SCRAM secret of it.
func (v *vault) scram(t *testing.T, name, password, secret string) {
	t.Helper()
	parsed, err := config.ParseSecret(secret)
	verifier, ok := parsed.Verifier()
	if err != nil || !ok {
		t.Fatalf("the secret of %s: %v", name, err)
	}
	salted, err := pbkdf2.Key(sha256.New, password, verifier.Salt, verifier.Iterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, salted)
	mac.Write([]byte("Client Key"))
	client := mac.Sum(nil)
	if sha256.Sum256(client) != [sha256.Size]byte(verifier.StoredKey) {
		t.Fatalf("the ClientKey of %s is not that", name)
	}
	for what, key := range map[string][]byte{"SaltedPassword": salted, "ClientKey": client, "StoredKey": verifier.StoredKey, "ServerKey": verifier.ServerKey} {
		v.keep(what+" of "+name, string(key))
	}
}

// pem keeps a private key: the lines of its file, and the number that it is.
func (v *vault) pem(name string, pair *certs.Pair) {
	for n, line := range strings.Split(string(pair.Key), "\n") {
		if !strings.HasPrefix(line, "-----") && len(line) >= 2*part {
			v.keep(fmt.Sprintf("line %d of %s", n, name), line[len(line)-2*part:])
		}
	}
	if key, ok := pair.TLS.PrivateKey.(*ecdsa.PrivateKey); ok {
		b, _ := key.Bytes() // of a curve that it was made for
		v.keep(name, string(b))
	}
}

// Whoever looks for secrets must find them, or it says nothing that none are found.
func TestTheSearchForSecretsFindsThem(t *testing.T) {
	for _, show := range []struct {
		how  string
		tell func(secret string) string
	}{
		{"as it is", func(s string) string { return s }},
		{"its beginning", func(s string) string { return s[:part] }},
		{"its end", func(s string) string { return s[len(s)-part:] }},
		{"hex", func(s string) string { return hex.EncodeToString([]byte(s)) }},
		{"HEX", func(s string) string { return fmt.Sprintf("%X", s) }},
		{"numbers", func(s string) string { return fmt.Sprintf("%d", []byte(s)) }},
		{"base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
		{"quoted", func(s string) string { return strconv.Quote(s) }},
		{"HTTP Basic", func(s string) string { return base64.StdEncoding.EncodeToString([]byte("admin:" + s)) }},
		{"PLAIN", func(s string) string { return base64.URLEncoding.EncodeToString([]byte("\x00an\x00" + s + "\x01\x01")) }},
		{"JSON", func(s string) string { b, _ := json.Marshal(map[string]string{"password": s}); return string(b) }},
	} {
		v := newVault()
		secret := v.password("it")
		if found := v.find("password=" + show.tell(secret) + " or so"); len(found) != 1 {
			t.Errorf("%s: found %v", show.how, found)
		}
		if found := v.find("password=" + show.tell(newVault().password("another")) + " or so"); len(found) != 0 {
			t.Errorf("%s: another was found: %v", show.how, found)
		}
	}
}

func TestTheSearchForSecretsFindsCancelKeys(t *testing.T) {
	short, long := []byte{0xca, 0xfe, 0xba, 0xbe}, sha256.Sum256([]byte("a key"))
	v := newVault()
	v.number("short", short)
	v.keep("long", string(long[:]))
	for name, key := range map[string][]byte{"short": short, "long": long[:]} {
		for _, told := range []string{
			fmt.Sprintf("key=%x", key), fmt.Sprintf("key=%X", key), fmt.Sprintf("key=%v.", key), fmt.Sprintf("key=%q.", key), `{"key":"` + base64.StdEncoding.EncodeToString(key) + `"}`,
		} {
			if found := v.find(told); found[name] == "" {
				t.Errorf("%s: not found in %s", name, told)
			}
		}
	}
	for _, told := range []string{"key=3405691582", "key=-889275714"} {
		if found := v.find(told); found["short"] == "" {
			t.Errorf("not found in %s", told)
		}
	}
}
