package frontend

import (
	"pooler/config"
	"pooler/internal/auth"
	"pooler/pool"
)

// SetKeyring has what clients' logins teach be kept in k, for logins to PostgreSQL as the same user (pass-through). It must
// be called before Listen, with the keyring of the backend.Dialer that the pools dial with.
func (srv *Server) SetKeyring(k *auth.Keyring) {
	srv.keyring = k
	srv.pools.OnForgotten(func(cfg config.Pool) { k.Forget(auth.AccountOf(cfg)) })
}

// learn keeps what the proof of a client has taught, if its pool logs in as the same user and nothing else says with what.
// The pool has been joined, so that it is not forgotten meanwhile.
func (srv *Server) learn(p *pool.Pool, cfg config.Pool, start *startup) {
	learned := start.learned
	start.learned = auth.Credential{}
	if srv.keyring == nil || cfg.ServerPassword != "" || cfg.ServerUser != start.user {
		return
	}
	if srv.keyring.Learn(auth.AccountOf(cfg), learned) {
		p.TryAgain()
	}
}

// forgetLearned drops what was learned of users whose secret is another one now, or who are looked for at another server.
// It is for before the pools hear of that.
func (srv *Server) forgetLearned(before *current) {
	if before == nil || srv.keyring == nil {
		return
	}
	now := srv.settings.Load()
	srv.pools.Each(func(cfg config.Pool) bool {
		old, had := before.credentials.stored(cfg.ServerUser)
		secret, has := now.credentials.stored(cfg.ServerUser)
		moved, known := srv.poolConfig(cfg.Database, cfg.User)
		return had != has || old != secret || known && auth.AccountOf(moved) != auth.AccountOf(cfg)
	}, func(p *pool.Pool) { srv.keyring.Forget(auth.AccountOf(p.Config())) })
}
