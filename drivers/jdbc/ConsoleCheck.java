// Checks the admin console with pgjdbc: extended protocol, prepared after 5 uses, at once, and simple. It connects by
// the PG* variables. Run as it stands: java -cp postgresql.jar ConsoleCheck.java

import java.math.BigDecimal;
import java.sql.*;
import java.time.OffsetDateTime;
import java.util.*;

public class ConsoleCheck {
	static final int FAILURES_SHOWN = 5, KNOWN_CLIENTS = 3;
	static final String KNOWN = "known"; // ApplicationName of the clients whose number is known
	static final String[] OPTIONS = {"", "preferQueryMode=simple", "prepareThreshold=1&defaultRowFetchSize=2", "preferQueryMode=extendedCacheEverything&assumeMinServerVersion=12"};
	// What a value of each type must be in Java.
	static final Map<String, Class<?>> TYPES = Map.of("int4", Integer.class, "int8", Long.class, "text", String.class, "float8", Double.class,
		"bool", Boolean.class, "numeric", BigDecimal.class, "timestamptz", Timestamp.class);
	static final Map<String, Integer> CODES = Map.of("int4", Types.INTEGER, "int8", Types.BIGINT, "text", Types.VARCHAR, "float8", Types.DOUBLE,
		"bool", Types.BIT, "numeric", Types.NUMERIC, "timestamptz", Types.TIMESTAMP);

	int checks;
	String where = "";
	final List<String> failures = new ArrayList<>();
	final String database = System.getenv("PGDATABASE");
	Connection conn;

