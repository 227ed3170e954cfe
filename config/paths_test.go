package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRelativePathsStartFromTheFilesFolder(t *testing.T) {
	dir := t.TempDir()
	c, err := Load(writeFile(t, dir, "p.toml", `
auth_type = "hba"
auth_file = "users"
auth_hba_file = "sub/hba"
auth_ident_file = "/etc/ident"
client_tls_cert_file = "c"
client_tls_key_file = "k"
client_tls_ca_file = "system"
server_tls_ca_file = "system"
server_tls_sslmode = "verify-full"
[databases.a]
server_tls_ca_file = "a-ca"
[users.bob]
server_tls_cert_file = "bob"
server_tls_key_file = "bob"
`, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	// auth_file is not there, and need not be.
	want := []string{"/etc/ident", in("a-ca"), in("bob"), in("c"), in("k"), in("sub/hba"), in("system")}
	slices.Sort(want)
	if got := c.Files(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if c.AuthFile != in("users") || c.ServerTLSCAFile != SystemCA || c.Databases["a"].ServerTLSCAFile != in("a-ca") {
		t.Errorf("got %q, %q, %q", c.AuthFile, c.ServerTLSCAFile, c.Databases["a"].ServerTLSCAFile)
	}
}

func TestSecretsThatEverybodyMayReadAreToldOf(t *testing.T) {
	const passwords = "[users.a]\npassword = \"hunter2\"\n"
	for _, tt := range []struct {
		name, text string
		open       bool
		want       []string // what each warning is about
	}{
		{"an open file with a password", passwords, true, []string{"it holds passwords"}},
		{"an open file with LDAP's password", "auth_ldap_options = 'ldapbindpasswd=x'\n", true, []string{"it holds passwords"}},
		{"an open file with LDAP's address", "auth_ldap_options = 'ldapserver=x'\n", true, nil},
		{"a closed file with a password", passwords, false, nil},
		{"an open file without secrets", "", true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			mode := map[bool]os.FileMode{true: 0o644, false: 0o640}[tt.open]
			path := writeFile(t, dir, "p.toml", tt.text+anyDatabase, mode)
			c, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			got := c.Warnings(path)
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.Contains(got[i], tt.want[i]) || !strings.Contains(got[i], "chmod 600") || strings.Contains(got[i], "hunter2") {
					t.Errorf("got %q", got[i])
				}
			}
		})
	}
}
