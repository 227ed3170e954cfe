package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"

	"pooler/config"
)

// The conversation of RFC 7677, section 3.
const (
	rfcFirst       = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	rfcServerFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	rfcFinal       = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	rfcServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func rfcAnswerer(t testing.TB) *Answerer {
	t.Helper()
	a := NewAnswerer(NewKeys(testRounds, true), "user", Credential{Password: "pencil"}, Binding{})
	a.scram = &scramClient{gs2: "n,,", bare: strings.TrimPrefix(rfcFirst, "n,,"), nonce: "rOprNGfwEbeRWgbNEkqO"}
	return a
}

func TestTheClientSpeaksAsInRFC7677(t *testing.T) {
	a := rfcAnswerer(t)
	msg, err := a.Answer(&pgproto3.AuthenticationSASLContinue{Data: []byte(rfcServerFirst)})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(msg.(*pgproto3.SASLResponse).Data); got != rfcFinal {
		t.Errorf("final message\n got %s\nwant %s", got, rfcFinal)
	}
	if _, err := a.Answer(&pgproto3.AuthenticationSASLFinal{Data: []byte(rfcServerFinal)}); err != nil {
		t.Error(err)
	}
	if _, err := a.Answer(&pgproto3.AuthenticationOk{}); err != nil {
		t.Error(err)
	}
}

func TestTheServerReadsTheProofOfRFC7677(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	keys := derive([]byte("pencil"), salt, 4096)
	first, err := parseClientFirst(rfcFirst, false, false)
	if err != nil {
		t.Fatal(err)
	}
	last, err := parseClientFinal(rfcFinal, []byte(first.gs2), false)
	if err != nil {
		t.Fatal(err)
	}
	text := authMessage(first.bare, rfcServerFirst, last.bare)
	if !equal(xorKeys(last.proof, keys.stored[:], text), keys.client[:]) {
		t.Error("the ClientKey is not what the proof was made of")
	}
	if got := "v=" + base64Text(mac(keys.server[:], text)); got != rfcServerFinal {
		t.Errorf("signature %s, want %s", got, rfcServerFinal)
	}
}

func TestBothRolesUnderstandEachOther(t *testing.T) {
	secrets := map[string]config.Secret{"clear": clearSecret(testPassword), "stored": storedSecret(testPassword)}
	for name, secret := range secrets {
		for _, tls := range []bool{false, true} {
			for _, cached := range []bool{false, true} {
				var b Binding
				if tls {
					b = testBinding("certificate")
				}
				keys := NewKeys(testRounds, cached)
				ask, p := SCRAM(keys, "ann", secret, b)
				a := NewAnswerer(keys, "ann", Credential{Password: testPassword}, b)
				proven, err1, err2 := converse(t, a, ask, p)
				if !proven || err1 != nil || err2 != nil {
					t.Fatalf("%s, tls %v: proven %v, server %v, client %v", name, tls, proven, err1, err2)
				}
				if p.(*scramProof).plus != tls {
					t.Errorf("%s: channel binding used: %v, want %v", name, !tls, tls)
				}
			}
		}
	}
}

func TestWhatALoginTeachesLogsInToTheServer(t *testing.T) {
	keys := NewKeys(testRounds, true)
	secret := storedSecret(testPassword)
	ask, p := SCRAM(keys, "ann", secret, Binding{})
	if _, ok := p.Learned(); ok {
		t.Error("something is learned before the proof")
	}
	if proven, err1, err2 := converse(t, NewAnswerer(keys, "ann", Credential{Password: testPassword}, Binding{}), ask, p); !proven {
		t.Fatal(err1, err2)
	}
	learned, ok := p.Learned()
	if !ok || learned.Password != "" || !learned.hasKeys() {
		t.Fatalf("learned %v", learned)
	}
	for _, b := range []Binding{{}, testBinding("server")} {
		ask, p = SCRAM(keys, "ann", secret, b) // PostgreSQL, with the same secret
		if proven, err1, err2 := converse(t, NewAnswerer(keys, "ann", learned, b), ask, p); !proven || err2 != nil {
			t.Errorf("pass-through: %v, %v", err1, err2)
		}
	}
	other := scramSecret(testPassword, []byte("another salt...."), "4096", testRounds)
	ask, p = SCRAM(keys, "ann", other, Binding{})
	if proven, err, _ := converse(t, NewAnswerer(keys, "ann", learned, Binding{}), ask, p); proven || !errors.Is(err, ErrWrong) {
		t.Errorf("keys of another salt: proven %v, %v", proven, err)
	}
}

func TestAWrongProofLooksTheSameForEverybody(t *testing.T) {
	keys := NewKeys(testRounds, true)
	var salts []string
	for name, secret := range map[string]config.Secret{
		"clear": clearSecret("x"), "stored": storedSecret("x"), "md5": md5Of("ann", testPassword), "nobody": {},
	} {
		ask, p := SCRAM(keys, "ann", secret, Binding{})
		a := NewAnswerer(keys, "ann", Credential{Password: testPassword}, Binding{})
		proven, err, _ := converse(t, a, ask, p)
		if proven || err == nil || err.Error() != ErrWrong.Error() {
			t.Errorf("%s: proven %v, %v", name, proven, err)
		}
		if c, ok := p.Learned(); ok {
			t.Errorf("%s: a wrong proof teaches %v", name, c)
		}
		first := p.(*scramProof).serverFirst
		fields := strings.Split(first, ",")
		if len(fields) != 3 || len(fields[1]) != len("s=")+24 || fields[2] != "i=4096" {
			t.Errorf("%s: challenge %s", name, first)
		}
		if name == "md5" || name == "nobody" || name == "clear" {
			salts = append(salts, fields[1])
		}
	}
	if salts[0] != salts[1] || salts[1] != salts[2] {
		t.Errorf("a user's made-up salt changes: %v", salts)
	}
}

// Neither key of a made-up verifier may be guessed, whatever the client does.
func TestNoProofFitsAMadeUpSecret(t *testing.T) {
	keys := NewKeys(testRounds, true)
	v, usable := keys.verifier("nobody", config.Secret{})
	if usable {
		t.Error("a made-up secret is usable")
	}
	if u, _ := keys.verifier("somebody", config.Secret{}); equal(u.Salt, v.Salt) {
		t.Error("two users have the same salt")
	}
}

func TestALibraryProvesItselfToOurServer(t *testing.T) {
	b := testBinding("certificate")
	for _, tls := range []bool{false, true} {
		client, err := scram.SHA256.NewClient("", testPassword, "")
		if err != nil {
			t.Fatal(err)
		}
		talk, binding, mechanism := client.NewConversation(), Binding{}, scramSHA256
		if tls {
			talk = client.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: b.EndPoint})
			binding, mechanism = b, scramSHA256Plus
		}
		_, p := SCRAM(NewKeys(testRounds, true), "ann", storedSecret(testPassword), binding)
		first, err := talk.Step("")
		if err != nil {
			t.Fatal(err)
		}
		reply, _, err := p.Next(t.Context(), bodyOf(t, &pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(first)}))
		if err != nil {
			t.Fatal(err)
		}
		last, err := talk.Step(string(received(t, reply).(*pgproto3.AuthenticationSASLContinue).Data))
		if err != nil {
			t.Fatal(err)
		}
		reply, proven, err := p.Next(t.Context(), []byte(last))
		if !proven || err != nil {
			t.Fatalf("tls %v: %v", tls, err)
		}
		if _, err := talk.Step(string(received(t, reply).(*pgproto3.AuthenticationSASLFinal).Data)); err != nil || !talk.Valid() {
			t.Errorf("tls %v: the library does not believe us: %v", tls, err)
		}
	}
}

