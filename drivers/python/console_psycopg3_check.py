"""Checks the admin console with psycopg 3: prepared or not, text and binary, in autocommit and in transactions, by
pipeline. It connects by the PG* variables."""

import contextlib
import os

import psycopg
from psycopg.rows import tuple_row

import check
import console

DATABASE = os.environ["PGDATABASE"]


def run(client):
    with contextlib.ExitStack() as stack:
        for _ in range(console.KNOWN_CLIENTS):
            conn = stack.enter_context(psycopg.connect("", application_name=console.KNOWN, autocommit=True))
            conn.execute("SELECT 1")
        for name, autocommit, prepare_threshold, binary in (
            ("pooler", True, 5, False),
            ("pooler", True, 0, True),
            ("pgbouncer", False, None, True),
            ("pgbouncer", False, 5, False),
        ):
            conn = stack.enter_context(psycopg.connect("", dbname=name, autocommit=autocommit, prepare_threshold=prepare_threshold))
            talk(client, conn, binary)


def talk(client, conn, binary):
    def query(sql, args):
        cursor = conn.cursor(binary=binary, row_factory=tuple_row)
        try:
            cursor.execute(sql, args)
        except psycopg.Error:
            if not conn.autocommit:
                conn.rollback()
            raise
        if cursor.description is None:
            return [], []
        return [(column.name, column.type_code) for column in cursor.description], cursor.fetchall()

    console.Console(client, query, DATABASE).all()
    client.where = "notices"
    notices = []
    conn.add_notice_handler(lambda n: notices.append(n.message_primary))
    query(f"START POOL {DATABASE}", None)
    client.equal("notice", notices, ["it was not stopped"])
    client.where = "pipeline"
    with conn.pipeline():
        cursors = [conn.execute("SHOW LISTS list, items WHERE list = %s", (name,)) for name in ("databases", "users", "pools")]
    client.equal("answers of a pipeline", [c.fetchone()[0] for c in cursors], ["databases", "users", "pools"])
    conn.rollback()
    client.fails("42601", "a cursor on the server", lambda: conn.cursor("a cursor").execute("SHOW LISTS"))
    conn.rollback()
    client.equal("after it", query("SHOW VERSION", None)[1][0][0].startswith("PgBouncer 1."), True)
    conn.rollback()


check.main(f"console_psycopg3 {psycopg.__version__}", run)
