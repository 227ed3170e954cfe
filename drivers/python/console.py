"""What every Python driver checks of the admin console, which it gets through its own connections."""

import datetime
import decimal

# What a value of each type must be in Python. NULL is None in all of them.
TYPES = {
    23: int,  # int4
    20: int,  # int8
    25: str,
    701: float,
    16: bool,
    1700: decimal.Decimal,
    1184: datetime.datetime,
}
KNOWN = "known"  # application_name of the clients whose number is known
KNOWN_CLIENTS = 3


class Console:
    """One connection to the console. query(sql, args) returns [(name, OID)] and rows."""

    def __init__(self, client, query, database):
        self.client = client
        self.equal = client.equal
        self.query = query
        self.database = database

    def all(self):
        self.views()
        self.filters()
        self.errors()
        self.commands()

    def views(self):
        """Reads each view that there is, with types."""
        _, helps = self.query("SHOW HELP", None)
        views = [name for name, _, _ in helps if name.startswith("SHOW ")]
        self.equal("there are views", len(views) >= 37, True)
        for view in views:
            self.client.where = view
            columns, rows = self.query(view, None)
            self.equal("columns have types that are known", [c for c in columns if c[1] not in TYPES], [])
            wrong = [
                (name, value)
                for row in rows
                for (name, oid), value in zip(columns, row)
                if value is not None and (type(value) is not TYPES.get(oid) or isinstance(value, str) and "\t" in value)
            ]
            self.equal("values are of their types", wrong, [])

    def one(self, sql, args=None):
        rows = self.query(sql, args)[1]
        return rows[0][0] if rows else None

    def filters(self):
        self.client.where = "filters"
        names = ["id", "application_name", "state"]
        where = "WHERE application_name = %s AND database = %s ORDER BY id DESC"
        for sql in (f"SHOW CLIENTS id, application_name, state {where}", f"SELECT id, application_name, state FROM clients {where}"):
            for _ in range(7):  # drivers prepare what comes often
                columns, rows = self.query(sql, (KNOWN, self.database))
                self.equal("columns", [name for name, _ in columns], names)
                self.equal("clients", [row[1:] for row in rows], [(KNOWN, "idle")] * KNOWN_CLIENTS)
                self.equal("order", sorted(rows, reverse=True), rows)
        self.equal("LIMIT", len(self.query("SHOW LISTS LIMIT %s", (3,))[1]), 3)
        self.equal("a number", len(self.query("SHOW CLIENTS id WHERE id > %s AND application_name LIKE 'kno%%'", (0,))[1]), KNOWN_CLIENTS)
        self.equal("a time", len(self.query("SHOW CLIENTS id WHERE activity_seconds < %s AND application_name = %s", (3600.5, KNOWN))[1]), KNOWN_CLIENTS)
        self.equal("nothing", self.query("SHOW CLIENTS id WHERE application_name = %s", ("nobody's",))[1], [])
        logins = self.one("SHOW STATS total_client_login_count WHERE database = %s", (self.database,))
        self.equal("logins", logins, KNOWN_CLIENTS)

    def errors(self):
        self.client.where = "errors"
        for code, sql in (
            ("42P01", "SHOW NOTHING"),
            ("42703", "SHOW CLIENTS nothing"),
            ("42601", "SHOW CLIENTS WHERE"),
            ("42601", "INSERT INTO clients VALUES (1)"),
            ("3D000", "ALTER POOL nothing SET maxsize = 3"),
            ("42704", "KILL_CLIENT 4000000000"),
        ):
            self.client.fails(code, sql, lambda sql=sql: self.query(sql, None))
        self.equal("after errors", self.one("SHOW STATE value WHERE key = 'active'"), "yes")

    def commands(self):
        self.client.where = "commands"
        self.query("RELOAD", None)
        self.query(f"PAUSE {self.database}", None)
        self.equal("paused", self.one("SHOW DATABASES paused WHERE name = %s", (self.database,)), 1)
        self.query(f"RESUME {self.database}", None)
        self.query("SET query_wait_notify = '7s'", None)
        self.equal("SET", self.one("SHOW CONFIG value WHERE key = 'query_wait_notify'"), "7s")
        columns, rows = self.query(f"KILL IDLE APPLICATION {KNOWN} DRY RUN", None)
        rows = [dict(zip([name for name, _ in columns], row)) for row in rows]
        self.equal("KILL IDLE", [(row["database"], row["application_name"], row["killed"]) for row in rows], [(self.database, KNOWN, False)] * KNOWN_CLIENTS)
