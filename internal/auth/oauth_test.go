package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

func TestTokensAreValidated(t *testing.T) {
	i := startIssuer(t, true)
	s, _ := i.issuers(t)
	plain, audience := validator(t, s, i.URL), validator(t, s, i.URL, "audience", "pooler")
	with := func(more ...any) map[string]any {
		c := i.claims()
		for k := 0; k < len(more); k += 2 {
			if c[more[k].(string)] = more[k+1]; more[k+1] == nil {
				delete(c, more[k].(string))
			}
		}
		return c
	}
	rs := func(claims map[string]any) string { return i.token(t, "RS256", "r", claims) }
	good := rs(with())
	parts := strings.Split(good, ".")
	forged, err := json.Marshal(with("sub", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		v     *Validator
		token string
		user  string // "": wrong
	}{
		"RSA":                     {plain, good, "ann@x"},
		"ECDSA":                   {plain, i.token(t, "ES256", "e", with()), "ann@x"},
		"audience":                {audience, good, "ann@x"},
		"another claim":           {validator(t, s, i.URL, "claim", "email"), rs(with("email", "a@b")), "a@b"},
		"scp as a list":           {plain, rs(with("scope", nil, "scp", []string{"a", "db"})), "ann@x"},
		"scope as a list":         {plain, rs(with("scope", []string{"db"})), "ann@x"},
		"two scopes":              {validator(t, s, i.URL, "scope", "db openid"), good, "ann@x"},
		"the document's URL":      {validator(t, s, i.URL+"/.well-known/openid-configuration"), good, "ann@x"},
		"one scope of two":        {validator(t, s, i.URL, "scope", "db write"), good, ""},
		"no scope":                {plain, rs(with("scope", nil)), ""},
		"a scope in another":      {plain, rs(with("scope", "db2 xdb")), ""},
		"another audience":        {audience, rs(with("aud", "other")), ""},
		"no audience":             {audience, rs(with("aud", nil)), ""},
		"another issuer":          {plain, rs(with("iss", "https://elsewhere")), ""},
		"expired":                 {plain, rs(with("exp", time.Now().Add(-time.Minute).Unix())), ""},
		"never expires":           {plain, rs(with("exp", nil)), ""},
		"not yet":                 {plain, rs(with("nbf", time.Now().Add(time.Hour).Unix())), ""},
		"nobody":                  {plain, rs(with("sub", nil)), ""},
		"a number":                {plain, rs(with("sub", 1)), ""},
		"an empty name":           {plain, rs(with("sub", "")), ""},
		"a claim that is missing": {validator(t, s, i.URL, "claim", "email"), good, ""},
		"no signature":            {plain, i.token(t, "none", "r", with()), ""},
		"a shared secret":         {plain, i.token(t, "HS256", "r", with()), ""},
		"a key of another kind":   {plain, i.token(t, "RS256", "e", with()), ""},
		"an unknown key":          {plain, i.token(t, "RS256", "x", with()), ""},
		"other claims":            {plain, parts[0] + "." + b64url(forged) + "." + parts[2], ""},
		"cut short":               {plain, good[:len(good)-8], ""},
		"rubbish":                 {plain, "abc", ""},
		"far too long":            {plain, strings.Repeat("a", maxToken+1), ""},
	} {
		user, err := c.v.Check(t.Context(), c.token)
		if user != c.user || (err == nil) != (c.user != "") || err != nil && !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %q, %v", name, user, err)
		}
		if err != nil && len(c.token) > 10 && strings.Contains(err.Error(), c.token[:10]) {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
	if n := i.discoveries.Load(); n != 1 {
		t.Errorf("%d discoveries", n)
	}
}

func TestForgedTokensDoNotMakeUsAskTheIssuer(t *testing.T) {
	i := startIssuer(t, false)
	i.ec.Store(false)
	s, pass := i.issuers(t)
	v := validator(t, s, i.URL)
	fresh := i.token(t, "ES256", "e", i.claims())
	for k := range 20 {
		if _, err := v.Check(t.Context(), i.token(t, "RS256", fmt.Sprint("unknown", k), i.claims())); !errors.Is(err, ErrWrong) {
			t.Fatal(err)
		}
	}
	i.ec.Store(true) // the issuer takes another key
	if _, err := v.Check(t.Context(), fresh); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
	pass(issuerRest)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := v.Check(ctx, fresh)
	for err != nil && ctx.Err() == nil { // the library may still give out what came of its last question
		runtime.Gosched()
		_, err = v.Check(ctx, fresh)
	}
	if err != nil {
		t.Errorf("a new key is not found: %v", err)
	}
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

func TestAnIssuerThatIsDownIsAskedOnce(t *testing.T) {
	i := startIssuer(t, false)
	s, pass := i.issuers(t)
	v := validator(t, s, i.URL)
	good := i.token(t, "RS256", "r", i.claims())
	i.down.Store(true)
	check := func(want int64) {
		t.Helper()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := v.Check(t.Context(), good); err == nil || errors.Is(err, ErrWrong) {
					t.Errorf("the issuer is down: %v", err)
				}
			})
		}
		wg.Wait()
		if n := i.discoveries.Load(); n != want {
			t.Errorf("%d discoveries, want %d", n, want)
		}
	}
	check(1)
	pass(issuerRest)
	check(2)
	i.down.Store(false)
	check(2)
	pass(issuerRest)
	if _, err := v.Check(t.Context(), good); err != nil {
		t.Errorf("it is back: %v", err)
	}
	i.down.Store(true)
	pass(2 * issuerRefresh)
	if _, err := v.Check(t.Context(), good); err != nil {
		t.Errorf("its keys are known and do not do: %v", err)
	}
	if _, err := v.Check(t.Context(), i.token(t, "RS256", "x", i.claims())); err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("a key that cannot be looked up: %v", err)
	}
}

