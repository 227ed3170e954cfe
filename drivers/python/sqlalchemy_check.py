"""Checks SQLAlchemy on psycopg2: its start-up of a connection, a QueuePool shared by all clients with
pre-ping, the ORM, isolation levels, streamed results, reflection. It connects by the PG* variables."""

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql

import check

engine = sa.create_engine(
    "postgresql+psycopg2://",
    pool_size=20,
    max_overflow=0,
    pool_pre_ping=True,
    executemany_mode="values_plus_batch",
    connect_args={"application_name": "sqlalchemy", "options": "-c timezone=Asia/Tokyo"},
)
Base = orm.declarative_base()


class Item(Base):
    """The table items of schema.sql."""

    __tablename__ = "items"
    id = sa.Column(sa.BigInteger, primary_key=True)
    client = sa.Column(sa.Integer)
    t = sa.Column(sa.Text)
    n = sa.Column(sa.Numeric)
    ts = sa.Column(sa.DateTime(timezone=True))
    b = sa.Column(sa.LargeBinary)
    a = sa.Column(postgresql.ARRAY(sa.Integer))
    ta = sa.Column(postgresql.ARRAY(sa.Text))
    j = sa.Column(postgresql.JSONB(none_as_null=True))
    f = sa.Column(sa.Float)
    ok = sa.Column(sa.Boolean)


class Event(Base):
    """A table that SQLAlchemy creates itself."""

    __tablename__ = "events"
    id = sa.Column(sa.Integer, primary_key=True)
    client = sa.Column(sa.Integer, nullable=False, index=True)
    what = sa.Column(sa.Text, nullable=False)


def run(client):
    for round in range(client.rounds):
        client.where = f"round {round}"
        item(client, round)
        rolled_back(client, round)
        [isolation, stream, reflect, autocommit, many][round % 5](client, round)
        state(client)


def item(client, round):
    """Writes by the ORM in one transaction, reads in the next."""
    values = check.item(client.id, round)
    with orm.Session(engine) as session, session.begin():
        new = Item(**values)
        session.add(new)
        session.flush()
        id = new.id
    with orm.Session(engine) as session:
        got = session.get(Item, id)
        client.equal("item", {name: getattr(got, name) for name in values}, values)
        got.t = "changed"
        session.commit()
        client.equal("changed text", session.scalar(sa.select(Item.t).where(Item.id == id)), "changed")


def rolled_back(client, round):
    count = sa.select(sa.func.count()).where(Item.client == client.id)
    with orm.Session(engine) as session:
        before = session.scalar(count)
        session.execute(sa.text("SET LOCAL application_name = 'inside'"))
        session.add(Item(client=client.id, t="never kept"))
        session.flush()
        client.fails("23502", "a NOT NULL", lambda: session.execute(sa.insert(Event).values(what="no client")))
        session.rollback()
        client.equal("rows after the rollback", session.scalar(count), before)
        with session.begin_nested():
            session.add(Item(client=client.id, t="by a savepoint"))
        session.commit()
        client.equal("rows after the commit", session.scalar(count), before + 1)


def state(client):
    with engine.connect() as conn:
        got = conn.execute(
            sa.text("SELECT current_setting('application_name'), current_setting('TimeZone'), '2001-02-03 UTC'::timestamptz::text")
        ).one()
    client.equal("state", tuple(got), ("sqlalchemy", "Asia/Tokyo", "2001-02-03 09:00:00+09"))


def isolation(client, round):
    for level, name in (("SERIALIZABLE", "serializable"), ("REPEATABLE READ", "repeatable read")):
        with engine.connect().execution_options(isolation_level=level) as conn:
            client.equal("isolation", conn.scalar(sa.text("SHOW transaction_isolation")), name)
    with engine.connect() as conn:
        client.equal("isolation", conn.scalar(sa.text("SHOW transaction_isolation")), "read committed")


def stream(client, round):
    """Streamed results come from a cursor on the server."""
    with engine.connect() as conn:
        rows = conn.execution_options(stream_results=True, max_row_buffer=30).execute(sa.text("SELECT generate_series(1, 200)"))
        client.equal("rows streamed", [row[0] for row in rows], list(range(1, 201)))


def reflect(client, round):
    """One statement per kind of thing in the catalog, as migrations do it."""
    table = sa.Table("items", sa.MetaData(), autoload_with=engine)
    client.equal("columns", [c.name for c in table.columns], [c.name for c in Item.__table__.columns])
    client.equal("index", sa.inspect(engine).get_indexes("events")[0]["name"], "ix_events_client")


def autocommit(client, round):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(sa.text("CREATE TEMPORARY TABLE mine AS SELECT generate_series(1, 7) AS x"))
        client.equal("rows of the temporary table", conn.scalar(sa.text("SELECT count(*) FROM mine")), 7)
        conn.execute(sa.text("DROP TABLE mine"))
        client.fails("42P01", "the dropped table", lambda: conn.execute(sa.text("SELECT * FROM mine")))


def many(client, round):
    with orm.Session(engine) as session, session.begin():
        session.bulk_save_objects([Event(client=client.id, what=f"{round}/{i}") for i in range(50)])
    with orm.Session(engine) as session:
        mine = sa.select(sa.func.count()).where(Event.client == client.id, Event.what.like(f"{round}/%"))
        client.equal("rows of one executemany", session.scalar(mine), 50)


Base.metadata.create_all(engine)
engine.dispose()  # its connection is not kept for the clients
check.main(f"sqlalchemy {sa.__version__}", run)
