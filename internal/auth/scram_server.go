package auth

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"

	"pooler/config"
)

// SCRAM asks a client for SCRAM-SHA-256, and offers SCRAM-SHA-256-PLUS before it where there is a binding. A secret in
// MD5's form or none at all is made up for: the conversation looks like any other and fails at its end.
//
// PostgreSQL takes the user from the StartupMessage and ignores the one in SCRAM, and so do we.
func SCRAM(keys *Keys, user string, secret config.Secret, binding Binding) (ask []byte, p Proof) {
	if secret.Kind == config.SecretClear {
		keys.ExpectClearText()
	}
	mechanisms := []string{scramSHA256}
	if binding.exists() {
		mechanisms = []string{scramSHA256Plus, scramSHA256} // PostgreSQL's order
	}
	return encoded(&pgproto3.AuthenticationSASL{AuthMechanisms: mechanisms}),
		&scramProof{keys: keys, user: user, secret: secret, binding: binding}
}

// scramProof is the server of SCRAM. The messages are read with PostgreSQL's rules and texts first; what the proof is
// worth is for the library to say.
type scramProof struct {
	keys    *Keys
	user    string
	secret  config.Secret
	binding Binding

	chosen bool // the client has chosen its mechanism
	plus   bool // it has chosen SCRAM-SHA-256-PLUS
	first  clientFirst
	usable bool // the secret can be checked with SCRAM
	wrong  bool // the client's proof is, and no sums have been done for it

	talk        *scram.ServerConversation // nil before the client's first message
	stored      config.Verifier
	serverFirst string
	learned     Credential
}

// Cost is none but for a proof that is checked with a password whose keys have not been derived yet: until then salt and
// iterations will do, which take no time that tells who has a password.
func (p *scramProof) Cost() Cost {
	if p.talk != nil && p.mustDerive() {
		return Sums
	}
	return Cheap
}

// Level is the sums that a wrong proof of a user with a password in clear text costs, for all whose wrong proof has cost
// none: users without a secret, with another kind, or with keys that were known. It is nil if there are none to do, as
// everywhere where nobody's password is known in clear text.
func (p *scramProof) Level() func() {
	if !p.wrong || !p.keys.clear.Load() {
		return nil
	}
	return func() { derive(p.keys.secret[:], p.keys.salt(p.user), p.keys.rounds()) }
}

func (p *scramProof) Learned() (Credential, bool) { return p.learned, !p.learned.IsZero() }

func (p *scramProof) Next(_ context.Context, answer []byte) (reply []byte, proven bool, err error) {
	if len(answer) > maxSCRAMMessage {
		return nil, false, violation("invalid message length", "")
	}
	if !p.chosen {
		data, has, err := p.choose(answer)
		if err != nil {
			return nil, false, err
		}
		if !has {
			return encoded(&pgproto3.AuthenticationSASLContinue{}), false, nil
		}
		answer = data
	}
	if err := checkText(answer); err != nil {
		return nil, false, err
	}
	if p.talk == nil {
		reply, err = p.begin(string(answer))
		return reply, false, err
	}
	return p.finish(string(answer))
}

// Bound tells whether the conversation is tied to the client's TLS connection (SCRAM-SHA-256-PLUS).
func (p *scramProof) Bound() bool { return p.plus }

// choose reads which of the mechanisms the client takes.
func (p *scramProof) choose(answer []byte) (data []byte, has bool, err error) {
	mechanism, data, has, err := cutInitial(answer)
	if err != nil {
		return nil, false, err
	}
	p.plus = mechanism == scramSHA256Plus && p.binding.exists()
	if !p.plus && mechanism != scramSHA256 {
		return nil, false, errMechanism()
	}
	p.chosen = true
	return data, has, nil
}

func checkText(message []byte) error {
	switch {
	case len(message) == 0:
		return malformedSCRAM("The message is empty.")
	case slices.Contains(message, 0):
		return malformedSCRAM("Message length does not match input length.")
	}
	return nil
}

