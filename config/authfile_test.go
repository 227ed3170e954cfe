package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	md5Text   = "md5" + "0123456789abcdef0123456789abcdef"
	scramText = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)

func TestParseAuthFileReads(t *testing.T) {
	tests := []struct {
		name, text, user string
		want             Secret
	}{
		{"clear text", `"a" "b c"`, "a", Secret{SecretClear, "b c"}},
		{"an MD5 hash", `"a" "` + md5Text + `"`, "a", Secret{SecretMD5, md5Text}},
		{"a SCRAM secret", `"a" "` + scramText + `"`, "a", Secret{SecretSCRAM, scramText}},
		{"a doubled quote is one quote", `"a""b" """c"""`, `a"b`, Secret{SecretClear, `"c"`}},
		{"what follows is ignored", `"a" "b" "c" d`, "a", Secret{SecretClear, "b"}},
		{"blanks, CRLF and comments around it", "; one\r\n# two\r\n\r\n \t\"a\"\t \"b\"\r\n", "a", Secret{SecretClear, "b"}},
		{"the last of two lines counts", "\"a\" \"b\"\n\"a\" \"c\"", "a", Secret{SecretClear, "c"}},
		{"an empty secret is none at all", `"a" ""`, "a", Secret{SecretNone, ""}},
		{"md5 with upper-case digits is clear text, as for PostgreSQL", `"a" "` + strings.Replace(md5Text, "abc", "ABC", 1) + `"`, "a", Secret{SecretClear, strings.Replace(md5Text, "abc", "ABC", 1)}},
		{"md5 and a few letters is clear text", `"a" "md5sum"`, "a", Secret{SecretClear, "md5sum"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := ParseAuthFile("users", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := a.Secret(tt.user); !ok || got.Kind != tt.want.Kind || got.Text != tt.want.Text {
				t.Errorf("got %v %s %q", ok, got, got.Text)
			}
			if _, ok := a.Secret("nobody"); ok {
				t.Error("knows nobody")
			}
		})
	}
}

func TestParseAuthFileRefuses(t *testing.T) {
	const malformed = `1: user "a" has a malformed secret; want SCRAM-SHA-256$iterations:salt$storedkey:serverkey`
	tests := []struct{ name, line, want string }{
		{"no quotes", `alice hunter2`, `1: want "user" "secret", both between double quotes`},
		{"a user without an end", `"alice hunter2`, `1: want "user" "secret", both between double quotes`},
		{"a doubled quote where the user should end", `"alice""hunter2"`, `1: want the secret of user "alice\"hunter2" between double quotes`},
		{"no secret", `"alice"`, `1: want the secret of user "alice" between double quotes`},
		{"a secret without quotes", `"alice" hunter2`, `1: want the secret of user "alice" between double quotes`},
		{"a secret without an end", `"alice" "hunter2`, `1: want the secret of user "alice" between double quotes`},
		{"no user name", `"" "hunter2"`, `1: a user name must not be empty or contain a zero byte`},
		{"a SCRAM secret cut short", `"a" "SCRAM-SHA-256$4096:hunter2"`, malformed},
		{"a SCRAM secret without iterations", `"a" "` + strings.Replace(scramText, "4096", "0", 1) + `"`, malformed},
		{"a SCRAM secret with a short key", `"a" "` + strings.Replace(scramText, "WG5d", "", 1) + `"`, malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseAuthFile("users", []byte(tt.line))
			if err == nil || err.Error() != "users:"+tt.want {
				t.Errorf("got  %v\nwant users:%s", err, tt.want)
			}
		})
	}
}

func TestParseAuthFileWarns(t *testing.T) {
	a, err := ParseAuthFile("users", []byte("\"a\" \"b\"\n\"a\" \"c\"\n\"d\" \"\""))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`users:2: user "a" appears again; the last line counts`,
		`users:3: user "d" has an empty secret, with which nobody can log in`,
	}
	if !slices.Equal(a.Warnings, want) {
		t.Errorf("got %q", a.Warnings)
	}
}

func TestVerifierTakesASecretApart(t *testing.T) {
	v, ok := Secret{SecretSCRAM, scramText}.Verifier()
	if !ok || v.Iterations != 4096 || len(v.Salt) != 16 || len(v.StoredKey) != 32 || len(v.ServerKey) != 32 {
		t.Errorf("got %v %+v", ok, v)
	}
	if _, ok := (Secret{SecretClear, scramText}).Verifier(); ok {
		t.Error("a clear text was taken apart")
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	s := Secret{SecretClear, "hunter2"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("secret found", "secret", s)

	for _, shown := range []string{fmt.Sprintf("%v", s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), log.String()} {
		if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "clear (hidden)") {
			t.Errorf("shown as %s", shown)
		}
	}
}

func TestLoadAuthFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "userlist.txt")
	if _, err := LoadAuthFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: got %v", err)
	}
	for mode, want := range map[fs.FileMode][]string{
		0o600: nil,
		0o644: {path + ": it holds secrets, and everybody may read it (mode 0644); chmod 600 it"},
	} {
		if err := os.WriteFile(path, []byte(`"a" "b"`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // not subject to the umask
			t.Fatal(err)
		}
		a, err := LoadAuthFile(path)
		if err != nil || !slices.Equal(a.Warnings, want) {
			t.Errorf("mode %o: got %v, %v", mode, a, err)
		}
	}
}

// FuzzAuthFile: nothing panics, what is accepted is usable, and no fault shows a secret.
func FuzzAuthFile(f *testing.F) {
	f.Add([]byte("\"a\" \"b\"\n; comment\n\"c\" \"" + md5Text + "\""))
	f.Add([]byte(`"a""b" "` + scramText + `" x`))
	f.Add([]byte("\"a\" \"SCRAM-SHA-256$1:$:\"\r\n\"\" \"\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAuthFile("f", data)
		if err != nil {
			return
		}
		for user, s := range a.secrets {
			_, isVerifier := s.Verifier()
			if user == "" || (s.Kind == SecretNone) != (s.Text == "") || (s.Kind == SecretSCRAM) != isVerifier {
				t.Errorf("user %q: %s", user, s)
			}
		}
		for user := range a.secrets {
			line := `"` + strings.ReplaceAll(user, `"`, `""`) + `" "hunter2`
			if _, err := ParseAuthFile("f", []byte(line)); err == nil || strings.Contains(err.Error(), "hunter2") && !strings.Contains(user, "hunter2") {
				t.Errorf("%q gives %v", line, err)
			}
		}
	})
}
