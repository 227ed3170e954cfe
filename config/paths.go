package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// caKey is the one key of a path that may be a word, SystemCA.
const caKey = "server_tls_ca_file"

// isPath tells whether v, the value of the key, is the path of a file.
func (f field) isPath(v reflect.Value) bool {
	return f.path && v.String() != "" && (f.key != caKey || v.String() != SystemCA)
}

// resolvePaths has the relative paths of a table, and of the tables in it, start from folder.
func resolvePaths(folder string, table reflect.Value) {
	for _, f := range fieldsOf(table.Type()) {
		v := table.FieldByIndex(f.index)
		switch {
		case v.Kind() == reflect.Map:
			for _, name := range v.MapKeys() {
				elem := reflect.New(v.Type().Elem()).Elem() // what a map holds cannot be changed in it
				elem.Set(v.MapIndex(name))
				resolvePaths(folder, elem)
				v.SetMapIndex(name, elem)
			}
		case f.isPath(v) && !filepath.IsAbs(v.String()):
			v.SetString(filepath.Join(folder, v.String()))
		}
	}
}

// eachKey calls do with every key of a table, and of the tables in it.
func eachKey(table reflect.Value, do func(f field, v reflect.Value)) {
	for _, f := range fieldsOf(table.Type()) {
		v := table.FieldByIndex(f.index)
		if v.Kind() != reflect.Map {
			do(f, v)
			continue
		}
		for _, name := range v.MapKeys() {
			eachKey(v.MapIndex(name), do)
		}
	}
}

// Files lists the files that a reload reads besides the configuration itself, in alphabetical order.
func (c *Config) Files() []string {
	var files []string
	eachKey(reflect.ValueOf(c).Elem(), func(f field, v reflect.Value) {
		if f.isPath(v) && (f.key != "auth_file" || c.readsAuthFile()) {
			files = append(files, v.String())
		}
	})
	slices.Sort(files)
	return slices.Compact(files)
}

// Warnings is what an operator should look at in a configuration that was read from path and is valid otherwise. What it names
// (auth_file, keys, …) has its own.
func (c *Config) Warnings(path string) []string {
	secrets := false
	eachKey(reflect.ValueOf(c).Elem(), func(f field, v reflect.Value) {
		secrets = secrets || f.secret && v.String() != "" && strings.Contains(v.String(), f.mark)
	})
	if !secrets {
		return nil
	}
	return Exposed(path, "it holds passwords")
}

// Exposed warns of a secret that everybody may read. It is no more than a warning: the file may be a mounted secret, whose mode
// the operator cannot choose.
func Exposed(path, what string) []string {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o004 == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s, and everybody may read it (mode %04o); chmod 600 it", path, what, info.Mode().Perm())}
}
