"""Checks psycopg2: transactions by themselves and autocommit, named cursors, COPY, LISTEN, session
characteristics, SQL PREPARE, cancel. It connects by the PG* variables."""

import contextlib
import io
import threading

import psycopg2
import psycopg2.extensions
import psycopg2.extras

import check

psycopg2.extensions.register_adapter(dict, psycopg2.extras.Json)
ITEM = ["client", "t", "n", "ts", "b", "a", "ta", "j", "f", "ok"]
PARTS = 3  # connections of each client, one after the other


def run(client):
    for part in range(PARTS):
        client.where = f"connection {part}"
        session = Session(client)
        with contextlib.closing(session.conn):  # also when a check fails: others wait for the server session
            for round in client.rounds_of(part, PARTS):
                client.where = f"round {round}"
                session.round(round)
            client.where = f"DISCARD ALL of connection {part}"
            session.bye()


class Session:
    """One connection of a client. want is the state that the client has given it."""

    def __init__(self, client):
        self.client = client
        self.want = self.start = ("start", "UTC", "sa, public", f"client {client.id}", "sa")
        self.conn = psycopg2.connect(
            "",
            application_name="start",
            options=f"-c timezone=UTC -c search_path=sa,\\ public -c drivers.me=client\\ {client.id}",
        )
        self.conn.autocommit = True

    def round(self, round):
        """Does what every round does, and each tenth time one of the rest."""
        self.state()
        self.item(round)
        self.transactions(round)
        self.errors()
        rest = [
            self.characteristics, self.copy, self.set, self.sequence, self.listen,
            self.temp_table, self.role, self.sql_prepare, self.cursors, self.advisory_lock,
        ]  # fmt: skip
        rest[round % len(rest)](round)
        if round in (3, 37):
            self.cancel()
        self.state()

    def execute(self, sql, *args):
        cursor = self.conn.cursor()
        cursor.execute(sql, args or None)
        return cursor

    def one(self, sql, *args):
        """Reads a statement's only value."""
        return self.execute(sql, *args).fetchone()[0]

    def equal(self, what, got, want):
        self.client.equal(what, got, want)

    def fails(self, code, sql, *args):
        self.client.fails(code, sql, lambda: self.execute(sql, *args))

    def state(self):
        got = self.execute(
            """SELECT current_setting('application_name'), current_setting('TimeZone'),
            current_setting('search_path'), current_setting('drivers.me'), (SELECT name FROM who)"""
        ).fetchone()
        self.equal("state", got, self.want)

    def item(self, round):
        item = check.item(self.client.id, round)
        places = ", ".join(["%s"] * len(ITEM))
        id = self.one(f"INSERT INTO public.items ({', '.join(ITEM)}) VALUES ({places}) RETURNING id", *item.values())
        got = self.execute(f"SELECT {', '.join(ITEM)} FROM public.items WHERE id = %s", id).fetchone()
        got = {name: bytes(v) if isinstance(v, memoryview) else v for name, v in zip(ITEM, got)}
        self.equal("item", got, item)

    def transactions(self, round):
        """psycopg2 begins a transaction by itself, in front of the first statement."""

        def count():
            return self.one("SELECT count(*) FROM ledger WHERE client = %s AND round = %s", self.client.id, round)

        before = count()
        self.conn.autocommit = False
        for end in (self.conn.commit, self.conn.rollback):
            self.execute("SET LOCAL drivers.local = 'inside'")
            self.execute("INSERT INTO ledger VALUES (%s, %s, %s)", self.client.id, round, "kept?")
            self.equal("SET LOCAL inside", self.one("SELECT current_setting('drivers.local')"), "inside")
            end()
            self.equal("rows after the transaction", count(), before + 1)
            local = self.one("SELECT coalesce(current_setting('drivers.local', true), '')")
            self.equal("SET LOCAL after the transaction", local, "")
            self.conn.rollback()
        self.conn.autocommit = True

    def errors(self):
        self.fails("22012", "SELECT 1 / %s", 0)
        self.fails("42P01", "SELECT * FROM no_such_table")
        self.conn.autocommit = False
        self.fails("22012", "SELECT 1 / %s", 0)
        self.fails("25P02", "SELECT 1")
        self.conn.rollback()
        self.conn.autocommit = True
        self.equal("after errors", self.one("SELECT %s", "going on"), "going on")

    def characteristics(self, round):
        """set_session sends SET default_transaction_… when autocommit is on."""
        self.conn.set_session(isolation_level="SERIALIZABLE", readonly=True)
        self.state()
        self.equal("isolation", self.one("SHOW transaction_isolation"), "serializable")
        self.fails("25006", "INSERT INTO ledger VALUES (0, 0, 'read only')")
        self.conn.set_session(isolation_level="DEFAULT", readonly="DEFAULT")
        self.equal("isolation", self.one("SHOW transaction_isolation"), "read committed")
        self.conn.set_client_encoding("LATIN1")
        self.equal("client encoding", self.one("SELECT 'é' || current_setting('client_encoding')"), "éLATIN1")
        self.conn.set_client_encoding("UTF8")

    def set(self, round):
        self.want = (f"app {round}", "Asia/Tokyo", "sb, public", f"me '{self.client.id}/{round}", "sb")
        self.execute("SET application_name = %s", self.want[0])
        self.execute("SET search_path TO sb, public; SET TIME ZONE 'Asia/Tokyo'")
        self.one("SELECT set_config('drivers.me', %s, false)", self.want[3])
        stamp = self.one("SELECT '2001-02-03 00:00:00+00'::timestamptz::text")
        self.equal("time zone in use", stamp, "2001-02-03 09:00:00+09")
        self.equal("ParameterStatus of TimeZone", self.conn.get_parameter_status("TimeZone"), "Asia/Tokyo")

    def sequence(self, round):
        next = self.one("SELECT nextval('public.numbers')")
        self.state()
        self.equal("currval", self.one("SELECT currval('public.numbers')"), next)

    def temp_table(self, round):
        self.execute("CREATE TEMPORARY TABLE mine (x int)")
        psycopg2.extras.execute_values(self.conn.cursor(), "INSERT INTO mine VALUES %s", [(i,) for i in range(200)])
        psycopg2.extras.execute_batch(self.conn.cursor(), "INSERT INTO mine VALUES (%s)", [(i,) for i in range(200)])
        self.equal("rows of the temporary table", self.one("SELECT count(*) FROM mine"), 400)
        self.execute("DROP TABLE mine")
        self.fails("42P01", "SELECT * FROM mine")

    def advisory_lock(self, round):
        self.equal("lock", self.one("SELECT pg_try_advisory_lock(%s)", self.client.id), True)
        self.state()
        self.equal("unlock", self.one("SELECT pg_advisory_unlock(%s)", self.client.id), True)

    def role(self, round):
        self.execute("SET ROLE drivers_role")
        self.equal("role", self.one("SELECT current_user"), "drivers_role")
        self.fails("42501", "INSERT INTO ledger VALUES (0, 0, '')")
        self.execute("RESET ROLE")
        self.equal("role", self.one("SELECT current_user"), "drivers")

    def sql_prepare(self, round):
        """Uses one name in all clients, with another meaning in each."""
        self.execute(f"PREPARE mine (int) AS SELECT $1 + {self.client.id * 1000}")
        self.state()
        self.equal("EXECUTE", self.one("EXECUTE mine(%s)", round), self.client.id * 1000 + round)
        self.execute("DEALLOCATE mine")
        self.fails("26000", "EXECUTE mine(1)")

    def cursors(self, round):
        self.conn.autocommit = False
        with self.conn, self.conn.cursor("inside", scrollable=True) as cursor:
            cursor.itersize = 30
            cursor.execute("SELECT generate_series(1, %s)", [100])
            self.equal("rows of a named cursor", [row[0] for row in cursor], list(range(1, 101)))
            cursor.scroll(9, mode="absolute")
            self.equal("row after scroll", cursor.fetchone(), (10,))
        self.conn.autocommit = True
        with self.conn.cursor("held", withhold=True) as cursor:
            cursor.execute("SELECT generate_series(1, 10)")
            self.equal("rows of a WITH HOLD cursor", cursor.fetchmany(3), [(1,), (2,), (3,)])
            self.state()
            self.equal("rows of a WITH HOLD cursor", cursor.fetchone(), (4,))

    def copy(self, round):
        key = 1000 + round
        lines = "".join(f"{self.client.id}\t{key}\ttab\\t\\\\ line\\n{i:03d}\n" for i in range(200))
        self.conn.cursor().copy_from(io.StringIO(lines), "ledger")
        out = io.StringIO()
        query = f"SELECT * FROM ledger WHERE client = {self.client.id} AND round = {key} ORDER BY what"
        self.conn.cursor().copy_expert(f"COPY ({query}) TO STDOUT", out)
        self.equal("lines copied out", out.getvalue(), lines)

    def listen(self, round):
        """Tells itself: another client may be kept waiting for a server session."""
        channel, message = f"channel_{self.client.id}", f"message of round {round}"
        self.execute(f"LISTEN {channel}")
        self.execute("SELECT pg_notify(%s, %s)", channel, message)
        self.conn.poll()
        got = [(notify.channel, notify.payload) for notify in self.conn.notifies]
        self.conn.notifies.clear()
        self.equal("notification", got, [(channel, message)])
        self.execute("UNLISTEN *")

    def cancel(self):
        timer = threading.Timer(0.2, self.conn.cancel)
        timer.start()
        self.fails("57014", "SELECT pg_sleep(8)")
        timer.join()
        self.equal("after the cancel", self.one("SELECT 7"), 7)

    def bye(self):
        """conn.reset sends RESET ALL and SET SESSION AUTHORIZATION DEFAULT."""
        self.conn.reset()
        self.conn.autocommit = True
        self.want = self.start
        self.state()
        self.execute("DISCARD ALL")
        self.state()


check.main(f"psycopg2 {psycopg2.__version__.split()[0]}", run)
