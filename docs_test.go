// Package pooler_test checks that what the documents name exists.
package pooler_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// declared returns every identifier that the code declares, methods and fields also as Type.name, packages also as
// package.name.
func declared(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		note := func(name string) {
			names[name], names[f.Name.Name+"."+name] = true, true
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				note(n.Name.Name)
				if n.Recv != nil {
					note(receiver(n.Recv.List[0].Type) + "." + n.Name.Name)
				}
			case *ast.TypeSpec:
				note(n.Name.Name)
				if s, ok := n.Type.(*ast.StructType); ok {
					for _, field := range s.Fields.List {
						for _, id := range field.Names {
							note(n.Name.Name + "." + id.Name)
						}
					}
				}
			case *ast.ValueSpec:
				for _, id := range n.Names {
					note(id.Name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

var (
	quoted     = regexp.MustCompile("`([^`\n]+)`")
	identifier = regexp.MustCompile(`^([a-z]+\.)?([A-Z][A-Za-z]*|[a-z]+[A-Z][A-Za-z]*)(\.[A-Za-z]+)?$|^[a-z]+\.[a-z][A-Za-z]*$`)
)

func TestTheArchitectureNamesWhatExists(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 250 {
		t.Errorf("ARCHITECTURE.md has %d lines, at most 250 are read", lines)
	}
	names := declared(t)
	known := map[string]bool{"DISCARD": true, "SET": true, "I": true, "Pool.mu": true, "Manager.mu": true, "sessions.mu": true}
	checked := 0
	for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
		name := m[1]
		if known[name] || strings.ContainsAny(name, "_ ") && !strings.HasSuffix(name, ".go") {
			continue
		}
		if identifier.MatchString(name) {
			checked++
			if !names[name] {
				t.Errorf("ARCHITECTURE.md names %s, which does not exist", name)
			}
		} else if strings.Contains(name, "/") && !strings.ContainsAny(name, "{,") {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("ARCHITECTURE.md names the path %s: %v", name, err)
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d identifiers were found to check; is the pattern right?", checked)
	}
}