func TestADowngradeIsNoticed(t *testing.T) {
	b := testBinding("certificate")
	keys := NewKeys(testRounds, true)
	a := NewAnswerer(keys, "ann", Credential{Password: testPassword}, b)
	// Somebody on the way shows the client one mechanism only.
	msg, err := a.Answer(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramSHA256}})
	if err != nil {
		t.Fatal(err)
	}
	first := msg.(*pgproto3.SASLInitialResponse)
	if first.AuthMechanism != scramSHA256 || !strings.HasPrefix(string(first.Data), "y,,") {
		t.Fatalf("the client says %s %q", first.AuthMechanism, first.Data)
	}
	_, p := SCRAM(keys, "ann", storedSecret(testPassword), b)
	var violated *ProtocolError
	if _, _, err = p.Next(t.Context(), bodyOf(t, first)); !errors.As(err, &violated) || violated.Code != codeInvalidAuth ||
		violated.Message != "SCRAM channel binding negotiation error" {
		t.Errorf("got %v", err)
	}
	_, p = SCRAM(keys, "ann", storedSecret(testPassword), Binding{}) // a server that really has none
	if _, _, err = p.Next(t.Context(), bodyOf(t, first)); err != nil {
		t.Error(err)
	}
}

func TestSomebodyBetweenWithAnotherCertificateIsRefused(t *testing.T) {
	keys := NewKeys(testRounds, true)
	ask, p := SCRAM(keys, "ann", storedSecret(testPassword), testBinding("ours"))
	a := NewAnswerer(keys, "ann", Credential{Password: testPassword}, testBinding("his"))
	proven, err, _ := converse(t, a, ask, p)
	if proven || err == nil || err.Error() != "SCRAM channel binding check failed" {
		t.Errorf("proven %v, %v", proven, err)
	}
}

