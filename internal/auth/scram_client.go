package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Bounds on what a server may say. PostgreSQL's nonce adds 24 characters to ours, its salts have 16 bytes, and it sends
// about 100 bytes.
const (
	maxServerMessage = 2048 // bytes
	maxServerNonce   = 512  // characters, ours included
	maxServerSalt    = 1024 // bytes
	ownNonce         = 18   // random bytes, PostgreSQL's SCRAM_RAW_NONCE_LEN
)

// scramClient is the client of SCRAM. It works from a password or from the keys that one would be turned into, which is
// what no library does.
type scramClient struct {
	gs2       string
	bare      string // the first message without gs2
	nonce     string // ours
	binding   []byte // what gs2 announces
	message   string // what both sides sign; "" before we have proven ourselves
	serverKey []byte
	proven    bool // the server has shown that it knows our secret
}

func (a *Answerer) begin(mechanisms []string) (pgproto3.FrontendMessage, error) {
	if a.scram != nil {
		return nil, errSwitch
	}
	plus := slices.Contains(mechanisms, scramSHA256Plus) && a.binding.exists()
	if !plus && !slices.Contains(mechanisms, scramSHA256) {
		return nil, fmt.Errorf("PostgreSQL offers only %s to log in, the pooler knows %s", offered(mechanisms), scramSHA256)
	}
	if a.credential.Password == "" && !a.credential.hasKeys() {
		return nil, a.missing("SCRAM")
	}
	a.scram = newSCRAMClient(plus, a.binding)
	mechanism := scramSHA256
	if plus {
		mechanism = scramSHA256Plus
	}
	return &pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(a.scram.gs2 + a.scram.bare)}, nil
}

// offered makes what a server calls its mechanisms fit for a log.
func offered(mechanisms []string) string {
	var names []string
	for _, m := range mechanisms[:min(len(mechanisms), 8)] {
		names = append(names, printableText(m))
	}
	return strings.Join(names, ", ")
}

func newSCRAMClient(plus bool, binding Binding) *scramClient {
	raw := make([]byte, ownNonce)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	c := &scramClient{nonce: base64Text(raw), gs2: "n,,"}
	c.bare = "n=,r=" + c.nonce // PostgreSQL takes the user from the StartupMessage
	switch {
	case plus:
		c.gs2, c.binding = "p="+serverEndPoint+",,", binding.EndPoint
	case binding.exists():
		c.gs2 = "y,," // if the server did offer it, somebody has taken that out on its way, and it will notice
	}
	return c
}

// prove answers the server's first message with our proof.
func (a *Answerer) prove(challenge []byte) (pgproto3.FrontendMessage, error) {
	c := a.scram
	if c == nil || c.message != "" {
		return nil, errUnasked
	}
	first, err := parseServerFirst(challenge, c.nonce)
	if err != nil {
		return nil, fmt.Errorf("SCRAM with PostgreSQL: %w", err)
	}
	clientKey, storedKey, serverKey := a.scramKeys(first)
	bare := "c=" + base64Text(append([]byte(c.gs2), c.binding...)) + ",r=" + first.nonce
	c.message, c.serverKey = authMessage(c.bare, string(challenge), bare), serverKey
	return &pgproto3.SASLResponse{Data: []byte(bare + ",p=" + base64Text(xorKeys(clientKey, storedKey, c.message)))}, nil
}

// scramKeys prefers the password, which fits whatever salt the server has.
func (a *Answerer) scramKeys(first serverFirst) (client, stored, server []byte) {
	if a.credential.Password == "" {
		return a.credential.ClientKey, storedKeyOf(a.credential.ClientKey), a.credential.ServerKey
	}
	keys := a.keys.derived([]byte(a.credential.Password), first.salt, first.iterations)
	return keys.client[:], keys.stored[:], keys.server[:]
}

// final checks the server's signature.
func (c *scramClient) final(message []byte) error {
	if c.message == "" || c.proven {
		return errUnasked
	}
	signature, err := parseServerFinal(message)
	if err != nil {
		return fmt.Errorf("SCRAM with PostgreSQL: %w", err)
	}
	if !signed(c.serverKey, c.message, signature) {
		return errors.New("SCRAM with PostgreSQL: its signature is wrong; somebody may pretend to be it")
	}
	c.proven = true
	return nil
}

// serverFirst is the server's first message.
type serverFirst struct {
	nonce      string // the client's, with the server's behind it
	salt       []byte
	iterations int
}

// parseServerFirst reads the server's first message. Nothing of it is in the errors.
func parseServerFirst(message []byte, ownNonce string) (first serverFirst, err error) {
	if len(message) > maxServerMessage {
		return first, errors.New("the server's message is too long")
	}
	a := attributes{string(message)}
	nonce, err1 := a.expect('r')
	salt, err2 := a.expect('s')
	rounds, err3 := a.expect('i')
	if err := errors.Join(err1, err2, err3); err != nil {
		return first, errors.New("the server's first message is malformed")
	}
	if err := checkExtensions(&a); err != nil {
		return first, err
	}
	first.nonce = nonce
	if own, found := strings.CutPrefix(nonce, ownNonce); !found || own == "" || !printable(nonce) || len(nonce) > maxServerNonce {
		return first, errors.New("the server's nonce does not continue ours, or is too long")
	}
	var ok bool
	if first.salt, ok = base64Strict(salt); !ok || len(first.salt) == 0 || len(first.salt) > maxServerSalt {
		return first, errors.New("the server's salt is no base64, empty or too long")
	}
	first.iterations, ok = parseIterations(rounds)
	if !ok {
		return first, fmt.Errorf("the server's iteration count is not between 1 and %d", maxIterations)
	}
	return first, nil
}

// parseIterations reads a posit-number (RFC 5802, section 7): digits, of which the first is not 0.
func parseIterations(text string) (int, bool) {
	if text == "" || len(text) > 9 || text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n <= maxIterations
}

// checkExtensions lets optional extensions pass, and nothing that was there already.
func checkExtensions(a *attributes) error {
	for a.rest != "" {
		name, _, err := a.next()
		if err != nil || strings.IndexByte("rsimvep", name) >= 0 {
			return errors.New("the server's message is malformed or repeats an attribute")
		}
	}
	return nil
}

// parseServerFinal reads the server's signature.
func parseServerFinal(message []byte) (signature []byte, err error) {
	if len(message) > maxServerMessage {
		return nil, errors.New("the server's message is too long")
	}
	a := attributes{string(message)}
	if reason, err := a.expect('e'); err == nil {
		return nil, fmt.Errorf("the server refuses us: %s", printableText(reason))
	}
	text, err := a.expect('v')
	if err != nil {
		return nil, errors.New("the server's final message is malformed")
	}
	if err := checkExtensions(&a); err != nil {
		return nil, err
	}
	signature, ok := base64Strict(text)
	if !ok || len(signature) != keySize {
		return nil, errors.New("the server's signature is malformed")
	}
	return signature, nil
}
