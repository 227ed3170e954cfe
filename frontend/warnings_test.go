package frontend

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pooler/internal/auth"
)

func TestAnHBAFileWithAPasswordThatEverybodyMayReadIsWorthAWarning(t *testing.T) {
	path := hbaFile(t, "host all all all ldap ldapserver=h ldapbasedn=x ldapbindpasswd=geheim\n")
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o644: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		p := startPooler(t, fmt.Sprintf("auth_type = 'hba'\nauth_file = ''\nauth_hba_file = %q", path))
		if log := p.Log.String(); strings.Contains(log, path+": it holds a password, and everybody may read it (mode 0644)") != want || strings.Contains(log, "geheim") {
			t.Errorf("mode %o: %s", mode, log)
		}
	}
}

// The pooler's own fault in a login to PostgreSQL, in words that tell the client whom to ask.
func TestAMethodThatIsNotAllowedIsAFaultOfLogin(t *testing.T) {
	code, message, hint := inWords(fmt.Errorf("log in to PostgreSQL at 10.0.0.1:5432: %w", auth.ErrMethod))
	if code != codeInvalidAuth || !strings.Contains(hint, "server_require_auth") || strings.Contains(message+hint, "10.0.0.1") {
		t.Errorf("got %s %s %s", code, message, hint)
	}
}

// Nobody hears that a proof is wrong before it has cost what it costs a user who is known: while no sums can be done, nobody
// is told anything.
func TestAWrongProofIsToldWhenItHasCostTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("\"clear\" \"geheim\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cached := range []bool{false, true} {
		p := startPooler(t, fmt.Sprintf("auth_type = 'scram-sha-256'\nauth_file = %q\nscram_key_cache = %t", path, cached))
		for range 2 { // before the keys are derived, and after that
			for _, user := range []string{"clear", "nobody"} {
				p.Front.proofs.SetLimit(0)
				told := make(chan error, 1)
				go func() {
					_, err := tryPGX(t, p.Addr, user, "falsch")
					told <- err
				}()
				eventually(t, patience, user+" waits for its turn", func() bool {
					_, waiting := p.Front.proofs.Stat()
					return waiting == 1
				})
				p.Front.proofs.SetLimit(1)
				refusedWith(t, <-told, codeInvalidPassword, "password authentication failed")
			}
		}
	}
}
