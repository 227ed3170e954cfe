package backend

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/tlsconn"
)

// Loaded is what a Dialer takes from a configuration: what its TLS files hold, above all.
type Loaded struct {
	Warnings []string // what an operator should look at
	keys     *auth.Keys
	configs  map[tlsKey]*tls.Config
}

// tlsKey is what a tls.Config is made of.
type tlsKey struct {
	config.ServerTLS
	host string // the name or address that the certificate must be for, and that the server is told
}

// keyOf is cfg's; ok is false where no TLS is spoken: libpq speaks none on Unix sockets either, whatever the mode.
func keyOf(cfg config.Pool) (key tlsKey, ok bool) {
	mode := cfg.TLS.Mode
	return tlsKey{cfg.TLS, cfg.Host}, mode != "" && mode != config.TLSDisable && AddressOf(cfg.Host, cfg.Port).Network != "unix"
}

// Load reads all the TLS files that cfg names for servers. The error names, for every file that is bad, file and reason.
func (d *Dialer) Load(cfg *config.Config) (*Loaded, error) {
	loaded := &Loaded{keys: auth.NewKeys(cfg.ScramIterations, cfg.ScramKeyCache), configs: map[tlsKey]*tls.Config{}}
	bad := map[string]error{}
	for _, p := range serverPools(cfg) {
		key, ok := keyOf(p)
		if _, known := loaded.configs[key]; !ok || known {
			continue
		}
		made, warnings, err := key.load()
		if err != nil {
			bad[err.Error()] = err // once, however many hosts share the file
		}
		loaded.configs[key] = made
		loaded.Warnings = append(loaded.Warnings, warnings...)
	}
	if len(bad) > 0 {
		return nil, errors.Join(slices.SortedFunc(maps.Values(bad), func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })...)
	}
	slices.Sort(loaded.Warnings)
	loaded.Warnings = slices.Compact(loaded.Warnings)
	return loaded, nil
}

// load reads the files. The system's CAs sign for anybody who has a name, so the name has to be checked as well.
func (k tlsKey) load() (made *tls.Config, warnings []string, err error) {
	mode := tlsconn.Mode(k.Mode)
	o := tlsconn.Options{CertFile: k.CertFile, KeyFile: k.KeyFile, CAFile: k.CAFile, Protocols: k.Protocols, Ciphers: k.Ciphers}
	if k.CAFile == config.SystemCA {
		mode, o.CAFile = tlsconn.VerifyFull, "" // where there is no file, those are asked
	}
	if made, warnings, err = tlsconn.ClientConfig(o, mode, k.host); err != nil {
		return nil, nil, fmt.Errorf("TLS with servers: %w", err)
	}
	return made, warnings, nil
}

// Use puts in force for new server sessions what was loaded. Those that exist stay as they are.
func (d *Dialer) Use(loaded *Loaded) {
	d.loaded.Store(loaded)
	d.old.forget()
}

// serverPools are pools that among them have all that matters to TLS.
func serverPools(cfg *config.Config) []config.Pool {
	users := []string{""}
	for name, u := range cfg.Users {
		if u.ServerTLSCertFile != "" {
			users = append(users, name)
		}
	}
	var all []config.Pool
	for db := range cfg.Databases {
		for _, user := range users {
			if p, ok := cfg.Pool(db, user); ok {
				all = append(all, p)
			}
		}
		if l, ok := cfg.AuthLookup(db); ok {
			if p, ok := cfg.LookupPool(l); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// config finds what was loaded for key, and reads the files for a pool whose configuration is not in force (yet, or any
// more).
func (d *Dialer) config(key tlsKey) (*tls.Config, error) {
	if c := d.known(key); c != nil {
		return c, nil
	}
	made, _, err := key.load()
	return made, err
}

// known is what was loaded for key, or nil.
func (d *Dialer) known(key tlsKey) *tls.Config {
	return d.loaded.Load().configs[key]
}