func TestAnAnswerIsAwaitedWhenTheClientSendsNoneAtFirst(t *testing.T) {
	keys := NewKeys(testRounds, true)
	_, p := SCRAM(keys, "ann", clearSecret(testPassword), Binding{})
	if p.Cost() != Cheap {
		t.Errorf("first step costs %v", p.Cost())
	}
	reply, proven, err := p.Next(t.Context(), []byte("SCRAM-SHA-256\x00\xff\xff\xff\xff"))
	if err != nil || proven || len(received(t, reply).(*pgproto3.AuthenticationSASLContinue).Data) != 0 {
		t.Fatalf("reply %q, %v", reply, err)
	}
	if reply, _, err = p.Next(t.Context(), []byte("n,,n=,r=abc")); err != nil {
		t.Fatal(err)
	}
	if data := received(t, reply).(*pgproto3.AuthenticationSASLContinue).Data; !strings.HasPrefix(string(data), "r=abc") {
		t.Errorf("challenge %q", data)
	}
	if p.Cost() != Sums {
		t.Errorf("last step costs %v", p.Cost())
	}
}

// Neither before nor after a user's first login, with a cache or without, does it show in the time that a wrong proof takes
// whether there is such a user, and what kind of secret it has.
func TestAWrongProofCostsTheSameForEverybody(t *testing.T) {
	secrets := map[string]config.Secret{
		"clear": clearSecret("x"), "stored": storedSecret("x"), "md5": md5Of("ann", testPassword), "nobody": {},
	}
	for _, cached := range []bool{false, true} {
		keys := NewKeys(testRounds, cached)
		keys.ExpectClearText()
		for range 2 { // before the first login, and after it
			for name, secret := range secrets {
				if first, sums := costOfAWrongProof(t, keys, secret); first != Cheap || sums != 1 {
					t.Errorf("cached %v, %s: %v first, sums are done %d times in all", cached, name, first, sums)
				}
			}
			ask, p := SCRAM(keys, "ann", secrets["clear"], Binding{})
			if proven, err, _ := converse(t, NewAnswerer(keys, "ann", Credential{Password: "x"}, Binding{}), ask, p); !proven {
				t.Fatal(err)
			}
			if cached && p.Cost() != Cheap {
				t.Error("what has been derived once is derived again")
			}
		}
	}
	keys := NewKeys(testRounds, true) // nobody has a password in clear text: there is nothing to level
	for _, name := range []string{"stored", "md5", "nobody"} {
		if first, sums := costOfAWrongProof(t, keys, secrets[name]); first != Cheap || sums != 0 {
			t.Errorf("%s: %v first, sums are done %d times in all", name, first, sums)
		}
	}
}

// costOfAWrongProof is what the first step of a login with a wrong password costs, and how often sums are done until it is
// refused.
func costOfAWrongProof(t *testing.T, keys *Keys, secret config.Secret) (first Cost, sums int) {
	t.Helper()
	ask, p := SCRAM(keys, "ann", secret, Binding{})
	first = p.Cost()
	client := NewAnswerer(NewKeys(testRounds, false), "ann", Credential{Password: "wrong"}, Binding{})
	for {
		answer, err := client.Answer(received(t, ask))
		if err != nil {
			t.Fatal(err)
		}
		if p.Cost() == Sums {
			sums++
		}
		if ask, _, err = p.Next(t.Context(), bodyOf(t, answer)); err == nil {
			continue
		}
		if !errors.Is(err, ErrWrong) {
			t.Fatal(err)
		}
		if rest := p.(Leveller).Level(); rest != nil {
			rest()
			sums++
		}
		return first, sums
	}
}
