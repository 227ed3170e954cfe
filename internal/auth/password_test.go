package auth

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pooler/config"
)

func TestPasswordsAndHashesAreChecked(t *testing.T) {
	keys := NewKeys(testRounds, true)
	kinds := map[string]config.Secret{
		"clear": clearSecret(testPassword), "md5": md5Of("ann", testPassword), "scram": storedSecret(testPassword), "nobody": {},
	}
	for name, secret := range kinds {
		for _, password := range []string{testPassword, "wrong"} {
			right := password == testPassword
			ask, p := Password(keys, "ann", secret)
			a := NewAnswerer(keys, "ann", Credential{Password: password}, Binding{})
			proven, err, _ := converse(t, a, ask, p)
			checkJudged(t, "password, "+name, right && name != "nobody", proven, err)
			if c, ok := p.Learned(); ok != proven || proven && c.Password != password {
				t.Errorf("%s: learned %v", name, c)
			}

			ask, p = MD5("ann", secret)
			a = NewAnswerer(keys, "ann", Credential{MD5: md5Secret("ann", password)}, Binding{})
			proven, err, _ = converse(t, a, ask, p)
			checkJudged(t, "md5, "+name, right && (name == "clear" || name == "md5"), proven, err)
		}
	}
}

func checkJudged(t *testing.T, what string, right, proven bool, err error) {
	t.Helper()
	if proven != right || (err == nil) != right || err != nil && err.Error() != ErrWrong.Error() {
		t.Errorf("%s: proven %v, %v", what, proven, err)
	}
}

func TestMD5TeachesWhatItKnows(t *testing.T) {
	for _, secret := range []config.Secret{clearSecret(testPassword), md5Of("ann", testPassword)} {
		ask, p := MD5("ann", secret)
		a := NewAnswerer(nil, "ann", Credential{Password: testPassword}, Binding{})
		if proven, err, _ := converse(t, a, ask, p); !proven {
			t.Fatal(err)
		}
		c, ok := p.Learned()
		if !ok || c.IsZero() {
			t.Fatal("nothing is learned")
		}
		ask, p = MD5("ann", md5Of("ann", testPassword))
		if proven, err, _ := converse(t, NewAnswerer(nil, "ann", c, Binding{}), ask, p); !proven {
			t.Errorf("%v does not do: %v", c, err)
		}
	}
}

func TestMalformedPasswordsAreRefusedAsPostgreSQLDoes(t *testing.T) {
	for _, begin := range []func() ([]byte, Proof){
		func() ([]byte, Proof) { return Password(NewKeys(1, true), "ann", clearSecret("")) },
		func() ([]byte, Proof) { return MD5("ann", clearSecret("")) },
		func() ([]byte, Proof) { return LDAP(&Directory{}, "ann") },
	} {
		for body, want := range map[string]ProtocolError{
			"":          {Code: "08P01", Message: "invalid password packet size"},
			"abc":       {Code: "08P01", Message: "invalid password packet size"},
			"a\x00b":    {Code: "08P01", Message: "invalid password packet size"},
			"a\x00\x00": {Code: "08P01", Message: "invalid password packet size"},
			"\x00":      {Code: "28P01", Message: "empty password returned by client"},
		} {
			_, p := begin()
			var got *ProtocolError
			if _, proven, err := p.Next(t.Context(), []byte(body)); proven || !errors.As(err, &got) || *got != want {
				t.Errorf("%q: proven %v, %v", body, proven, err)
			}
		}
	}
}

func TestThePasswordIsWiped(t *testing.T) {
	answer := append([]byte(testPassword), 0)
	_, p := Password(NewKeys(1, true), "ann", clearSecret(testPassword))
	if _, proven, err := p.Next(t.Context(), answer); !proven {
		t.Fatal(err)
	}
	for _, b := range answer {
		if b != 0 {
			t.Fatalf("left over: %q", answer)
		}
	}
}

func TestEachSaltIsAnother(t *testing.T) {
	seen := map[[4]byte]bool{}
	for range 10 {
		ask, _ := MD5("ann", config.Secret{})
		seen[received(t, ask).(*pgproto3.AuthenticationMD5Password).Salt] = true
	}
	if len(seen) < 9 {
		t.Errorf("%d salts of 10", len(seen))
	}
}
