package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
)

// challenged is a client that has sent its first message, and its nonce.
func challenged(t testing.TB) (*Answerer, string) {
	t.Helper()
	a := NewAnswerer(NewKeys(testRounds, true), "ann", Credential{Password: testPassword}, Binding{})
	if _, err := a.Answer(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramSHA256}}); err != nil {
		t.Fatal(err)
	}
	return a, a.scram.nonce
}

// answerFirst gives a client the server's first message, in which NONCE stands for its own nonce.
func answerFirst(t testing.TB, message string) error {
	t.Helper()
	a, nonce := challenged(t)
	_, err := a.Answer(&pgproto3.AuthenticationSASLContinue{Data: []byte(strings.ReplaceAll(message, "NONCE", nonce))})
	return err
}

func TestAHostileServersFirstMessageIsRefused(t *testing.T) {
	for name, message := range map[string]string{
		"empty":                        "",
		"a zero byte":                  "r=NONCEx\x00,s=c2FsdA==,i=4096",
		"no salt":                      "r=NONCEx,i=4096",
		"no iterations":                "r=NONCEx,s=c2FsdA==",
		"another order":                "s=c2FsdA==,r=NONCEx,i=4096",
		"a mandatory extension":        "m=x,r=NONCEx,s=c2FsdA==,i=4096",
		"our nonce alone":              "r=NONCE,s=c2FsdA==,i=4096",
		"another nonce":                "r=xNONCE,s=c2FsdA==,i=4096",
		"a nonce that cannot be shown": "r=NONCE\x01,s=c2FsdA==,i=4096",
		"an empty salt":                "r=NONCEx,s=,i=4096",
		"a salt that is no base64":     "r=NONCEx,s=c2FsdA,i=4096",
		"a salt with a line break":     "r=NONCEx,s=c2Fs\ndA==,i=4096",
		"a long salt":                  "r=NONCEx,s=" + strings.Repeat("c2Fs", 400) + ",i=4096",
		"no iterations at all":         "r=NONCEx,s=c2FsdA==,i=",
		"zero iterations":              "r=NONCEx,s=c2FsdA==,i=0",
		"negative iterations":          "r=NONCEx,s=c2FsdA==,i=-1",
		"signed iterations":            "r=NONCEx,s=c2FsdA==,i=+4096",
		"padded iterations":            "r=NONCEx,s=c2FsdA==,i=04096",
		"too many iterations":          "r=NONCEx,s=c2FsdA==,i=1000001",
		"iterations that overflow":     "r=NONCEx,s=c2FsdA==,i=18446744073709555712",
		"a repeated nonce":             "r=NONCEx,s=c2FsdA==,i=4096,r=NONCEy",
		"repeated iterations":          "r=NONCEx,s=c2FsdA==,i=4096,i=1",
		"an extension that is none":    "r=NONCEx,s=c2FsdA==,i=4096,1=1",
	} {
		if err := answerFirst(t, message); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := answerFirst(t, "r=NONCEx,s=c2FsdA==,i=4096,x=extension"); err != nil {
		t.Error(err)
	}
}

// PgBouncer trusted the lengths within a SCRAM message: long attributes wrapped a sum around.
func TestCVE_2026_6664_LongSCRAMMessagesAreRefused(t *testing.T) {
	long := strings.Repeat("A", 1<<20)
	if err := answerFirst(t, "r=NONCEx,s="+long+",i=4096"); err == nil {
		t.Error("a salt of 1 MB is taken")
	}
	if err := answerFirst(t, "r=NONCEx,s=c2FsdA==,i=4096,x="+long); err == nil {
		t.Error("an extension of 1 MB is taken")
	}
	a, nonce := challenged(t)
	if _, err := a.Answer(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=" + nonce + "x,s=c2FsdA==,i=1")}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Answer(&pgproto3.AuthenticationSASLFinal{Data: []byte("v=" + long)}); err == nil {
		t.Error("a signature of 1 MB is taken")
	}
	for _, first := range []string{"n,,n=" + long + ",r=abc", "n,,n=,r=" + long, long} {
		_, p := SCRAM(NewKeys(1, true), "ann", clearSecret(testPassword), Binding{})
		var violated *ProtocolError
		_, _, err := p.Next(t.Context(), bodyOf(t, &pgproto3.SASLInitialResponse{AuthMechanism: scramSHA256, Data: []byte(first)}))
		if !errors.As(err, &violated) || violated.Code != codeProtocolViolation {
			t.Errorf("a client's message of 1 MB: %v", err)
		}
	}
	for _, size := range []string{"\x7f\xff\xff\xff", "\x80\x00\x00\x00", "\xff\xff\xff\xfe", "\x00\x00\x00\x0c"} {
		_, p := SCRAM(NewKeys(1, true), "ann", clearSecret(testPassword), Binding{})
		if _, _, err := p.Next(t.Context(), []byte(scramSHA256+"\x00"+size+"n,,n=,r=abc")); err == nil {
			t.Errorf("a length of %x is believed", size)
		}
	}
}

// PgBouncer copied a server's nonce into a buffer on the stack, however long it was.
func TestCVE_2026_6665_ALongServerNonceIsRefused(t *testing.T) {
	for _, length := range []int{maxServerNonce, 1 << 10, 1 << 20} {
		if err := answerFirst(t, "r=NONCE"+strings.Repeat("x", length)+",s=c2FsdA==,i=4096"); err == nil {
			t.Errorf("a nonce with %d characters more is taken", length)
		}
	}
	if err := answerFirst(t, "r=NONCE"+strings.Repeat("x", 400)+",s=c2FsdA==,i=4096"); err != nil {
		t.Errorf("a fair nonce is refused: %v", err)
	}
}

func TestAServerThatDoesNotProveItselfIsLeft(t *testing.T) {
	const challenge, signature = rfcServerFirst, rfcServerFinal
	sasl := &pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramSHA256}}
	first := &pgproto3.AuthenticationSASLContinue{Data: []byte(challenge)}
	final := func(text string) pgproto3.BackendMessage {
		return &pgproto3.AuthenticationSASLFinal{Data: []byte(text)}
	}
	for name, messages := range map[string][]pgproto3.BackendMessage{
		"welcome before our proof":         {&pgproto3.AuthenticationOk{}},
		"welcome instead of its signature": {first, &pgproto3.AuthenticationOk{}},
		"another signature":                {first, final("v=" + base64Text(make([]byte, keySize)))},
		"a short signature":                {first, final("v=abcd")},
		"no signature":                     {first, final("")},
		"a signature twice":                {first, final(signature), final(signature)},
		"a signature and something else":   {first, final(signature + ",v=x")},
		"a signature with a line break":    {first, final(signature[:10] + "\n" + signature[10:])},
		"an error":                         {first, final("e=invalid-proof\n")},
		"a signature before our proof":     {final(signature)},
		"its first message twice":          {first, first},
		"SCRAM again":                      {sasl},
		"clear text in the middle":         {&pgproto3.AuthenticationCleartextPassword{}},
		"MD5 in the middle":                {first, &pgproto3.AuthenticationMD5Password{}},
	} {
		a := rfcAnswerer(t)
		var err error
		for i, msg := range messages {
			if _, err = a.Answer(msg); err != nil && i < len(messages)-1 {
				t.Errorf("%s: message %d: %v", name, i, err)
			}
		}
		if err == nil || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%s: %v", name, err)
		}
	}
	unasked := NewAnswerer(nil, "ann", Credential{Password: testPassword}, Binding{})
	for _, msg := range []pgproto3.BackendMessage{first, final(signature)} {
		if _, err := unasked.Answer(msg); !errors.Is(err, errUnasked) {
			t.Errorf("SCRAM out of nothing: %v", err)
		}
	}
	if msg, err := unasked.Answer(&pgproto3.AuthenticationOk{}); msg != nil || err != nil {
		t.Errorf("trust: %v, %v", msg, err)
	}
}

