package statetest

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// common is what all clients share and none changes. statetest_b may do less than statetest_a; the roles belong to the
// whole server and stay.
const common = `
DO $$ BEGIN CREATE ROLE statetest_a; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE statetest_b; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
CREATE SCHEMA s1;
CREATE SCHEMA s2;
CREATE TABLE public.place AS SELECT 'public' AS word;
CREATE TABLE s1.place AS SELECT 's1' AS word;
CREATE TABLE s2.place AS SELECT 2 AS word;
GRANT USAGE ON SCHEMA s1, s2 TO statetest_a;
GRANT SELECT ON public.place, s1.place, s2.place TO statetest_a;
GRANT SELECT ON public.place TO statetest_b;
CREATE FUNCTION public.st_set(name text, value text) RETURNS text LANGUAGE plpgsql AS
	'BEGIN RETURN pg_catalog.set_config(name, value, false); END';
CREATE FUNCTION public.st_local() RETURNS text LANGUAGE plpgsql SET work_mem = '7MB' AS
	'BEGIN RETURN pg_catalog.current_setting(''work_mem''); END';
CREATE FUNCTION public.st_hold_temp() RETURNS void LANGUAGE plpgsql AS
	'BEGIN CREATE TEMP TABLE IF NOT EXISTS tt3 (a int); END';
CREATE FUNCTION public.st_hold_lock(key bigint) RETURNS void LANGUAGE plpgsql AS
	'BEGIN PERFORM pg_catalog.pg_advisory_lock(key); END';
`

// Setup fills an empty database with what the scripts of so many clients use.
func Setup(ctx context.Context, dsn string, clients int) error {
	session, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	defer func() { _ = session.Close(ctx) }() // nothing is lost
	var sql strings.Builder
	sql.WriteString(common)
	for client := range clients {
		for _, s := range []side{direct, through} {
			sql.WriteString(owner{side: s, client: client}.fill(
				"CREATE TABLE public.{my}kept (a text); GRANT ALL ON public.{my}kept TO statetest_a;" +
					"CREATE SEQUENCE public.{my}seq; GRANT ALL ON public.{my}seq TO statetest_a;"))
		}
	}
	if _, err := session.Exec(ctx, sql.String()).ReadAll(); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return nil
}