// begin answers the client's first message, with the salt and our part of the nonce.
func (p *scramProof) begin(message string) ([]byte, error) {
	var err error
	if p.first, err = parseClientFirst(message, p.plus, p.binding.exists()); err != nil {
		return nil, err
	}
	p.stored, p.usable = p.keys.verifier(p.user, p.secret)
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(p.stored.Salt), Iters: p.stored.Iterations},
			StoredKey:  p.stored.StoredKey, ServerKey: p.stored.ServerKey,
		}, nil
	})
	if err != nil {
		return nil, err
	}
	p.talk = server.NewConversationWithChannelBinding(scram.ChannelBinding{
		Type: scram.ChannelBindingTLSServerEndpoint, Data: p.binding.EndPoint,
	})
	if p.serverFirst, err = p.talk.Step(message); err != nil {
		return nil, malformedSCRAM("") // a user name with a wrong escape
	}
	return encoded(&pgproto3.AuthenticationSASLContinue{Data: []byte(p.serverFirst)}), nil
}

// finish judges the client's proof.
func (p *scramProof) finish(message string) (reply []byte, proven bool, err error) {
	last, err := parseClientFinal(message, p.bindingInput(), p.plus)
	if err != nil {
		return nil, false, err
	}
	attributes := attributes{p.serverFirst}
	if nonce, err := attributes.expect('r'); err != nil || nonce != last.nonce {
		return nil, false, violation("invalid SCRAM response", "Nonce does not match.")
	}
	summed := p.fillKeys()
	final, err := p.talk.Step(message)
	text := authMessage(p.first.bare, p.serverFirst, last.bare)
	clientKey := xorKeys(last.proof, p.stored.StoredKey, text)
	if err != nil || !p.talk.Valid() || !p.usable || !equal(storedKeyOf(clientKey), p.stored.StoredKey) {
		p.wrong = !summed
		return nil, false, ErrWrong
	}
	p.learned = p.credential(clientKey)
	return encoded(&pgproto3.AuthenticationSASLFinal{Data: []byte(final)}), true, nil
}

// fillKeys puts the keys of a password in clear text to where the conversation looks for them, and tells whether they had
// to be derived.
func (p *scramProof) fillKeys() (summed bool) {
	if p.secret.Kind != config.SecretClear {
		return false
	}
	summed = p.mustDerive()
	keys := p.keys.derived([]byte(p.secret.Text), p.stored.Salt, p.stored.Iterations)
	copy(p.stored.StoredKey, keys.stored[:])
	copy(p.stored.ServerKey, keys.server[:])
	return summed
}

// mustDerive tells whether fillKeys has sums to do.
func (p *scramProof) mustDerive() bool {
	return p.secret.Kind == config.SecretClear && !p.keys.Known([]byte(p.secret.Text), p.stored.Salt, p.stored.Iterations)
}

// credential prefers the password, which serves for whatever PostgreSQL asks and has stored.
func (p *scramProof) credential(clientKey []byte) Credential {
	if p.secret.Kind == config.SecretClear {
		return Credential{Password: p.secret.Text}
	}
	return Credential{ClientKey: clientKey, ServerKey: p.stored.ServerKey}
}

// bindingInput is what the client's final message must repeat.
func (p *scramProof) bindingInput() []byte {
	if p.plus {
		return append([]byte(p.first.gs2), p.binding.EndPoint...)
	}
	return []byte(p.first.gs2)
}

// clientFirst is the client's first message.
type clientFirst struct {
	gs2  string // flag and empty authorisation identity, "n,," for example
	bare string // what follows
}

// parseClientFirst reads the client's first message as PostgreSQL's read_client_first_message does. plus tells that the
// client has chosen channel binding, offered that we have offered it.
func parseClientFirst(message string, plus, offered bool) (clientFirst, error) {
	rest, err := cutBindingFlag(message, plus, offered)
	if err != nil {
		return clientFirst{}, err
	}
	switch {
	case strings.HasPrefix(rest, "a"):
		return clientFirst{}, &ProtocolError{
			Code: codeFeatureNotSupported, Message: "client uses authorization identity, but it is not supported",
		}
	case !strings.HasPrefix(rest, ","):
		return clientFirst{}, malformedSCRAM(`Unexpected attribute "` + printableByte(rest) + `" in client-first-message.`)
	}
	rest = rest[1:]
	if strings.HasPrefix(rest, "m") {
		return clientFirst{}, &ProtocolError{
			Code: codeFeatureNotSupported, Message: "client requires an unsupported SCRAM extension",
		}
	}
	return clientFirst{gs2: message[:len(message)-len(rest)], bare: rest}, checkFirstBare(rest)
}

