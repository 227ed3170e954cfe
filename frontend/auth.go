package frontend

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"

	"pooler/config"
	"pooler/internal/auth"
	"pooler/internal/hba"
)

// credentials is what clients are checked against, and what the pooler logs in to PostgreSQL with where the
// configuration does not say. It never changes; a reload makes a new one.
type credentials struct {
	rules       *hba.File // those of auth_hba_file, or what auth_type means for everybody
	maps        *hba.IdentMap
	file        *config.AuthFile // nil: there is none
	keys        *auth.Keys
	directories map[*hba.Rule]*auth.Directory
	validators  map[*hba.Rule]*auth.Validator
}

// loadCredentials reads the files that cfg names.
func (srv *Server) loadCredentials(cfg *config.Config) (*credentials, error) {
	cr := &credentials{
		keys: srv.keysFor(cfg), directories: map[*hba.Rule]*auth.Directory{}, validators: map[*hba.Rule]*auth.Validator{},
	}
	var err error
	if cr.file, err = cfg.LoadAuthFile(); err != nil {
		return nil, fmt.Errorf("auth_file: %w", err)
	}
	if cr.rules, err = loadRules(cfg); err != nil {
		return nil, err
	}
	if cfg.AuthIdentFile != "" {
		if cr.maps, err = hba.LoadIdent(cfg.AuthIdentFile); err != nil {
			return nil, fmt.Errorf("auth_ident_file: %w", err)
		}
	}
	if err := checkGroups(cfg, cr); err != nil {
		return nil, err
	}
	return cr, cr.prepare(srv.issuers)
}

// keysFor keeps what has been derived, and the salts that are made up for those who do not exist: they must not tell by
// changing that they are made up. What cfg changes is for Configure, when all has gone well.
func (srv *Server) keysFor(cfg *config.Config) *auth.Keys {
	if now := srv.settings.Load(); now != nil {
		return now.credentials.keys
	}
	return auth.NewKeys(cfg.ScramIterations, cfg.ScramKeyCache)
}

// loadRules reads auth_hba_file, or makes the one rule that another auth_type stands for.
func loadRules(cfg *config.Config) (*hba.File, error) {
	var text, key string
	switch cfg.AuthType {
	case config.AuthHBA:
		f, err := hba.Load(cfg.AuthHBAFile)
		if err != nil {
			return nil, fmt.Errorf("auth_hba_file: %w", err)
		}
		return f, nil
	case config.AuthLDAP:
		key, text = "auth_ldap_options", cfg.AuthLDAPOptions
	case config.AuthOAuth:
		key, text = "auth_oauth_options", cfg.AuthOAuthOptions
	case config.AuthTrust, config.AuthPassword, config.AuthMD5, config.AuthSCRAM, config.AuthCert:
		return hba.Implicit(hba.Method(cfg.AuthType), nil), nil
	}
	options, err := hba.ParseOptions(hba.Method(cfg.AuthType), text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return hba.Implicit(hba.Method(cfg.AuthType), options), nil
}

var errGroups = errors.New("asks who is a member of a role, which only PostgreSQL knows; set auth_user, as whom the pooler is to ask, or name the users")

// checkGroups tells whether somebody can be asked for the members of roles where a file speaks of them.
func checkGroups(cfg *config.Config, cr *credentials) error {
	if cfg.AuthUser != "" {
		return nil
	}
	for _, db := range cfg.Databases {
		if db.AuthUser != "" {
			return nil
		}
	}
	if cr.rules.NeedsGroups() {
		return fmt.Errorf("auth_hba_file: a line %w", errGroups)
	}
	return nil
}

// groupless tells of databases for whose users nobody can be asked where a line speaks of the members of roles: by such a
// line, and what stands below it, nobody can get in there.
func (cr *credentials) groupless(cfg *config.Config) (warnings []string) {
	if !cr.rules.NeedsGroups() {
		return nil
	}
	names := slices.Sorted(maps.Keys(cfg.Databases))
	if len(cfg.AdminUsers)+len(cfg.StatsUsers) > 0 {
		names = append(names, "pooler")
	}
	for _, name := range names {
		if _, err := whomToAsk(cfg, name); err != nil {
			warnings = append(warnings, fmt.Sprintf("a line asks who is a member of a role, and %v; logins that come to it fail", err))
		}
	}
	return warnings
}

// mapless tells of lines whose map there is not: as with PostgreSQL, they let nobody in.
func (cr *credentials) mapless() (warnings []string) {
	for _, r := range cr.rules.Rules() {
		if name := r.Map(); name != "" && !cr.maps.Has(name) {
			warnings = append(warnings, fmt.Sprintf("%s:%d: there is no map %q, so that nobody gets in by this line", r.File, r.Line, name))
		}
	}
	return warnings
}

// prepare makes what checks the passwords and tokens of single rules.
func (cr *credentials) prepare(issuers *auth.Issuers) (err error) {
	for _, r := range cr.rules.Rules() {
		switch r.Method {
		case hba.LDAP:
			cr.directories[r], err = auth.NewDirectory(r.Options)
		case hba.OAuth:
			cr.validators[r], err = auth.NewValidator(issuers, r.Options)
		case hba.Trust, hba.Reject, hba.Password, hba.MD5, hba.SCRAM, hba.Cert, hba.Peer:
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", r.File, r.Line, err)
		}
	}
	return nil
}

// stored is the secret of a user that auth_file has.
func (cr *credentials) stored(user string) (config.Secret, bool) {
	if cr.file == nil {
		return config.Secret{}, false
	}
	return cr.file.Secret(user)
}

// byPassword makes the proof that a rule of the methods password, md5 or scram-sha-256 asks for. A stored secret may
// leave less choice than the rule: as with PostgreSQL, md5 asks for SCRAM where only that can be checked, and for users
// that do not exist.
func (cr *credentials) byPassword(m hba.Method, user string, secret config.Secret, known bool, b auth.Binding) (loginMethod, []byte, auth.Proof) {
	switch {
	case m == hba.Password:
		ask, p := auth.Password(cr.keys, user, secret)
		return methodPassword, ask, p
	case m == hba.MD5 && known && secret.Kind != config.SecretSCRAM:
		ask, p := auth.MD5(user, secret)
		return methodMD5, ask, p
	}
	ask, p := auth.SCRAM(cr.keys, user, secret, b)
	return methodSCRAM, ask, p
}

// serverPassword is what the pooler proves itself with to PostgreSQL: the configuration's, else a clear text of the
// auth_file.
func (cr *credentials) serverPassword(cfg config.Pool) string {
	if cfg.ServerPassword != "" {
		return cfg.ServerPassword
	}
	if secret, ok := cr.stored(cfg.ServerUser); ok && secret.Kind == config.SecretClear {
		return secret.Text
	}
	return ""
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
