// Checks pgjdbc: server-side prepared statements at once, after 5 uses and never, cursors by fetch
// size, batches, session characteristics, COPY, LISTEN, cancel. It connects by the PG* variables.
// Run as it stands: java -cp postgresql.jar JdbcCheck.java [CLIENTS [ROUNDS]]

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class JdbcCheck {
	static final int FAILURES_SHOWN = 5;
	static final int TIME_LIMIT = 40; // seconds; a client that hangs must not hang the caller
	static final String[] OPTIONS = {
		"prepareThreshold=1&defaultRowFetchSize=20", "reWriteBatchedInserts=true", "preferQueryMode=simple", "prepareThreshold=0&autosave=always&assumeMinServerVersion=12",
	};

	final int id;
	int checks;
	String where = "";
	final List<String> failures = new ArrayList<>();
	Connection conn;
	String[] start, want; // the state that the client has given its connection
	boolean simple, autosave;

	JdbcCheck(int id) {
		this.id = id;
	}

	// run takes a new connection for each set of options; clients begin with different ones.
	void run(int rounds) {
		try {
			for (int part = 0; part < OPTIONS.length; part++) {
				String options = OPTIONS[(id + part) % OPTIONS.length];
				where = "connect with " + options;
				connect(options);
				for (int round = rounds * part / OPTIONS.length; round < rounds * (part + 1) / OPTIONS.length; round++) {
					where = "round " + round + ", " + options;
					round(round);
				}
				where = "DISCARD ALL, " + options;
				bye();
				close();
			}
		} catch (Throwable e) {
			StackTraceElement at = Arrays.stream(e.getStackTrace()).filter(f -> f.getClassName().equals("JdbcCheck")).findFirst().orElse(null);
			failures.add("client " + id + ", " + where + ": " + e + " at " + at);
			close(); // the others wait for the server session
		}
	}

	void close() {
		try {
			if (conn != null) conn.close();
		} catch (SQLException e) {
			failures.add("client " + id + ", close: " + e);
		}
	}

	void connect(String options) throws SQLException {
		String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE") + "?" + options;
		Properties p = new Properties();
		p.put("user", System.getenv("PGUSER"));
		p.put("ApplicationName", "start");
		p.put("currentSchema", "sa,public");
		p.put("options", "-c drivers.me=client\\ " + id);
		conn = DriverManager.getConnection(url, p);
		simple = options.contains("simple");
		autosave = options.contains("autosave");
		// pgjdbc sends the JVM's time zone, which main has set.
		want = new String[] {"start", "UTC", "sa,public", "client " + id, "sa"};
		// application_name is a SET behind the login, unless pgjdbc may assume a recent server.
		start = want.clone();
		if (!options.contains("assumeMin")) start[0] = "";
	}

	// round does what every round does, and each tenth time one of the rest.
	void round(int round) throws Exception {
		state();
		item(round);
		transactions(round);
		errors();
		switch (round % 10) {
			case 0 -> batch(round);
			case 1 -> copy(round);
			case 2 -> set(round);
			case 3 -> sequence();
			case 4 -> listen(round);
			case 5 -> tempTable(round);
			case 6 -> role();
			case 7 -> sqlPrepare(round);
			case 8 -> cursor();
			default -> characteristics();
		}
		if (round == 3 || round == 37) cancel();
		state();
	}

	void equal(String what, Object got, Object want) {
		checks++;
		if (!Objects.deepEquals(got, want)) {
			Object[] pair = {got, want};
			failures.add("client " + id + ", " + where + ": " + what + ": [got, expected] " + Arrays.deepToString(pair));
		}
	}

	void fails(String code, String sql, Object... args) {
		String got = "no error";
		try {
			execute(sql, args);
		} catch (SQLException e) {
			got = e.getSQLState();
		}
		equal("SQLSTATE of " + sql, got, code);
	}

	void execute(String sql, Object... args) throws SQLException {
		try (PreparedStatement s = bind(sql, args)) {
			s.execute();
		}
	}

	// one reads a statement's only value.
	Object one(String sql, Object... args) throws SQLException {
		try (PreparedStatement s = bind(sql, args); ResultSet rows = s.executeQuery()) {
			rows.next();
			return rows.getObject(1);
		}
	}

	PreparedStatement bind(String sql, Object... args) throws SQLException {
		PreparedStatement s = conn.prepareStatement(sql);
		for (int i = 0; i < args.length; i++) s.setObject(i + 1, args[i]);
		return s;
	}

	void state() throws SQLException {
		try (PreparedStatement s = bind("SELECT current_setting('application_name'), current_setting('TimeZone'), "
				+ "current_setting('search_path'), current_setting('drivers.me'), (SELECT name FROM who)"); ResultSet row = s.executeQuery()) {
			row.next();
			String[] got = new String[5];
			for (int i = 0; i < got.length; i++) got[i] = row.getString(i + 1);
			equal("state", got, want);
		}
	}

	void item(int round) throws SQLException {
		boolean nulls = round % 3 == 2;
		byte[] bytes = new byte[256];
		for (int i = 0; i < bytes.length; i++) bytes[i] = (byte) (i + id + round);
		Object[] item = {
			id,
			nulls ? null : "O'Brien \"x\" \\ ? ; -- " + id + "/" + round + "\nüñ→漢字🐘",
			nulls ? null : new BigDecimal("-12345678901234567890.%04d5".formatted(id * 100 + round)),
			nulls ? null : OffsetDateTime.of(2001, 2, 3, id, round, 6, 789012000, ZoneOffset.UTC),
			nulls || simple ? null : bytes, // in simple mode pgjdbc cannot send bytes
			new Integer[] {id, -round, 2147483647, null},
			new String[] {"", "a,b", "\"quoted\" \\ 'single'", "{}", "NULL", null, "ünï→🐘 " + id + "/" + round},
			nulls ? null : "{\"round\": " + round + ", \"client\": \"" + id + " é'\"}",
			id * 1e10 + round / 3.0,
			round % 2 == 0,
		};
		Object key;
		try (PreparedStatement s = conn.prepareStatement("INSERT INTO public.items (client, t, n, ts, b, a, ta, j, f, ok) "
				+ "VALUES (?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?, ?)", Statement.RETURN_GENERATED_KEYS)) {
			int[] types = {Types.INTEGER, Types.VARCHAR, Types.NUMERIC, Types.TIMESTAMP_WITH_TIMEZONE, Types.BINARY, Types.ARRAY, Types.ARRAY,
				Types.VARCHAR, Types.DOUBLE, Types.BOOLEAN};
			for (int i = 0; i < item.length; i++) {
				if (item[i] == null) s.setNull(i + 1, types[i]);
				else if (types[i] == Types.ARRAY) s.setArray(i + 1, conn.createArrayOf(i == 5 ? "int4" : "text", (Object[]) item[i]));
				else s.setObject(i + 1, item[i]);
			}
			equal("rows inserted", s.executeUpdate(), 1);
			ResultSet keys = s.getGeneratedKeys();
			keys.next();
			key = keys.getLong("id");
		}
		try (PreparedStatement s = bind("SELECT client, t, n, ts, b, a, ta, j::text, f, ok FROM public.items WHERE id = ?", key); ResultSet row = s.executeQuery()) {
			row.next();
			Object[] got = new Object[item.length];
			for (int i = 0; i < got.length; i++) got[i] = i == 3 ? row.getObject(4, OffsetDateTime.class) : row.getObject(i + 1);
			got[5] = ((Array) got[5]).getArray();
			got[6] = ((Array) got[6]).getArray();
			equal("item", got, item);
		}
	}

	void transactions(int round) throws SQLException {
		String count = "SELECT count(*) FROM ledger WHERE client = ? AND round = ?";
		long before = (Long) one(count, id, round);
		for (boolean commit : new boolean[] {true, false}) {
			conn.setAutoCommit(false);
			execute("SET LOCAL drivers.local = 'inside'");
			execute("INSERT INTO ledger VALUES (?, ?, ?)", id, round, "kept?");
			Savepoint savepoint = conn.setSavepoint();
			execute("DELETE FROM ledger WHERE client = ?", id);
			conn.rollback(savepoint);
			equal("SET LOCAL inside", one("SELECT current_setting('drivers.local')"), "inside");
			if (commit) conn.commit();
			else conn.rollback();
			conn.setAutoCommit(true);
			equal("rows after the transaction", one(count, id, round), before + 1);
			equal("SET LOCAL after the transaction", one("SELECT coalesce(current_setting('drivers.local', true), '')"), "");
		}
	}

	void errors() throws SQLException {
		fails("22012", "SELECT 1 / ?", 0);
		fails("42P01", "SELECT * FROM no_such_table");
		conn.setAutoCommit(false);
		fails("22012", "SELECT 1 / ?", 0);
		if (!autosave) fails("25P02", "SELECT 1");
		conn.rollback();
		conn.setAutoCommit(true);
		equal("after errors", one("SELECT ?::text", "going on"), "going on");
	}

	// characteristics are session state: SET SESSION CHARACTERISTICS AS TRANSACTION …
	void characteristics() throws SQLException {
		conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
		conn.setReadOnly(true);
		state();
		equal("isolation", one("SHOW transaction_isolation"), "serializable");
		conn.setAutoCommit(false);
		fails("25006", "INSERT INTO ledger VALUES (0, 0, 'read only')");
		conn.rollback();
		conn.setAutoCommit(true);
		conn.setReadOnly(false);
		conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
		equal("isolation", one("SHOW transaction_isolation"), "read committed");
		equal("getTransactionIsolation", conn.getTransactionIsolation(), Connection.TRANSACTION_READ_COMMITTED);
		execute("INSERT INTO ledger VALUES (?, -1, 'written again')", id);
	}

	void set(int round) throws SQLException {
		want = new String[] {"app " + id + "/" + round, "Asia/Tokyo", "sb", "me '" + id + "/" + round, "sb"};
		conn.setClientInfo("ApplicationName", want[0]);
		conn.setSchema("sb");
		execute("SET TIME ZONE 'Asia/Tokyo'");
		one("SELECT set_config('drivers.me', ?, false)", want[3]);
		state();
		equal("time zone in use", one("SELECT '2001-02-03 00:00:00+00'::timestamptz::text"), "2001-02-03 09:00:00+09");
		equal("getSchema", conn.getSchema(), "sb");
		conn.setSchema("sb"); // pgjdbc quotes what it is given, so two schemas need a SET
		execute("SET search_path TO sb, public");
		want[2] = "sb, public";
	}

	void sequence() throws SQLException {
		Object next = one("SELECT nextval('public.numbers')");
		state();
		equal("currval", one("SELECT currval('public.numbers')"), next);
	}

	void tempTable(int round) throws SQLException {
		execute("CREATE TEMPORARY TABLE mine (x int)");
		execute("INSERT INTO mine SELECT generate_series(1, ?)", round);
		equal("rows of the temporary table", one("SELECT count(*) FROM mine"), (long) round);
		execute("DROP TABLE mine");
		fails("42P01", "SELECT * FROM mine");
		equal("lock", one("SELECT pg_try_advisory_lock(?)", (long) id), true);
		state();
		equal("unlock", one("SELECT pg_advisory_unlock(?)", (long) id), true);
	}

	void role() throws SQLException {
		execute("SET ROLE drivers_role");
		equal("role", one("SELECT current_user::text"), "drivers_role");
		fails("42501", "INSERT INTO ledger VALUES (0, 0, '')");
		execute("RESET ROLE");
		equal("role", one("SELECT current_user::text"), "drivers");
	}

	// sqlPrepare uses one name in all clients, with another meaning in each.
	void sqlPrepare(int round) throws SQLException {
		execute("PREPARE mine (int) AS SELECT $1 + " + id * 1000);
		state();
		equal("EXECUTE", one("EXECUTE mine(" + round + ")"), id * 1000 + round);
		execute("DEALLOCATE mine");
		fails("26000", "EXECUTE mine(1)");
	}

	// cursor reads a portal in pieces of 30 rows, with other statements between them.
	void cursor() throws SQLException {
		conn.setAutoCommit(false);
		try (PreparedStatement s = bind("SELECT generate_series(1, ?)", 100)) {
			s.setFetchSize(30);
			ResultSet rows = s.executeQuery();
			int n = 0;
			while (rows.next()) {
				equal("row of a cursor", rows.getInt(1), ++n);
				if (n % 25 == 0) equal("between the rows", one("SELECT current_setting('drivers.me')"), want[3]);
			}
			equal("rows of a cursor", n, 100);
		}
		conn.commit();
		conn.setAutoCommit(true);
	}

	void batch(int round) throws SQLException {
		conn.setAutoCommit(false);
		try (PreparedStatement s = conn.prepareStatement("INSERT INTO ledger (client, round, what) VALUES (?, ?, ?)")) {
			for (int i = 0; i < 100; i++) {
				s.setInt(1, id);
				s.setInt(2, -100 - round);
				s.setString(3, "batch " + i);
				s.addBatch();
			}
			equal("answers of a batch", s.executeBatch().length, 100);
		}
		conn.commit();
		conn.setAutoCommit(true);
		equal("rows of a batch", one("SELECT count(DISTINCT what) FROM ledger WHERE client = ? AND round = ?", id, -100 - round), 100L);
		String got = "no error";
		try (PreparedStatement s = conn.prepareStatement("INSERT INTO ledger (client, round) VALUES (?, ?)")) {
			for (int i = 0; i < 10; i++) {
				s.setObject(1, i == 5 ? null : id, Types.INTEGER);
				s.setInt(2, -200 - round);
				s.addBatch();
			}
			s.executeBatch();
		} catch (BatchUpdateException e) {
			got = e.getSQLState();
		}
		equal("SQLSTATE of a failing batch", got, "23502");
	}

	void copy(int round) throws Exception {
		int key = 1000 + round;
		StringBuilder lines = new StringBuilder();
		for (int i = 0; i < 200; i++) lines.append("%d\t%d\ttab\\t\\\\ line\\n%03d\n".formatted(id, key, i));
		CopyManager copy = conn.unwrap(PGConnection.class).getCopyAPI();
		equal("rows copied in", copy.copyIn("COPY ledger FROM STDIN", new StringReader(lines.toString())), 200L);
		StringWriter out = new StringWriter();
		copy.copyOut("COPY (SELECT * FROM ledger WHERE client = " + id + " AND round = " + key + " ORDER BY what) TO STDOUT", out);
		equal("lines copied out", out.toString(), lines.toString());
	}

	// listen tells itself: another client may be kept waiting for a server session.
	void listen(int round) throws SQLException {
		execute("LISTEN channel_" + id);
		one("SELECT pg_notify(?, ?)::text", "channel_" + id, "message of round " + round);
		var got = conn.unwrap(PGConnection.class).getNotifications(5000);
		equal("notification", got == null ? null : got[0].getName() + " " + got[0].getParameter(), "channel_" + id + " message of round " + round);
		execute("UNLISTEN *");
	}

	void cancel() throws Exception {
		try (Statement s = conn.createStatement()) {
			var timer = CompletableFuture.runAsync(() -> {
				try {
					s.cancel();
				} catch (SQLException e) {
					failures.add("client " + id + ": cancel: " + e);
				}
			}, CompletableFuture.delayedExecutor(200, TimeUnit.MILLISECONDS));
			String got = "no error";
			try {
				s.execute("SELECT pg_sleep(8)");
			} catch (SQLException e) {
				got = e.getSQLState();
			}
			timer.join();
			equal("SQLSTATE of the cancelled statement", got, "57014");
		}
		equal("after the cancel", one("SELECT 7"), 7);
	}

	// bye discards everything, after which the start-up parameters are in force again. pgjdbc sees
	// DISCARD ALL and forgets its prepared statements by itself.
	void bye() throws SQLException {
		execute("DISCARD ALL");
		want = start;
		state();
	}

	public static void main(String[] args) throws Exception {
		TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
		int count = args.length > 0 ? Integer.parseInt(args[0]) : 20;
		int rounds = args.length > 1 ? Integer.parseInt(args[1]) : 50;
		String driver = "jdbc " + new org.postgresql.Driver().getMajorVersion() + "." + new org.postgresql.Driver().getMinorVersion() + "."
			+ org.postgresql.util.DriverInfo.PATCH_VERSION;
		long began = System.nanoTime();
		List<JdbcCheck> clients = new ArrayList<>();
		ExecutorService threads = Executors.newFixedThreadPool(count);
		for (int i = 0; i < count; i++) {
			JdbcCheck client = new JdbcCheck(i);
			clients.add(client);
			threads.submit(() -> client.run(rounds));
		}
		threads.shutdown();
		if (!threads.awaitTermination(TIME_LIMIT, TimeUnit.SECONDS)) {
			System.out.println("FAILED " + driver + ": not done after " + TIME_LIMIT + " s");
			clients.stream().limit(FAILURES_SHOWN).forEach(c -> System.out.println("  client " + c.id + " stands at " + c.where));
			System.exit(1);
		}
		List<String> failures = clients.stream().flatMap(c -> c.failures.stream()).toList();
		int checks = clients.stream().mapToInt(c -> c.checks).sum();
		double seconds = (System.nanoTime() - began) / 1e9;
		String outcome = "%s clients=%d rounds=%d checks=%d seconds=%.1f".formatted(driver, count, rounds, checks, seconds);
		System.out.println(failures.isEmpty() ? "ok " + outcome : "FAILED " + outcome + " failures=" + failures.size());
		failures.stream().limit(FAILURES_SHOWN).forEach(f -> System.out.println("  " + f.substring(0, Math.min(f.length(), 600))));
		System.exit(failures.isEmpty() ? 0 : 1);
	}
}
