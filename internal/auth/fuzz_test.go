package auth

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"
)

// checkRefusal holds for whatever a stranger sends: it is refused in words fit for a log, and short ones.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	var violated *ProtocolError
	switch {
	case err == nil || errors.Is(err, ErrWrong):
		return
	case !errors.As(err, &violated) || len(violated.Code) != 5 || violated.Message == "":
		t.Fatalf("not a ProtocolError: %v", err)
	}
	if text := err.Error(); len(text) > 250 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Fatalf("the error repeats the stranger: %q", text)
	}
}

func FuzzSASLInitialResponse(f *testing.F) {
	f.Add([]byte("SCRAM-SHA-256\x00\x00\x00\x00\x0bn,,n=,r=abc"), true)
	f.Add([]byte("SCRAM-SHA-256\x00\xff\xff\xff\xff"), false)
	keys := NewKeys(1, true)
	f.Fuzz(func(t *testing.T, answer []byte, plus bool) {
		var b Binding
		if plus {
			b = testBinding("certificate")
		}
		mechanism, data, has, err := cutInitial(answer)
		checkRefusal(t, err)
		if err == nil && len(mechanism)+len(data)+5 != len(answer) || !has && len(data) > 0 {
			t.Fatalf("%q + %q of %q", mechanism, data, answer)
		}
		_, p := SCRAM(keys, "ann", clearSecret(testPassword), b)
		_, proven, err := p.Next(context.Background(), bytes.Clone(answer))
		checkRefusal(t, err)
		if proven {
			t.Fatal("proven by a first message")
		}
	})
}

// What we take, a library takes too; it is stricter about user names, which PostgreSQL ignores.
func FuzzSCRAMClientFirst(f *testing.F) {
	f.Add("n,,n=,r=abc", false, false)
	f.Add("y,,n=ann,r=abc,x=y", false, true)
	f.Add("p=tls-server-end-point,,n=,r=abc", true, true)
	f.Fuzz(func(t *testing.T, message string, plus, offered bool) {
		if message == "" || checkText([]byte(message)) != nil {
			return
		}
		first, err := parseClientFirst(message, plus, plus || offered)
		checkRefusal(t, err)
		if err != nil {
			return
		}
		if first.gs2+first.bare != message || plus != strings.HasPrefix(message, "p") {
			t.Fatalf("%+v of %q", first, message)
		}
		var data []byte
		if plus || offered {
			data = []byte("hash")
		}
		server, err := scram.SHA256.NewServer(func(string) (c scram.StoredCredentials, _ error) { return c, nil })
		if err != nil {
			t.Fatal(err)
		}
		talk := server.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: data})
		if _, err := talk.Step(message); err != nil && !strings.Contains(err.Error(), "username encoding") {
			t.Fatalf("the library refuses %q: %v", message, err)
		}
	})
}

func FuzzSCRAMClientFinal(f *testing.F) {
	f.Add("c=biws,r=NONCE"+wrongProof, false)
	f.Add(boundTo("x")+",r=NONCE,x=y"+wrongProof, true)
	keys := NewKeys(1, true)
	f.Fuzz(func(t *testing.T, message string, plus bool) {
		first, mechanism, b := "n,,n=,r=abc", scramSHA256, Binding{}
		if plus {
			first, mechanism, b = plusFirst, scramSHA256Plus, Binding{EndPoint: []byte("x")}
		}
		_, p := SCRAM(keys, "ann", clearSecret(testPassword), b)
		reply, _, err := p.Next(context.Background(), bodyOf(t, &pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(first)}))
		if err != nil {
			t.Fatal(err)
		}
		nonce, _, _ := strings.Cut(strings.TrimPrefix(string(received(t, reply).(*pgproto3.AuthenticationSASLContinue).Data), "r="), ",")
		_, proven, err := p.Next(context.Background(), []byte(strings.ReplaceAll(message, "NONCE", nonce)))
		checkRefusal(t, err)
		if proven || err == nil {
			t.Fatal("proven without the password")
		}
	})
}

func FuzzSCRAMServerFirst(f *testing.F) {
	f.Add([]byte("r=NONCEx,s=c2FsdA==,i=1"))
	f.Add([]byte("r=NONCEx,s=c2FsdA==,i=4096,x=y"))
	f.Fuzz(func(t *testing.T, message []byte) {
		first, err := parseServerFirst(message, "NONCE")
		if err != nil {
			if len(err.Error()) > 100 {
				t.Fatalf("the error repeats the server: %v", err)
			}
			return
		}
		if !strings.HasPrefix(first.nonce, "NONCE") || len(first.nonce) <= len("NONCE") || len(first.nonce) > maxServerNonce ||
			len(first.salt) == 0 || len(first.salt) > maxServerSalt || first.iterations < 1 || first.iterations > maxIterations {
			t.Fatalf("taken: %+v", first)
		}
		if strings.Count(string(message), "r="+first.nonce) == 0 {
			t.Fatalf("the nonce is made up: %q", first.nonce)
		}
	})
}

func FuzzSCRAMServerFinal(f *testing.F) {
	f.Add([]byte(rfcServerFinal))
	f.Add([]byte("e=invalid-proof"))
	f.Fuzz(func(t *testing.T, message []byte) {
		signature, err := parseServerFinal(message)
		if (err == nil) != (len(signature) == keySize) {
			t.Fatalf("%x, %v", signature, err)
		}
		if err == nil && !bytes.HasPrefix(message, []byte("v="+base64Text(signature))) {
			t.Fatalf("%x of %q", signature, message)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("the error repeats the server: %q", err)
		}
	})
}

func FuzzOAuthBearer(f *testing.F) {
	f.Add("n,,\x01auth=Bearer abc.def=\x01\x01")
	f.Add("y,,\x01host=a\x01port=1\x01auth=\x01\x01")
	f.Fuzz(func(t *testing.T, message string) {
		if checkBearerText([]byte(message)) != nil {
			return
		}
		header, err := parseBearer(message)
		checkRefusal(t, err)
		if err != nil {
			return
		}
		if !strings.Contains(message, "\x01auth="+header+"\x01") || !strings.HasSuffix(message, "\x01\x01") {
			t.Fatalf("%q of %q", header, message)
		}
		if token, ok := cutToken(header); ok && (token == "" || strings.ContainsAny(token, " \t\r\n,") || !strings.HasSuffix(header, token)) {
			t.Fatalf("token %q of %q", token, header)
		}
	})
}

// An LDAP server never sees a user's name as anything but a value.
func FuzzLDAPNames(f *testing.F) {
	f.Add("ann")
	f.Add(`a,ou=x)(uid=*\00`)
	f.Fuzz(func(t *testing.T, user string) {
		d := &Directory{prefix: "cn=", suffix: ",dc=x", filter: "(uid=" + userMark + ")"}
		checkLDAPName(t, d, user)
	})
}
