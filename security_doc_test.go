package pooler_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pooler/config"
)

// SECURITY.md promises what tests check and keys do. Here is whether there are such tests and keys.
func TestSecurityNamesTestsAndKeysThatExist(t *testing.T) {
	data, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testsIn(t)
	for _, found := range regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(data), -1) {
		if !tests[found[1]] {
			t.Errorf("there is no test %s", found[1])
		}
	}
	keys := 0
	for _, found := range regexp.MustCompile("`([a-z]+(?:_[a-z]+)+)(?: = [^`]*)?`").FindAllStringSubmatch(string(data), -1) {
		if key := found[1]; isKey(key) {
			keys++
		} else {
			t.Errorf("there is no key %s", key)
		}
	}
	if keys < 20 {
		t.Errorf("only %d keys were found", keys)
	}
}

// isKey tells whether the top level has that key. (Whether a secret one exists IsShown does not tell.)
func isKey(key string) bool { return config.IsShown([]string{key}) || key == "auth_ldap_options" }

func testsIn(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range declaration.FindAllStringSubmatch(string(text), -1) {
			names[found[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