func TestAWaitingClientMayGo(t *testing.T) {
	i := startIssuer(t, false)
	s, _ := i.issuers(t)
	asked := s.find(i.URL)
	<-asked.turn // somebody asks the issuer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := validator(t, s, i.URL).Check(ctx, "abc"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrWrong) {
		t.Errorf("got %v", err)
	}
	asked.turn <- struct{}{}
}

func TestAnIssuersRubbishIsRefused(t *testing.T) {
	for name, change := range map[string]func(i *testIssuer, d map[string]any){
		"another name":            func(_ *testIssuer, d map[string]any) { d["issuer"] = "https://elsewhere" },
		"no keys":                 func(_ *testIssuer, d map[string]any) { delete(d, "jwks_uri") },
		"keys that are no text":   func(_ *testIssuer, d map[string]any) { d["jwks_uri"] = 1 },
		"keys in the clear":       func(_ *testIssuer, d map[string]any) { d["jwks_uri"] = "http://192.0.2.1/keys" },
		"keys in a file":          func(_ *testIssuer, d map[string]any) { d["jwks_uri"] = "file:///etc/passwd" },
		"a document without end":  func(_ *testIssuer, d map[string]any) { d["x"] = strings.Repeat("x", maxIssuerAnswer) },
		"keys that are not there": func(i *testIssuer, d map[string]any) { d["jwks_uri"] = i.URL + "/nothing" },
	} {
		i := startIssuer(t, false)
		s, _ := i.issuers(t)
		right := i.document
		i.document = func() map[string]any {
			d := maps.Clone(right())
			change(i, d)
			return d
		}
		if user, err := validator(t, s, i.URL).Check(t.Context(), i.token(t, "RS256", "r", i.claims())); user != "" || err == nil || errors.Is(err, ErrWrong) {
			t.Errorf("%s: %q, %v", name, user, err)
		}
	}
}

func TestIssuersAreBounded(t *testing.T) {
	s := NewIssuers()
	for n := range 3 * maxIssuers {
		s.find(fmt.Sprint("https://", n))
	}
	if n := s.known.len(); n > maxIssuers {
		t.Errorf("%d issuers", n)
	}
}

func TestOAuthOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]map[string]string{
		"nothing":               {},
		"no scope":              {"issuer": "https://a"},
		"no issuer":             {"scope": "db"},
		"no URL":                {"issuer": "a", "scope": "db"},
		"in the clear":          {"issuer": "http://example.com", "scope": "db"},
		"a misleading host":     {"issuer": "http://127.0.0.1.example.com", "scope": "db"},
		"a query":               {"issuer": "https://a?x", "scope": "db"},
		"a password":            {"issuer": "https://u:p@a", "scope": "db"},
		"another document":      {"issuer": "https://a/.well-known/oauth-authorization-server", "scope": "db"},
		"another protocol":      {"issuer": "ftp://a", "scope": "db"},
		"a broken escape":       {"issuer": "https://a/%x", "scope": "db"},
		"scopes of spaces only": {"issuer": "https://a", "scope": "  "},
	} {
		if _, err := NewValidator(NewIssuers(), o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, issuer := range []string{"https://a/b", "http://127.0.0.1:80", "http://[::1]/x", "http://localhost:1"} {
		if _, err := NewValidator(NewIssuers(), map[string]string{"issuer": issuer, "scope": "db"}); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}

// initialBearer is the SASLInitialResponse that carries message.
func initialBearer(t testing.TB, message string) []byte {
	t.Helper()
	return bodyOf(t, &pgproto3.SASLInitialResponse{AuthMechanism: oauthBearer, Data: []byte(message)})
}

func TestOAuthConversations(t *testing.T) {
	i := startIssuer(t, false)
	s, _ := i.issuers(t)
	v := validator(t, s, i.URL)
	token := i.token(t, "RS256", "r", i.claims())
	ann := func(user string) bool { return user == "ann@x" }

	ask, p := OAuth(v, ann)
	if got := received(t, ask).(*pgproto3.AuthenticationSASL).AuthMechanisms; len(got) != 1 || got[0] != "OAUTHBEARER" {
		t.Errorf("offers %v", got)
	}
	if p.Cost() != Waits {
		t.Errorf("it costs %v", p.Cost())
	}
	answer := initialBearer(t, "y,,\x01host=a\x01auth=bEARER   "+token+"\x01port=1\x01\x01")
	reply, proven, err := p.Next(t.Context(), answer)
	if !proven || len(reply) != 0 || err != nil {
		t.Fatalf("a good token: %v", err)
	}
	if strings.Contains(string(answer), token) {
		t.Error("the token is left in the buffer")
	}
	if c, ok := p.Learned(); ok {
		t.Errorf("learned %v", c)
	}

	_, p = OAuth(v, ann)
	reply, _, err = p.Next(t.Context(), []byte("OAUTHBEARER\x00\xff\xff\xff\xff"))
	if err != nil || len(received(t, reply).(*pgproto3.AuthenticationSASLContinue).Data) != 0 {
		t.Fatalf("no initial response: %q, %v", reply, err)
	}
	if _, proven, err = p.Next(t.Context(), []byte(bearer(token))); !proven {
		t.Errorf("after an empty challenge: %v", err)
	}

	for name, c := range map[string]struct {
		message string
		allows  func(string) bool
	}{
		"the client asks who the issuer is": {"n,,\x01auth=\x01\x01", ann},
		"a wrong token":                     {bearer(token[:len(token)-8]), ann},
		"another scheme":                    {"n,,\x01auth=Basic " + token + "\x01\x01", ann},
		"a token of other letters":          {bearer("a,b"), ann},
		"a token with = inside":             {bearer("a=b"), ann},
		"no token":                          {bearer(""), ann},
		"another user":                      {bearer(token), func(string) bool { return false }},
	} {
		_, p := OAuth(v, c.allows)
		reply, proven, err := p.Next(t.Context(), initialBearer(t, c.message))
		if err != nil || proven {
			t.Fatalf("%s: proven %v, %v", name, proven, err)
		}
		var told map[string]string
		if err := json.Unmarshal(received(t, reply).(*pgproto3.AuthenticationSASLContinue).Data, &told); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"status": "invalid_token", "openid-configuration": i.URL + "/.well-known/openid-configuration", "scope": "db"}
		if !maps.Equal(told, want) {
			t.Errorf("%s: told %v", name, told)
		}
		if p.Cost() != Cheap {
			t.Errorf("%s: the end costs %v", name, p.Cost())
		}
		if _, proven, err = p.Next(t.Context(), []byte(kvsep)); proven || !errors.Is(err, ErrWrong) {
			t.Errorf("%s: proven %v, %v", name, proven, err)
		}
	}

	i.down.Store(true)
	other, _ := i.issuers(t)
	_, p = OAuth(validator(t, other, i.URL), ann)
	if _, proven, err := p.Next(t.Context(), initialBearer(t, bearer(token))); proven || err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("the issuer is down: %v, %v", proven, err)
	}
}

