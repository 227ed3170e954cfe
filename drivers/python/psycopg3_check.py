"""Checks psycopg 3: prepared statements at once, after 5 uses and never, pipelines, cursors on the
server, COPY, LISTEN, cancel. It connects by the PG* variables."""

import contextlib
import logging
import threading

import psycopg
from psycopg.types.json import Jsonb

import check

ITEM = ["client", "t", "n", "ts", "b", "a", "ta", "j", "f", "ok"]
THRESHOLDS = [0, 5, None]


def run(client):
    """Takes a new connection for each prepare_threshold; clients begin with different ones."""
    for part in range(len(THRESHOLDS)):
        threshold = THRESHOLDS[(client.id + part) % len(THRESHOLDS)]
        client.where = f"connect, prepare_threshold {threshold}"
        session = Session(client, threshold)
        with contextlib.closing(session.conn):  # also when a check fails: others wait for the server session
            for round in client.rounds_of(part, len(THRESHOLDS)):
                client.where = f"round {round}, prepare_threshold {threshold}"
                session.round(round)
            client.where = f"DISCARD ALL, prepare_threshold {threshold}"
            session.bye()


class Session:
    """One connection of a client. want is the state that the client has given it."""

    def __init__(self, client, threshold):
        self.client = client
        self.want = self.start = ("start", "UTC", "sa, public", f"client {client.id}", "sa")
        self.conn = psycopg.connect(
            application_name="start",
            options=f"-c timezone=UTC -c search_path=sa,\\ public -c drivers.me=client\\ {client.id}",
            autocommit=True,
            prepare_threshold=threshold,
        )

    def round(self, round):
        """Does what every round does, and each tenth time one of the rest."""
        self.state()
        self.item(round)
        self.transactions(round)
        self.errors()
        rest = [
            self.pipeline, self.copy, self.set, self.sequence, self.listen,
            self.temp_table, self.role, self.sql_prepare, self.cursors, self.advisory_lock,
        ]  # fmt: skip
        rest[round % len(rest)](round)
        if round in (3, 37):
            self.cancel()
        self.state()

    def one(self, sql, *args):
        """Reads a statement's only value."""
        return self.conn.execute(sql, args or None).fetchone()[0]

    def equal(self, what, got, want):
        self.client.equal(what, got, want)

    def fails(self, code, sql, *args):
        self.client.fails(code, sql, lambda: self.conn.execute(sql, args or None))

    def state(self):
        got = self.conn.execute(
            """SELECT current_setting('application_name'), current_setting('TimeZone'),
            current_setting('search_path'), current_setting('drivers.me'), (SELECT name FROM who)"""
        ).fetchone()
        self.equal("state", got, self.want)

    def item(self, round):
        """Inserts as text and reads as text one time, both in the binary format the next."""
        item = check.item(self.client.id, round)
        places = ", ".join("%b" if round % 2 and name != "j" else "%s" for name in ITEM)
        values = [Jsonb(v) if k == "j" and v is not None else v for k, v in item.items()]
        id = self.one(f"INSERT INTO public.items ({', '.join(ITEM)}) VALUES ({places}) RETURNING id", *values)
        cursor = self.conn.cursor(binary=bool(round % 2))
        got = cursor.execute(f"SELECT {', '.join(ITEM)} FROM public.items WHERE id = %s", [id]).fetchone()
        self.equal("item", dict(zip(ITEM, got)), item)

    def transactions(self, round):
        def count():
            return self.one("SELECT count(*) FROM ledger WHERE client = %s AND round = %s", self.client.id, round)

        before = count()
        for commit in (True, False):
            with self.conn.transaction(force_rollback=not commit):
                self.conn.execute("SET LOCAL drivers.local = 'inside'")
                with self.conn.transaction():  # a savepoint
                    self.conn.execute("INSERT INTO ledger VALUES (%s, %s, %s)", (self.client.id, round, "kept?"))
                self.equal("SET LOCAL inside", self.one("SELECT current_setting('drivers.local')"), "inside")
            self.equal("rows after the transaction", count(), before + 1)
            local = self.one("SELECT coalesce(current_setting('drivers.local', true), '')")
            self.equal("SET LOCAL after the transaction", local, "")

    def errors(self):
        self.fails("22012", "SELECT 1 / %s::int", 0)
        self.fails("42P01", "SELECT * FROM no_such_table")
        self.conn.execute("BEGIN")
        self.fails("22012", "SELECT 1 / %s::int", 0)
        self.fails("25P02", "SELECT 1")
        self.conn.execute("ROLLBACK")
        self.equal("after errors", self.one("SELECT %s::text", "going on"), "going on")

    def set(self, round):
        self.want = (f"app {round}", "Asia/Tokyo", "sb, public", f"me '{self.client.id}/{round}", "sb")
        self.conn.execute(f"SET application_name = 'app {round}'")
        self.conn.execute("SET search_path TO sb, public; SET TIME ZONE 'Asia/Tokyo'", prepare=False)
        self.one("SELECT set_config('drivers.me', %s, false)", self.want[3])
        stamp = self.one("SELECT '2001-02-03 00:00:00+00'::timestamptz::text")
        self.equal("time zone in use", stamp, "2001-02-03 09:00:00+09")
        self.equal("ParameterStatus of TimeZone", self.conn.info.timezone.key, "Asia/Tokyo")

    def sequence(self, round):
        next = self.one("SELECT nextval('public.numbers')")
        self.state()
        self.equal("currval", self.one("SELECT currval('public.numbers')"), next)

    def temp_table(self, round):
        self.conn.execute("CREATE TEMPORARY TABLE mine (x int)")
        with self.conn.cursor() as cursor:
            cursor.executemany("INSERT INTO mine VALUES (%s) RETURNING x", [[i] for i in range(20)], returning=True)
            self.equal("first row of executemany", cursor.fetchone(), (0,))
        self.equal("rows of the temporary table", self.one("SELECT count(*) FROM mine"), 20)
        self.conn.execute("DROP TABLE mine")
        self.fails("42P01", "SELECT * FROM mine")

    def advisory_lock(self, round):
        self.equal("lock", self.one("SELECT pg_try_advisory_lock(%s)", self.client.id), True)
        self.state()
        self.equal("unlock", self.one("SELECT pg_advisory_unlock(%s)", self.client.id), True)

    def role(self, round):
        self.conn.execute("SET ROLE drivers_role")
        self.equal("role", self.one("SELECT current_user"), "drivers_role")
        self.fails("42501", "INSERT INTO ledger VALUES (0, 0, '')")
        self.conn.execute("RESET ROLE")
        self.equal("role", self.one("SELECT current_user"), "drivers")

    def sql_prepare(self, round):
        """Uses one name in all clients, with another meaning in each."""
        self.conn.execute(f"PREPARE mine (int) AS SELECT $1 + {self.client.id * 1000}")
        self.equal("EXECUTE", self.one(f"EXECUTE mine({round})"), self.client.id * 1000 + round)
        self.conn.execute("DEALLOCATE mine")
        self.fails("26000", "EXECUTE mine(1)")

    def cursors(self, round):
        with self.conn.transaction():
            with self.conn.cursor("inside", scrollable=True) as cursor:
                cursor.itersize = 30
                cursor.execute("SELECT generate_series(1, %s)", [100])
                self.equal("rows of a named cursor", [row[0] for row in cursor], list(range(1, 101)))
                cursor.scroll(9, mode="absolute")
                self.equal("row after scroll", cursor.fetchone(), (10,))
        with self.conn.cursor("held", withhold=True) as cursor:
            cursor.execute("SELECT generate_series(1, 10)")
            self.equal("rows of a WITH HOLD cursor", cursor.fetchmany(3), [(1,), (2,), (3,)])
            self.state()
            self.equal("rows of a WITH HOLD cursor", cursor.fetchone(), (4,))

    def pipeline(self, round):
        """Several statements in flight; a failing one makes the server skip up to the sync."""
        with self.conn.pipeline() as pipeline:
            cursors = [self.conn.execute("SELECT %s::int, current_setting('drivers.me')", [i]) for i in range(20)]
            pipeline.sync()
            for i, cursor in enumerate(cursors):
                self.equal("answer in a pipeline", cursor.fetchone(), (i, self.want[3]))
        def failing():
            with self.conn.pipeline():
                self.conn.execute("SELECT 1 / %s::int", [0])
                self.conn.execute("INSERT INTO ledger VALUES (0, 0, 'skipped')")

        self.client.fails("22012", "pipeline", failing)
        self.equal("rows of a failed pipeline", self.one("SELECT count(*) FROM ledger WHERE what = 'skipped'"), 0)
        self.equal("after the pipeline", self.one("SELECT 7"), 7)

    def copy(self, round):
        key = 1000 + round
        with self.conn.cursor() as cursor:
            with cursor.copy("COPY ledger (client, round, what) FROM STDIN") as copy:
                for i in range(200):
                    copy.write_row((self.client.id, key, f"tab\t\\ line\n{i}"))
            self.equal("rows copied in", cursor.rowcount, 200)
            query = f"SELECT client, what FROM ledger WHERE client = {self.client.id} AND round = {key} ORDER BY length(what), what"
            with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "text"])
                rows = list(copy.rows())
        self.equal("rows copied out", rows, [(self.client.id, f"tab\t\\ line\n{i}") for i in range(200)])

    def listen(self, round):
        """Tells itself: another client may be kept waiting for a server session."""
        channel, message = f"channel_{self.client.id}", f"message of round {round}"
        got = []
        self.conn.add_notify_handler(lambda notify: got.append((notify.channel, notify.payload)))
        self.conn.execute(f"LISTEN {channel}")
        self.one("SELECT pg_notify(%s, %s)", channel, message)
        self.one("SELECT 1")  # a handler is called while a statement runs
        self.equal("notification", got, [(channel, message)])
        self.conn.execute("UNLISTEN *")

    def cancel(self):
        timer = threading.Timer(0.2, self.conn.cancel)
        timer.start()
        self.fails("57014", "SELECT pg_sleep(8)")
        timer.join()
        self.equal("after the cancel", self.one("SELECT 7"), 7)

    def bye(self):
        """Discards everything, after which the start-up parameters are in force again."""
        self.conn.prepare_threshold = None
        self.conn.execute("DISCARD ALL")
        self.want = self.start
        self.state()


# psycopg warns of each pipeline that fails, as one does here on purpose.
logging.getLogger("psycopg").setLevel(logging.ERROR)
check.main(f"psycopg3 {psycopg.__version__}", run)
