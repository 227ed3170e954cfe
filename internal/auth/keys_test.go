package auth

import (
	"fmt"
	"sync"
	"testing"

	"pooler/config"
)

func TestKeysAreDerivedOnce(t *testing.T) {
	k := NewKeys(testRounds, true)
	salt := []byte("salt")
	if k.Known([]byte("a"), salt, 10) {
		t.Error("known before they were derived")
	}
	var wg sync.WaitGroup
	results := make([]scramKeys, 20)
	for i := range results {
		wg.Go(func() { results[i] = k.derived([]byte("a"), salt, 10) })
	}
	wg.Wait()
	want := derive([]byte("a"), salt, 10)
	for _, got := range results {
		if got != want {
			t.Fatal("wrong keys")
		}
	}
	if n := k.cache.len(); n != 1 {
		t.Errorf("%d entries", n)
	}
	if !k.Known([]byte("a"), salt, 10) {
		t.Error("not known after they were derived")
	}
	for name, known := range map[string]bool{
		"password":   k.Known([]byte("b"), salt, 10),
		"salt":       k.Known([]byte("a"), []byte("tlas"), 10),
		"iterations": k.Known([]byte("a"), salt, 11),
	} {
		if known {
			t.Errorf("another %s gives the same keys", name)
		}
	}
}

func TestKeysAreBounded(t *testing.T) {
	k := NewKeys(1, true)
	if k.cache.half*2 != maxKeys {
		t.Errorf("bounded by %d", k.cache.half*2)
	}
	const limit = 100
	*k.cache = newGenerations[keyID, *derivation](limit)
	for i := range limit * 3 {
		k.derived(fmt.Append(nil, i), []byte("salt"), 1)
	}
	if n := k.cache.len(); n > limit {
		t.Errorf("%d entries, at most %d wanted", n, limit)
	}
	if !k.Known(fmt.Append(nil, limit*3-1), []byte("salt"), 1) {
		t.Error("the latest is not known")
	}
}

func TestKeysWithoutACacheRememberNothing(t *testing.T) {
	k := NewKeys(testRounds, false)
	if k.derived([]byte("a"), []byte("salt"), 10) != derive([]byte("a"), []byte("salt"), 10) {
		t.Error("wrong keys")
	}
	if !k.Verify("ann", storedSecret(testPassword), []byte(testPassword)) {
		t.Error("the password is refused")
	}
	if k.Known([]byte("a"), []byte("salt"), 10) || k.Known([]byte(testPassword), []byte("0123456789abcdef"), testRounds) {
		t.Error("something is known")
	}
}

func TestAReloadKeepsMadeUpSalts(t *testing.T) {
	k := NewKeys(testRounds, true)
	before, _ := k.verifier("nobody", config.Secret{})
	k.derived([]byte("a"), []byte("salt"), 10)
	k.Configure(5000, true)
	if !k.Known([]byte("a"), []byte("salt"), 10) {
		t.Error("what was derived is forgotten")
	}
	k.Configure(5000, false)
	after, _ := k.verifier("nobody", config.Secret{})
	if !equal(before.Salt, after.Salt) || after.Iterations != 5000 {
		t.Errorf("%d iterations, salt %x, before %x", after.Iterations, after.Salt, before.Salt)
	}
	if k.Known([]byte("a"), []byte("salt"), 10) {
		t.Error("something is known without a cache")
	}
}

func TestVerifyTakesAnyFormOfASecret(t *testing.T) {
	for _, cached := range []bool{false, true} {
		k := NewKeys(testRounds, cached)
		for name, secret := range map[string]config.Secret{
			"clear": clearSecret(testPassword), "md5": md5Of("ann", testPassword), "scram": storedSecret(testPassword),
		} {
			for range 2 {
				if !k.Verify("ann", secret, []byte(testPassword)) {
					t.Errorf("%s: the right password is refused", name)
				}
				if k.Verify("ann", secret, []byte("wrong")) || k.Verify("ann", secret, nil) {
					t.Errorf("%s: a wrong password is taken", name)
				}
			}
		}
		if k.Verify("ann", config.Secret{}, nil) || k.Verify("ann", config.Secret{}, k.secret[:]) {
			t.Error("nobody has a password")
		}
	}
}

