package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	wellKnown      = "/.well-known/"
	openIDDocument = "openid-configuration" // OpenID Connect Discovery 1.0, section 4
)

// maxToken bounds the size of a token, in bytes, before any of it is decoded. Usual ones have one or two thousand.
const maxToken = 16 << 10

// Validator checks the tokens of one issuer, as the options of an HBA line describe it. Any goroutine may use it.
type Validator struct {
	issuers  *Issuers
	issuer   string
	scopes   []string // each of which a token must carry
	audience string   // "": any
	claim    string   // whom the token names
}

// NewValidator makes a Validator of the options of an HBA line: issuer (an https URL, or http to a loopback address) and
// scope are PostgreSQL's and must be there. audience is whom the token must have been made out for: without it any token
// of that issuer with those scopes will do, one for another program too. claim is what names the user to the ident map,
// "sub" by default. It asks nobody yet.
func NewValidator(issuers *Issuers, options map[string]string) (*Validator, error) {
	v := &Validator{
		issuers: issuers, issuer: options["issuer"], scopes: strings.Fields(options["scope"]),
		audience: options["audience"], claim: options["claim"],
	}
	if v.claim == "" {
		v.claim = "sub"
	}
	u, err := url.Parse(v.issuer)
	_, document, _ := strings.Cut(v.issuer, wellKnown)
	switch {
	case v.issuer == "" || len(v.scopes) == 0:
		return nil, errors.New("issuer and scope must be set")
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, errors.New("issuer must be the URL of an OpenID provider")
	case document != "" && document != openIDDocument:
		return nil, errors.New("issuer must be the name of an OpenID provider, or the URL of its " + openIDDocument)
	case !trustworthy(u):
		return nil, errors.New("issuer must be an https URL, or http to a loopback address")
	}
	return v, nil
}

// algorithms are the asymmetric ones. "none" and those with a shared secret, which a client could have, are not there.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// Check returns whom a token names. The error Is ErrWrong when the token is of no use, and any other when the issuer
// could not be asked for its keys.
func (v *Validator) Check(ctx context.Context, token string) (user string, err error) {
	if len(token) > maxToken {
		return "", wrong("the token is too long")
	}
	keys, err := v.issuers.keysOf(ctx, v.issuerURL())
	if err != nil {
		return "", err
	}
	asked := &askedKeys{KeySet: keys}
	verifier := oidc.NewVerifier(v.issuerURL(), asked, &oidc.Config{
		ClientID: v.audience, SkipClientIDCheck: v.audience == "", SupportedSigningAlgs: algorithms,
		Now: time.Now,
	})
	verified, err := verifier.Verify(ctx, token)
	switch {
	case asked.unreachable(): // the library's own error does not say so
		return "", asked.err
	case err != nil:
		return "", wrong("%s", err)
	}
	return v.accept(verified)
}

// issuerURL is the issuer's name: PostgreSQL lets the option be the URL of the discovery document as well.
func (v *Validator) issuerURL() string {
	name, _, _ := strings.Cut(v.issuer, wellKnown)
	return name
}

// accept looks at what a genuine token says.
func (v *Validator) accept(token *oidc.IDToken) (user string, err error) {
	var claims map[string]json.RawMessage
	if err := token.Claims(&claims); err != nil {
		return "", wrong("the token's claims are malformed")
	}
	granted := append(scopesIn(claims["scope"]), scopesIn(claims["scp"])...)
	for _, scope := range v.scopes {
		if !slices.Contains(granted, scope) {
			return "", wrong("the token lacks the scope %q", scope)
		}
	}
	if json.Unmarshal(claims[v.claim], &user) != nil || user == "" || strings.ContainsRune(user, 0) {
		return "", wrong("the token's claim %q names nobody", v.claim)
	}
	return user, nil
}

// scopesIn reads a claim that is a text with spaces (RFC 8693, section 4.2) or a list.
func scopesIn(claim json.RawMessage) []string {
	var text string
	if json.Unmarshal(claim, &text) == nil {
		return strings.Fields(text)
	}
	var list []string
	if json.Unmarshal(claim, &list) == nil {
		return list
	}
	return nil
}

// askedKeys notes how it went to ask for the issuer's keys.
type askedKeys struct {
	oidc.KeySet
	err error
}

// VerifySignature implements oidc.KeySet.
func (k *askedKeys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.KeySet.VerifySignature(ctx, jwt)
	if err != nil {
		k.err = fmt.Errorf("OAuth issuer: %w", err)
	}
	return payload, err
}

func (k *askedKeys) unreachable() bool {
	var u *unreachableError
	return errors.As(k.err, &u) || errors.Is(k.err, context.Canceled) || errors.Is(k.err, context.DeadlineExceeded)
}
