"""Checks the admin console with psycopg2: in autocommit and in transactions. It connects by the PG* variables."""

import contextlib
import os

import psycopg2

import check
import console

DATABASE = os.environ["PGDATABASE"]


def run(client):
    with contextlib.ExitStack() as stack:
        for _ in range(console.KNOWN_CLIENTS):
            conn = stack.enter_context(contextlib.closing(psycopg2.connect("", application_name=console.KNOWN)))
            conn.autocommit = True
            conn.cursor().execute("SELECT 1")
        for name, autocommit in (("pooler", True), ("pgbouncer", False)):
            conn = stack.enter_context(contextlib.closing(psycopg2.connect("", dbname=name)))
            conn.set_session(autocommit=autocommit)
            talk(client, conn, autocommit)


def talk(client, conn, autocommit):
    def query(sql, args):
        cursor = conn.cursor()
        try:
            cursor.execute(sql, args)
        except psycopg2.Error:
            if not autocommit:
                conn.rollback()
            raise
        if cursor.description is None:
            return [], []
        return [(column.name, column.type_code) for column in cursor.description], cursor.fetchall()

    console.Console(client, query, DATABASE).all()
    client.where = "notices"
    query(f"START POOL {DATABASE}", None)
    client.equal("notice", conn.notices[-1:], ["NOTICE:  it was not stopped\n"])
    if not autocommit:
        conn.commit()
    client.equal("version", conn.server_version >= 90600, True)
    client.fails("42601", "a named cursor", lambda: named(conn))
    conn.rollback()
    conn.reset()
    client.equal("after reset", query("SHOW VERSION", None)[1][0][0].startswith("PgBouncer 1."), True)


def named(conn):
    conn.autocommit = False
    with conn.cursor("a cursor") as cursor:
        cursor.execute("SHOW LISTS")


check.main(f"console_psycopg2 {psycopg2.__version__.split()[0]}", run)
