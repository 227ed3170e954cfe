package conform

// statements are prepared statements, of the protocol and of SQL, which share their names.
func statements() []state {
	names := "SELECT name, from_sql FROM pg_prepared_statements WHERE name LIKE '~%' ORDER BY name"
	return []state{
		{
			name: "named protocol statement", ends: all, only: extendedOnly,
			make: parse("~", "SELECT 'first', $1::int + 1"), look: bind("~", "41"), work: parse("~", "SELECT 'second', $1::int - 1"),
		},
		{
			name: "named statement, other's DEALLOCATE ALL", ends: few, only: extendedOnly,
			make: parse("~", "SELECT 'first'"), look: bind("~"), work: sql("DEALLOCATE ALL"),
		},
		{
			name: "named statement closed", ends: alone, only: extendedOnly,
			before: parse("~", "SELECT 'first'"), make: closing("~"), look: bind("~").then(parse("~", "SELECT 'again'"), bind("~")),
		},
		{
			name: "unnamed statement used after its Sync", ends: alone, only: extendedOnly,
			make: parse("", "SELECT 'first', $1::int + 1"), look: bind("", "41"), work: parse("", "SELECT 'second', $1::int - 1"),
		},
		{
			name: "Parse of a name in use (42P05)", ends: alone, only: extendedOnly,
			make: parse("~", "SELECT 'first'").then(parse("~", "SELECT 'changed'")), look: bind("~").then(sql("SELECT 'alive'")),
		},
		{
			name: "missing statement (26000)", ends: alone, only: extendedOnly,
			make: bind("~").then(sql("EXECUTE ~", "DEALLOCATE ~"), closing("~")), look: sql("SELECT 'alive'"),
		},
		{
			name: "SQL PREPARE and EXECUTE", ends: all,
			make: sql("PREPARE ~ AS SELECT 'first'"), look: sql("EXECUTE ~"), work: sql("PREPARE ~ AS SELECT 'second'"),
		},
		{
			name: "SQL PREPARE, other's DISCARD ALL", ends: few,
			make: sql("PREPARE ~ AS SELECT 'first'"), look: sql("EXECUTE ~"),
		},
		{
			name: "SQL PREPARE of a name in use (42P05)", ends: alone,
			make: sql("PREPARE ~ AS SELECT 'first'", "PREPARE ~ AS SELECT 'changed'"), look: sql("EXECUTE ~"),
		},
		{
			name: "SQL EXECUTE of a protocol-level name", ends: few, only: extendedOnly,
			make: parse("~", "SELECT 'first'"), look: sql("EXECUTE ~"),
		},
		{
			name: "protocol Bind of an SQL-level name", ends: few, only: extendedOnly,
			make: sql("PREPARE ~ AS SELECT 'first'"), look: bind("~"),
		},
		{
			name: "DEALLOCATE of a protocol-level name", ends: few, only: extendedOnly,
			before: parse("~", "SELECT 'first'"), make: sql("DEALLOCATE ~"), look: bind("~").then(parse("~", "SELECT 'again'"), bind("~")),
			work: parse("~", "SELECT 'second'"),
		},
		{
			name: "DEALLOCATE ALL", ends: few, only: extendedOnly,
			before: parse("~_1", "SELECT 'first'").then(sql("PREPARE ~_2 AS SELECT 'first'")), make: sql("DEALLOCATE ALL"),
			look: bind("~_1").then(sql("EXECUTE ~_2")), work: parse("~_1", "SELECT 'second'"),
		},
		{
			name: "DISCARD ALL, statements", ends: alone, only: extendedOnly,
			before: parse("~_1", "SELECT 'first'").then(sql("PREPARE ~_2 AS SELECT 'first'")), make: sql("DISCARD ALL"),
			look: bind("~_1").then(sql("EXECUTE ~_2")), work: parse("~_1", "SELECT 'second'"),
		},
		{
			name: "pg_prepared_statements", ends: few, only: extendedOnly,
			make: parse("~_1", "SELECT 'first'").then(sql("PREPARE ~_2 AS SELECT 'first'")), look: titled("names prepared", names), work: parse("~_3", "SELECT 'second'"),
		},
		{
			name: "statement after its table changed", ends: alone, only: extendedOnly, heals: "0A000",
			setup: "CREATE TABLE ~.t AS SELECT 1 AS a", before: parse("~", "SELECT * FROM ~.t").then(bind("~")),
			make: direct("ALTER TABLE ~.t ADD COLUMN b int DEFAULT 2"),
			look: bind("~").then(closing("~"), parse("~", "SELECT * FROM ~.t"), bind("~")), spy: sql("SELECT * FROM ~.t"),
		},
		{
			name: "statement after its table was replaced", ends: alone, only: extendedOnly,
			setup: "CREATE TABLE ~.t AS SELECT 1 AS a", before: parse("~", "SELECT a FROM ~.t").then(bind("~")),
			make: direct("DROP TABLE ~.t; CREATE TABLE ~.t AS SELECT 2 AS a"),
			look: bind("~"), spy: sql("SELECT * FROM ~.t"),
		},
	}
}
