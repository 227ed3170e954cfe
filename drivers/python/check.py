"""Runs a driver's clients in parallel threads, counts what they verify and prints the outcome."""

import argparse
import datetime
import decimal
import os
import sys
import threading
import time
import traceback

FAILURES_SHOWN = 5
AT_THE_END = "the end"
TIME_LIMIT = 40  # seconds; a client that hangs must not hang the caller


class Client:
    """One client's part of a run. It belongs to one thread; an exception ends that."""

    def __init__(self, id, rounds):
        self.id = id
        self.rounds = rounds
        self.where = ""
        self.checks = 0
        self.failures = []

    def equal(self, what, got, want):
        """Verifies a value and goes on."""
        self.checks += 1
        if got != want:
            self.failures.append(f"client {self.id}, {self.where}: {what}: got {got!r}, expected {want!r}")

    def fails(self, want, what, call):
        """Verifies that call() raises an error with that SQLSTATE."""
        try:
            call()
            got = "no error"
        except Exception as error:
            got = sqlstate(error)
        self.equal(f"SQLSTATE of {what}", got, want)

    def rounds_of(self, part, parts):
        return range(self.rounds * part // parts, self.rounds * (part + 1) // parts)


def sqlstate(error):
    """psycopg 3 and psycopg2 name it differently; SQLAlchemy and Django wrap the driver's error."""
    error = getattr(error, "orig", None) or error.__cause__ or error
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or repr(error)


def item(client, round):
    """A value of each type that drivers encode in their own way; each third round has NULLs."""
    values = {
        "client": client,
        "t": f"O'Brien \"x\" \\ %s ; -- {client}/{round}\nüñ→漢字🐘",
        "n": decimal.Decimal(f"-12345678901234567890.{client * 100 + round:04d}5"),
        "ts": datetime.datetime(2001, 2, 3, 4, 5, 6, 789012, datetime.timezone.utc)
        + datetime.timedelta(hours=client * 1000 + round),
        "b": bytes((i + client + round) % 256 for i in range(256)),
        "a": [client, -round, 2147483647, None],
        "ta": ["", "a,b", "\"quoted\" \\ 'single'", "{}", "NULL", None, f"ünï→🐘 {client}/{round}"],
        "j": {"round": round, "client": f"{client} é'", "list": [1, None, "%s"]},
        "f": client * 1e10 + round / 3,
        "ok": round % 2 == 0,
    }
    if round % 3 == 2:
        values.update(t=None, n=None, ts=None, b=None, j=None)
    return values


def main(driver, run):
    """Runs run(client) for each client and ends the process: 0 when all was as expected, else 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()

    began = time.monotonic()
    clients = [Client(i, options.rounds) for i in range(options.clients)]

    def too_late():
        print(f"FAILED {driver}: not done after {TIME_LIMIT} s")
        for client in (client for client in clients if client.where != AT_THE_END):
            print(f"  client {client.id} stands at {client.where}", flush=True)
        os._exit(1)

    watchdog = threading.Timer(TIME_LIMIT, too_late)
    watchdog.daemon = True
    watchdog.start()

    def one(client):
        try:
            run(client)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)
            lines = [f"{f.name}:{f.lineno}" for f in place if "drivers/python" in f.filename]
            client.failures.append(f"client {client.id}, {client.where}: {error!r} at {' '.join(lines)}")
        client.where = AT_THE_END

    threads = [threading.Thread(target=one, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watchdog.cancel()

    failures = [failure for client in clients for failure in client.failures]
    outcome = (
        f"{driver} clients={options.clients} rounds={options.rounds} "
        f"checks={sum(client.checks for client in clients)} seconds={time.monotonic() - began:.1f}"
    )
    if not failures:
        print(f"ok {outcome}")
        return
    print(f"FAILED {outcome} failures={len(failures)}")
    for failure in failures[:FAILURES_SHOWN]:
        print("  " + failure[:600])
    sys.exit(1)