func TestWhatCannotBeAnsweredSaysWhy(t *testing.T) {
	hash := Credential{MD5: md5Secret("ann", testPassword)}
	for name, c := range map[string]struct {
		credential Credential
		asked      pgproto3.BackendMessage
		want       string
	}{
		"nothing, clear":    {Credential{}, &pgproto3.AuthenticationCleartextPassword{}, ErrNoCredential.Error()},
		"a hash, clear":     {hash, &pgproto3.AuthenticationCleartextPassword{}, "only an MD5 hash"},
		"a hash, SCRAM":     {hash, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramSHA256}}, "only an MD5 hash"},
		"a broken hash":     {Credential{MD5: "m"}, &pgproto3.AuthenticationMD5Password{}, ErrNoCredential.Error()},
		"a key alone":       {Credential{ClientKey: make([]byte, keySize)}, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramSHA256}}, ErrNoCredential.Error()},
		"another mechanism": {hash, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"X\n"}}, "offers only X?"},
		"PLUS without TLS":  {hash, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramSHA256Plus}}, "offers only SCRAM-SHA-256-PLUS"},
		"Kerberos":          {hash, &pgproto3.AuthenticationGSS{}, "does not know"},
	} {
		_, err := NewAnswerer(nil, "ann", c.credential, Binding{}).Answer(c.asked)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// Who pretends to be PostgreSQL gets nothing by asking for a weaker method than PostgreSQL would.
func TestOnlyARequiredMethodIsAnswered(t *testing.T) {
	asked := map[string]pgproto3.BackendMessage{
		config.RequirePassword: &pgproto3.AuthenticationCleartextPassword{},
		config.RequireMD5:      &pgproto3.AuthenticationMD5Password{},
		config.RequireSCRAM:    &pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramSHA256}},
		config.RequireNone:     &pgproto3.AuthenticationOk{},
	}
	for _, list := range []config.RequireAuth{"", "scram-sha-256", "password,md5", "none", "!password", "!none,!md5"} {
		for method, msg := range asked {
			a := NewAnswerer(NewKeys(1, true), "ann", Credential{Password: testPassword}, Binding{}).Require(list)
			answer, err := a.Answer(msg)
			if list.Allows(method) != (err == nil) || err != nil && (answer != nil || !errors.Is(err, ErrMethod) || !strings.Contains(err.Error(), string(list))) {
				t.Errorf("%q, asked for %s: %v, %v", list, method, answer, err)
			}
		}
	}
	a := NewAnswerer(nil, "ann", Credential{Password: testPassword}, Binding{}).Require("password")
	for _, msg := range []pgproto3.BackendMessage{asked[config.RequirePassword], asked[config.RequireNone]} {
		if _, err := a.Answer(msg); err != nil {
			t.Errorf("let in after the proof: %v", err)
		}
	}
}
