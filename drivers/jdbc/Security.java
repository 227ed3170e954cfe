// Answers attempts to log in, for drivers/security: each line of stdin is one, name=value separated by tabs, and each
// answer is a line of JSON. Run as it stands: java -cp postgresql.jar Security.java

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.*;
import java.util.*;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

public class Security {
	static final String TIME_LIMIT = "15"; // seconds
	static final Logger DRIVER = Logger.getLogger("org.postgresql"); // the field keeps it and its level

	public static void main(String[] args) throws Exception {
		Locale.setDefault(Locale.ROOT);
		DRIVER.setLevel(Level.OFF);
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
		for (String line; (line = in.readLine()) != null;) {
			Map<String, String> attempt = new HashMap<>();
			for (String field : line.split("\t")) {
				int at = field.indexOf('=');
				attempt.put(field.substring(0, at), field.substring(at + 1));
			}
			System.out.println(answer(attempt));
		}
	}

	static String answer(Map<String, String> a) {
		String url = "jdbc:postgresql://" + a.get("host") + ":" + a.get("port") + "/" + a.get("database");
		try (Connection conn = DriverManager.getConnection(url, properties(a)); Statement s = conn.createStatement(); ResultSet rows = s.executeQuery(a.get("query"))) {
			rows.next();
			return "{\"ok\": true, \"who\": " + quoted(rows.getString(1)) + "}";
		} catch (SQLException e) {
			return refused(e);
		}
	}

	static Properties properties(Map<String, String> a) {
		Properties p = new Properties();
		p.setProperty("user", a.get("user"));
		p.setProperty("password", a.get("password"));
		p.setProperty("sslmode", a.get("sslmode"));
		p.setProperty("sslrootcert", a.get("root"));
		p.setProperty("connectTimeout", TIME_LIMIT);
		p.setProperty("socketTimeout", TIME_LIMIT);
		// Without a file it takes the one in the user's home directory, if there is one.
		p.setProperty("sslcert", a.get("cert"));
		p.setProperty("sslkey", a.get("pk8"));
		return p;
	}

	static String refused(SQLException e) {
		ServerErrorMessage server = e instanceof PSQLException ? ((PSQLException) e).getServerErrorMessage() : null;
		String code = server == null ? "" : server.getSQLState();
		String message = server == null ? e.getMessage() : server.getSeverity() + ": " + server.getMessage();
		return "{\"ok\": false, \"code\": " + quoted(code) + ", \"message\": " + quoted(message) + "}";
	}

	static String quoted(String s) {
		StringBuilder b = new StringBuilder("\"");
		for (char c : s.toCharArray()) {
			if (c == '"' || c == '\\') b.append('\\').append(c);
			else if (c < ' ') b.append(String.format("\\u%04x", (int) c));
			else b.append(c);
		}
		return b.append('"').toString();
	}
}