func checkFirstBare(bare string) error {
	a := attributes{bare}
	if _, err := a.expect('n'); err != nil {
		return err
	}
	nonce, err := a.expect('r')
	if err != nil {
		return err
	}
	if !printable(nonce) {
		return violation("non-printable characters in SCRAM nonce", "")
	}
	for a.rest != "" { // optional extensions
		if _, _, err := a.next(); err != nil {
			return err
		}
	}
	return nil
}

// cutBindingFlag reads gs2-cbind-flag and the comma behind it.
func cutBindingFlag(message string, plus, offered bool) (rest string, err error) {
	switch flag := message[0]; {
	case (flag == 'n' || flag == 'y') && plus:
		return "", malformedSCRAM("The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.")
	case flag == 'y' && offered: // somebody has taken our offer out on its way
		return "", &ProtocolError{
			Code: codeInvalidAuth, Message: "SCRAM channel binding negotiation error",
			Detail: "The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.",
		}
	case flag == 'n' || flag == 'y':
		rest, ok := strings.CutPrefix(message[1:], ",")
		if !ok {
			return "", malformedSCRAM(`Comma expected, but found character "` + printableByte(message[1:]) + `".`)
		}
		return rest, nil
	case flag == 'p' && !plus:
		return "", malformedSCRAM("The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.")
	case flag == 'p':
		return cutBindingType(message)
	}
	return "", malformedSCRAM(`Unexpected channel-binding flag "` + printableByte(message) + `".`)
}

func cutBindingType(message string) (rest string, err error) {
	a := attributes{message}
	name, err := a.expect('p')
	if err != nil {
		return "", err
	}
	if name != serverEndPoint {
		return "", violation(`unsupported SCRAM channel-binding type "`+printableText(name)+`"`, "")
	}
	return a.rest, nil
}

// printableText is PostgreSQL's sanitize_str: 30 bytes at most, with a '?' for what cannot be shown.
func printableText(s string) string {
	b := []byte(s[:min(len(s), 30)])
	for i, c := range b {
		if c < 0x21 || c > 0x7E {
			b[i] = '?'
		}
	}
	return string(b)
}

// clientFinal is the client's last message.
type clientFinal struct {
	bare  string // all before the proof
	nonce string
	proof []byte // keySize bytes
}

// parseClientFinal reads the client's last message as PostgreSQL's read_client_final_message does. binding is what it
// must repeat.
func parseClientFinal(message string, binding []byte, plus bool) (final clientFinal, err error) {
	a := attributes{message}
	bound, err := a.expect('c')
	if err != nil {
		return clientFinal{}, err
	}
	if !equal([]byte(bound), []byte(base64Text(binding))) {
		if plus {
			return clientFinal{}, &ProtocolError{Code: codeInvalidAuth, Message: "SCRAM channel binding check failed"}
		}
		return clientFinal{}, violation("unexpected SCRAM channel-binding attribute in client-final-message", "")
	}
	if final.nonce, err = a.expect('r'); err != nil {
		return clientFinal{}, err
	}
	for name := byte(0); name != 'p'; { // extensions may come before the proof
		final.bare = strings.TrimSuffix(message[:len(message)-len(a.rest)], ",")
		var value string
		if name, value, err = a.next(); err != nil {
			return clientFinal{}, err
		}
		final.proof, _ = base64Strict(value)
	}
	switch {
	case len(final.proof) != keySize:
		return clientFinal{}, malformedSCRAM("Malformed proof in client-final-message.")
	case a.rest != "":
		return clientFinal{}, malformedSCRAM("Garbage found at the end of client-final-message.")
	}
	return final, nil
}