func TestWrongPasswordsDoNotFillTheCache(t *testing.T) {
	k := NewKeys(testRounds, true)
	k.Verify("ann", storedSecret(testPassword), []byte("wrong"))
	k.Verify("nobody", config.Secret{}, []byte("wrong"))
	if n := k.cache.len(); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// Any user of PostgreSQL may give himself a secret with two thousand million iterations.
func TestASecretWithTooManyIterationsFits(t *testing.T) {
	k := NewKeys(10, true)
	if k.Verify("ann", scramSecret(testPassword, []byte("salt"), "2000000000", 10), []byte(testPassword)) {
		t.Error("a secret beyond the bound was computed")
	}
}

func TestGenerationsForgetTheOldest(t *testing.T) {
	g := newGenerations[int, string](4)
	for i := range 4 {
		g.put(i, "x")
	}
	g.get(0) // used again
	g.put(4, "x")
	g.put(5, "x")
	if _, ok := g.get(0); !ok {
		t.Error("what was used is forgotten")
	}
	if _, ok := g.get(1); ok {
		t.Error("what was not used is kept")
	}
	g.drop(0)
	if _, ok := g.get(0); ok {
		t.Error("what was dropped is kept")
	}
	if g.len() > 4 {
		t.Errorf("%d entries", g.len())
	}
}

func TestKeyring(t *testing.T) {
	a, b := Credential{Password: "a"}, Credential{MD5: "b"}
	account := Account{Database: "db", User: "ann", Host: "here"}
	var nobody Credential
	learn := func(c Credential, want bool) func(*Keyring) bool {
		return func(r *Keyring) bool { return r.Learn(account, c) == want }
	}
	works := func(c Credential) func(*Keyring) bool {
		return func(r *Keyring) bool { r.Accepted(account, c); return true }
	}
	refused := func(c Credential, wrong, more bool) func(*Keyring) bool {
		return func(r *Keyring) bool { return r.Refused(account, c, wrong) == more }
	}
	for _, tc := range []struct {
		name  string
		steps []func(*Keyring) bool
		want  Credential
	}{
		{"nothing", nil, nobody},
		{"nothing is learned", []func(*Keyring) bool{learn(nobody, false)}, nobody},
		{"the latest", []func(*Keyring) bool{learn(a, true), learn(b, true), learn(b, false)}, b},
		{"what works stays", []func(*Keyring) bool{learn(a, true), works(a), learn(b, false)}, a},
		{"what works until it is refused", []func(*Keyring) bool{learn(a, true), works(a), learn(b, false), refused(a, true, true)}, b},
		{"what works until PostgreSQL lets nobody in", []func(*Keyring) bool{learn(a, true), works(a), refused(a, false, false), learn(b, true)}, b},
		{"another one works", []func(*Keyring) bool{learn(a, true), works(b), learn(b, true)}, b},
		{"refused", []func(*Keyring) bool{learn(a, true), refused(a, true, false)}, nobody},
		{"refused when it is no more what is known", []func(*Keyring) bool{learn(a, true), learn(b, true), refused(a, true, true)}, b},
		{"refused again", []func(*Keyring) bool{learn(a, true), refused(a, true, false), refused(a, true, false)}, nobody},
		{"not known to be wrong", []func(*Keyring) bool{learn(a, true), refused(a, false, false)}, a},
		{"its pool has gone", []func(*Keyring) bool{learn(a, true), func(r *Keyring) bool { r.Forget(account); return r.Len() == 0 }}, nobody},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := NewKeyring()
			for n, step := range tc.steps {
				if !step(r) {
					t.Errorf("step %d says something else", n)
				}
			}
			if c, ok := r.Find(account); !c.Equal(tc.want) || ok == tc.want.IsZero() {
				t.Errorf("known is %v, %v", c, ok)
			}
		})
	}
	if _, ok := (*Keyring)(nil).Find(account); ok {
		t.Error("no keyring knows something")
	}
}

// Whatever says where a login goes makes it another account.
func TestAccountsOfOtherServers(t *testing.T) {
	at := config.Pool{Database: "db", User: "ann", Host: "here", Port: 5432, DBName: "db", ServerUser: "ann", TLS: config.ServerTLS{Mode: config.TLSVerifyFull}}
	r := NewKeyring()
	r.Learn(AccountOf(at), Credential{Password: "a"})
	for name, move := range map[string]func(*config.Pool){
		"host": func(p *config.Pool) { p.Host = "there" }, "port": func(p *config.Pool) { p.Port++ }, "name": func(p *config.Pool) { p.DBName = "x" },
		"user": func(p *config.Pool) { p.ServerUser = "x" }, "TLS": func(p *config.Pool) { p.TLS.Mode = config.TLSDisable },
	} {
		moved := at
		move(&moved)
		if c, ok := r.Find(AccountOf(moved)); ok {
			t.Errorf("another %s: %v", name, c)
		}
	}
	if _, ok := r.Find(AccountOf(at)); !ok {
		t.Error("the same is not known")
	}
}
