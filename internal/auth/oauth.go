package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	oauthBearer = "OAUTHBEARER"
	kvsep       = "\x01" // between the pairs of a message (RFC 7628, section 3.1)
)

// OAuth asks a client for a bearer token (OAUTHBEARER, RFC 7628), which v checks. allows tells whether whom the token
// names may be the user that the client wants to be (the ident map).
func OAuth(v *Validator, allows func(systemUser string) bool) (ask []byte, p Proof) {
	return encoded(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{oauthBearer}}), &oauthProof{validator: v, allows: allows}
}

type oauthProof struct {
	validator *Validator
	allows    func(string) bool
	chosen    bool  // the client has chosen its mechanism
	failed    error // why the token was refused; the client has been told and must say that it has understood
}

func (p *oauthProof) Cost() Cost {
	if p.failed != nil {
		return Cheap
	}
	return Waits
}

// Learned is nothing: PostgreSQL would not take the token from us, which was made out for one client.
func (p *oauthProof) Learned() (Credential, bool) { return Credential{}, false }

func (p *oauthProof) Next(ctx context.Context, answer []byte) (reply []byte, proven bool, err error) {
	defer clear(answer)
	if !p.chosen {
		mechanism, data, has, err := cutInitial(answer)
		switch {
		case err != nil:
			return nil, false, err
		case mechanism != oauthBearer:
			return nil, false, errMechanism()
		}
		p.chosen = true
		if !has {
			return encoded(&pgproto3.AuthenticationSASLContinue{}), false, nil
		}
		answer = data
	}
	if err := checkBearerText(answer); err != nil {
		return nil, false, err
	}
	if p.failed != nil {
		if string(answer) != kvsep {
			return nil, false, malformedBearer("Client did not send a kvsep response.")
		}
		return nil, false, p.failed
	}
	return p.judge(ctx, string(answer))
}

// judge checks the token. Of a wrong one the client is told where it gets a right one, before it is refused.
func (p *oauthProof) judge(ctx context.Context, message string) (reply []byte, proven bool, err error) {
	header, err := parseBearer(message)
	if err != nil {
		return nil, false, err
	}
	err = p.check(ctx, header)
	switch {
	case err == nil:
		return nil, true, nil
	case errors.Is(err, ErrWrong):
		p.failed = err
		return encoded(&pgproto3.AuthenticationSASLContinue{Data: p.validator.discovery()}), false, nil
	}
	return nil, false, err
}

func (p *oauthProof) check(ctx context.Context, header string) error {
	if header == "" { // PostgreSQL's clients ask so where they get a token
		return wrong("the client has asked for the issuer")
	}
	token, ok := cutToken(header)
	if !ok {
		return wrong("malformed OAuth bearer token")
	}
	user, err := p.validator.Check(ctx, token)
	if err != nil {
		return err
	}
	if !p.allows(user) {
		return wrong("the token is of %q, who may not be this user", user)
	}
	return nil
}

// discovery is what a client is told that has no token or a wrong one (RFC 7628, section 3.2.2).
func (v *Validator) discovery() []byte {
	url := v.issuer
	if !strings.Contains(url, wellKnown) {
		url += wellKnown + openIDDocument
	}
	out, err := json.Marshal(struct {
		Status string `json:"status"`
		Issuer string `json:"openid-configuration"`
		Scope  string `json:"scope"`
	}{"invalid_token", url, strings.Join(v.scopes, " ")})
	if err != nil {
		panic("bug: " + err.Error())
	}
	return out
}

func malformedBearer(detail string) *ProtocolError {
	return violation("malformed OAUTHBEARER message", detail)
}

func checkBearerText(message []byte) error {
	switch {
	case len(message) == 0:
		return malformedBearer("The message is empty.")
	case bytes.IndexByte(message, 0) >= 0:
		return malformedBearer("Message length does not match input length.")
	}
	return nil
}

// parseBearer finds the value of the key auth in the client's first message, with the rules and errors of PostgreSQL's
// auth-oauth.c. The message is not empty.
func parseBearer(message string) (auth string, err error) {
	switch message[0] {
	case 'p':
		return "", malformedBearer("The server does not support channel binding for OAuth, but the client message includes channel binding data.")
	case 'n', 'y':
	default:
		return "", malformedBearer(`Unexpected channel-binding flag "` + printableByte(message) + `".`)
	}
	rest, ok := strings.CutPrefix(message[1:], ",")
	switch {
	case !ok:
		return "", malformedBearer(`Comma expected, but found character "` + printableByte(message[1:]) + `".`)
	case strings.HasPrefix(rest, "a"):
		return "", &ProtocolError{
			Code: codeFeatureNotSupported, Message: "client uses authorization identity, but it is not supported",
		}
	case !strings.HasPrefix(rest, ","):
		return "", malformedBearer(`Unexpected attribute "` + printableByte(rest) + `" in client-first-message.`)
	}
	pairs, ok := strings.CutPrefix(rest[1:], kvsep)
	if !ok {
		return "", malformedBearer(`Key-value separator expected, but found character "` + printableByte(rest[1:]) + `".`)
	}
	return findAuth(pairs)
}

// findAuth reads pairs up to the empty one, which must be the last.
func findAuth(pairs string) (auth string, err error) {
	found := false
	for pairs != "" {
		pair, rest, ok := strings.Cut(pairs, kvsep)
		switch {
		case !ok:
			return "", malformedBearer("Message contains an unterminated key/value pair.")
		case pair == "" && !found:
			return "", malformedBearer("Message does not contain an auth value.")
		case pair == "" && rest != "":
			return "", malformedBearer("Message contains additional data after the final terminator.")
		case pair == "":
			return auth, nil
		}
		key, value, err := cutPair(pair)
		if err != nil {
			return "", err
		}
		if key == "auth" {
			if found {
				return "", malformedBearer("Message contains multiple auth values.")
			}
			auth, found = value, true
		}
		pairs = rest
	}
	return "", malformedBearer("Message did not contain a final terminator.")
}

func cutPair(pair string) (key, value string, err error) {
	key, value, ok := strings.Cut(pair, "=")
	switch {
	case !ok:
		return "", "", malformedBearer("Message contains a key without a value.")
	case key == "":
		return "", "", malformedBearer("Message contains an empty key name.")
	case strings.ContainsFunc(key, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }):
		return "", "", malformedBearer("Message contains an invalid key name.")
	case strings.ContainsFunc(value, func(r rune) bool { return (r < ' ' || r > '~') && r != '\t' && r != '\r' && r != '\n' }):
		return "", "", malformedBearer("Message contains an invalid value.")
	}
	return key, value, nil
}

// cutToken takes the token out of an Authorization header (RFC 6750, section 2.1). The scheme's case is of no matter
// (RFC 7628, section 4).
func cutToken(header string) (token string, ok bool) {
	const scheme = "Bearer "
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	token = strings.TrimLeft(header[len(scheme):], " ")
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/"
	body := strings.TrimRight(token, "=")
	return token, token != "" && strings.Trim(body, allowed) == "" && !strings.ContainsFunc(body, func(r rune) bool {
		return !strings.ContainsRune(allowed, r)
	})
}