	static Connection connect(String database, String application, String options) throws SQLException {
		Properties p = new Properties();
		p.put("user", System.getenv("PGUSER"));
		p.put("ApplicationName", application);
		return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + database + "?" + options, p);
	}

	void equal(String what, Object got, Object want) {
		checks++;
		if (!Objects.deepEquals(got, want)) {
			Object[] pair = {got, want};
			failures.add(where + ": " + what + ": [got, expected] " + Arrays.deepToString(pair));
		}
	}

	void fails(String code, String sql, Object... args) throws SQLException {
		String got = "no error";
		try (PreparedStatement s = bind(sql, args)) {
			s.execute();
		} catch (SQLException e) {
			got = e.getSQLState();
			if (!conn.getAutoCommit()) conn.rollback();
		}
		equal("SQLSTATE of " + sql, got, code);
	}

	PreparedStatement bind(String sql, Object... args) throws SQLException {
		PreparedStatement s = conn.prepareStatement(sql);
		for (int i = 0; i < args.length; i++) s.setObject(i + 1, args[i]);
		return s;
	}

	void execute(String sql, Object... args) throws SQLException {
		try (PreparedStatement s = bind(sql, args)) {
			s.execute();
		}
	}

	List<List<Object>> rows(String sql, Object... args) throws SQLException {
		try (PreparedStatement s = bind(sql, args); ResultSet r = s.executeQuery()) {
			List<List<Object>> all = new ArrayList<>();
			while (r.next()) {
				List<Object> row = new ArrayList<>();
				for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) row.add(r.getObject(i));
				all.add(row);
			}
			return all;
		}
	}

	Object one(String sql, Object... args) throws SQLException {
		return rows(sql, args).get(0).get(0);
	}

	// views reads each view that there is, with types.
	void views() throws SQLException {
		List<String> views = rows("SHOW HELP").stream().map(r -> (String) r.get(0)).filter(n -> n.startsWith("SHOW ")).toList();
		equal("there are views", views.size() >= 37, true);
		for (String view : views) {
			where = view;
			try (Statement s = conn.createStatement(); ResultSet r = s.executeQuery(view)) {
				ResultSetMetaData meta = r.getMetaData();
				int n = meta.getColumnCount();
				for (int i = 1; i <= n; i++) {
					equal("type of " + meta.getColumnLabel(i), meta.getColumnType(i), CODES.get(meta.getColumnTypeName(i)));
					equal("class of " + meta.getColumnLabel(i), meta.getColumnClassName(i), TYPES.get(meta.getColumnTypeName(i)).getName());
					equal("column of no table", meta.getTableName(i), "");
				}
				while (r.next()) {
					for (int i = 1; i <= n; i++) {
						Object v = r.getObject(i);
						equal("wasNull", r.wasNull(), v == null);
						if (v == null) continue;
						equal(meta.getColumnLabel(i), v.getClass(), TYPES.get(meta.getColumnTypeName(i)));
						if (v instanceof Timestamp) equal("year", r.getObject(i, OffsetDateTime.class).getYear() >= 2026, true);
					}
				}
			}
		}
	}

	void filters() throws SQLException {
		where = "filters";
		String clause = " WHERE application_name = ? AND database = ? AND id > ? ORDER BY id LIMIT ?";
		for (String sql : new String[] {"SHOW CLIENTS application_name, state, port" + clause, "SELECT application_name, state, port FROM clients" + clause}) {
			for (int i = 0; i < 12; i++) { // pgjdbc prepares on the fifth use
				List<List<Object>> got = rows(sql, KNOWN, database, 0L, 10);
				equal("clients", got.stream().map(r -> r.get(0) + " " + r.get(1)).toList(), Collections.nCopies(KNOWN_CLIENTS, KNOWN + " idle"));
				equal("port", got.isEmpty() ? null : got.get(0).get(2).getClass(), Integer.class);
			}
		}
		equal("a text against a number", rows("SHOW CLIENTS id WHERE port > ? AND application_name = ?", 1, KNOWN).size(), KNOWN_CLIENTS);
		equal("a number with a fraction", rows("SHOW CLIENTS id WHERE connected_seconds < ? AND application_name LIKE ?", 3600.5, "kno%").size(), KNOWN_CLIENTS);
		equal("a boolean", rows("SHOW DATABASES name WHERE fallback = ? AND name = ?", true, database).size(), 1);
		equal("a time", rows("SHOW POOLS \"user\" WHERE most_servers_at < ? AND database = ?", OffsetDateTime.now().plusHours(1), database).size(), 1);
		equal("NULL", rows("SHOW CLIENTS id WHERE pinned IS NULL AND application_name = ?", KNOWN).size(), KNOWN_CLIENTS);
		equal("logins", ((BigDecimal) one("SHOW STATS total_client_login_count WHERE database = ?", database)).intValueExact(), KNOWN_CLIENTS);
	}

	void errors() throws SQLException {
		where = "errors";
		fails("42P01", "SHOW NOTHING");
		fails("42703", "SHOW CLIENTS nothing");
		fails("42601", "SHOW CLIENTS WHERE");
		fails("42601", "INSERT INTO clients VALUES (1)");
		fails("3D000", "ALTER POOL nothing SET maxsize = 3");
		fails("42704", "KILL_CLIENT 4000000000");
		equal("after errors", one("SHOW STATE value WHERE key = ?", "active"), "yes");
	}

	void commands() throws SQLException {
		where = "commands";
		try (Statement s = conn.createStatement()) {
			equal("RELOAD has rows", s.execute("RELOAD"), false);
			equal("rows of RELOAD", s.getUpdateCount(), 0);
			s.execute("PAUSE " + database);
			equal("paused", one("SHOW DATABASES paused WHERE name = ?", database), 1);
			s.execute("RESUME " + database);
			s.execute("START POOL " + database);
			equal("notice", s.getWarnings() == null ? null : s.getWarnings().getMessage(), "it was not stopped");
		}
		try (Statement s = conn.createStatement(); ResultSet r = s.executeQuery("KILL IDLE APPLICATION " + KNOWN + " DRY RUN")) {
			List<String> idle = new ArrayList<>();
			while (r.next()) idle.add(r.getString("database") + " " + r.getString("application_name") + " " + r.getBoolean("killed"));
			equal("KILL IDLE", idle, Collections.nCopies(KNOWN_CLIENTS, database + " " + KNOWN + " false"));
		}
		execute("SET query_wait_notify = '7s'");
		equal("SET", one("SHOW CONFIG value WHERE key = 'query_wait_notify'"), "7s");
		execute("RELOAD");
	}

	// session is what applications and pools of theirs do with any connection.
	void session() throws SQLException {
		where = "session";
		equal("isValid", conn.isValid(5), true);
		conn.setAutoCommit(false);
		try (PreparedStatement s = bind("SHOW LISTS")) {
			s.setFetchSize(3);
			int n = 0;
			for (ResultSet r = s.executeQuery(); r.next();) n++;
			equal("rows by a cursor", n, 14);
		}
		fails("42P01", "SHOW NOTHING");
		equal("after a rollback", one("SHOW STATE value WHERE key = 'active'"), "yes");
		conn.commit();
		conn.setAutoCommit(true);
		conn.setReadOnly(true);
		conn.setReadOnly(false);
		conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
		conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
		equal("getTransactionIsolation", conn.getTransactionIsolation(), Connection.TRANSACTION_READ_COMMITTED);
		conn.setClientInfo("ApplicationName", "renamed");
		equal("application_name", one("SELECT current_setting('application_name')"), "renamed");
		equal("getSchema", conn.getSchema(), "public");
		equal("getCatalog", conn.getCatalog(), where(conn));
		equal("SELECT 1", one("SELECT 1"), 1);
	}

	static String where(Connection conn) throws SQLException {
		String url = conn.getMetaData().getURL();
		return url.substring(url.lastIndexOf('/') + 1).split("\\?")[0];
	}

	// catalog is what the console has not: an error that says so, and the connection lives.
	void catalog() throws SQLException {
		where = "DatabaseMetaData";
		DatabaseMetaData meta = conn.getMetaData();
		equal("product", meta.getDatabaseProductName(), "PostgreSQL");
		equal("major version", meta.getDatabaseMajorVersion() >= 12, true);
		equal("user", meta.getUserName(), System.getenv("PGUSER"));
		// Each asks pg_catalog in SQL of its own; what the console finds first in it differs.
		Map<String, String> faults = Map.of("getTables", "0A000", "getColumns", "42601", "getSchemas", "42P01");
		for (String of : faults.keySet()) {
			String got = "no error";
			try (ResultSet r = switch (of) {
				case "getTables" -> meta.getTables(null, null, "%", null);
				case "getColumns" -> meta.getColumns(null, null, "clients", "%");
				default -> meta.getSchemas();
			}) {
				r.next();
			} catch (SQLException e) {
				got = e.getSQLState();
			}
			equal(of, got, faults.get(of));
		}
		equal("after it", one("SHOW STATE value WHERE key = 'active'"), "yes");
	}

	void run() {
		try {
			List<Connection> known = new ArrayList<>();
			for (int i = 0; i < KNOWN_CLIENTS; i++) known.add(connect(database, KNOWN, "assumeMinServerVersion=12"));
			for (String options : OPTIONS) {
				for (String name : new String[] {"pooler", "pgbouncer"}) {
					where = "connect with " + options;
					conn = connect(name, "console", options);
					views();
					filters();
					errors();
					commands();
					session();
					catalog();
					conn.close();
				}
			}
			for (Connection c : known) c.close();
		} catch (Throwable e) {
			StackTraceElement at = Arrays.stream(e.getStackTrace()).filter(f -> f.getClassName().equals("ConsoleCheck")).findFirst().orElse(null);
			failures.add(where + ": " + e + " at " + at);
		}
	}

	public static void main(String[] args) throws Exception {
		TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
		String driver = "console_jdbc " + org.postgresql.util.DriverInfo.DRIVER_VERSION;
		long began = System.nanoTime();
		ConsoleCheck check = new ConsoleCheck();
		check.run();
		String outcome = "%s clients=1 rounds=1 checks=%d seconds=%.1f".formatted(driver, check.checks, (System.nanoTime() - began) / 1e9);
		System.out.println(check.failures.isEmpty() ? "ok " + outcome : "FAILED " + outcome + " failures=" + check.failures.size());
		check.failures.stream().limit(FAILURES_SHOWN).forEach(f -> System.out.println("  " + f.substring(0, Math.min(f.length(), 600))));
		System.exit(check.failures.isEmpty() ? 0 : 1);
	}
}