func TestMalformedBearersAreRefusedInPostgreSQLsWords(t *testing.T) {
	v := validator(t, NewIssuers(), "https://127.0.0.1:1")
	for message, detail := range map[string]string{
		"":                              "The message is empty.",
		"n,,\x00\x01auth=\x01\x01":      "Message length does not match input length.",
		"p=tls,,\x01auth=\x01\x01":      "The server does not support channel binding for OAuth, but the client message includes channel binding data.",
		"x,,\x01auth=\x01\x01":          `Unexpected channel-binding flag "'x'".`,
		"n":                             `Comma expected, but found character "0x00".`,
		"n,":                            `Unexpected attribute "0x00" in client-first-message.`,
		"n,x":                           `Unexpected attribute "'x'" in client-first-message.`,
		"n,,":                           `Key-value separator expected, but found character "0x00".`,
		"n,,auth":                       `Key-value separator expected, but found character "'a'".`,
		"n,,\x01":                       "Message did not contain a final terminator.",
		"n,,\x01\x01":                   "Message does not contain an auth value.",
		"n,,\x01host=a\x01\x01":         "Message does not contain an auth value.",
		"n,,\x01auth=x":                 "Message contains an unterminated key/value pair.",
		"n,,\x01auth=x\x01":             "Message did not contain a final terminator.",
		"n,,\x01auth=x\x01\x01y":        "Message contains additional data after the final terminator.",
		"n,,\x01auth=\x01auth=\x01\x01": "Message contains multiple auth values.",
		"n,,\x01auth\x01\x01":           "Message contains a key without a value.",
		"n,,\x01=x\x01\x01":             "Message contains an empty key name.",
		"n,,\x01a1=x\x01\x01":           "Message contains an invalid key name.",
		"n,,\x01auth=\x02\x01\x01":      "Message contains an invalid value.",
		"n,,\x01auth=\xe4\x01\x01":      "Message contains an invalid value.",
	} {
		_, p := OAuth(v, nil)
		var got *ProtocolError
		_, proven, err := p.Next(t.Context(), initialBearer(t, message))
		if proven || !errors.As(err, &got) || got.Code != "08P01" || got.Message != "malformed OAUTHBEARER message" || got.Detail != detail {
			t.Errorf("%q: %v, want %s", message, err, detail)
		}
	}
	var got *ProtocolError
	_, p := OAuth(v, nil)
	if _, _, err := p.Next(t.Context(), initialBearer(t, "n,a=ann,\x01auth=\x01\x01")); !errors.As(err, &got) || got.Code != "0A000" {
		t.Errorf("another identity: %v", err)
	}
	_, p = OAuth(v, nil)
	if _, _, err := p.Next(t.Context(), []byte("SCRAM-SHA-256\x00\x00\x00\x00\x00")); !errors.As(err, &got) || got.Message != errMechanism().Error() {
		t.Errorf("another mechanism: %v", err)
	}
	_, p = OAuth(v, nil)
	if _, _, err := p.Next(t.Context(), initialBearer(t, "n,,\x01auth=\x01\x01")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Next(t.Context(), []byte("again")); !errors.As(err, &got) || got.Detail != "Client did not send a kvsep response." {
		t.Errorf("no end: %v", err)
	}
}

func TestAnIssuersRedirectsStayEncrypted(t *testing.T) {
	i := startIssuer(t, false)
	s, _ := i.issuers(t)
	for target, wantErr := range map[string]bool{"/keys": false, "http://192.0.2.1/keys": true, "/loop": true} {
		mux := http.NewServeMux()
		mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
		mux.HandleFunc("/keys", func(http.ResponseWriter, *http.Request) {})
		mux.Handle("/", http.RedirectHandler(target, http.StatusFound))
		i.Config.Handler = mux
		response, err := s.newClient().Get(i.URL)
		if (err != nil) != wantErr {
			t.Errorf("%s: %v", target, err)
		}
		if err == nil {
			_ = response.Body.Close()
		}
	}
}
