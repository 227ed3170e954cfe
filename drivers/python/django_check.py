"""Checks Django on psycopg2: its start-up of a connection (SET TIME ZONE), the ORM, atomic blocks,
select_for_update, iterator (a WITH HOLD cursor). It connects by the PG* variables."""

import os

import django
from django.conf import settings

import check

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["PGDATABASE"],
            "USER": os.environ["PGUSER"],
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "TIME_ZONE": "Etc/GMT-9",  # not a named place: those come back wrong with Django 3.2 and pytz
            "OPTIONS": {"application_name": "django", "options": "-c search_path=sa,public"},
        }
    },
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.postgres"],
)
django.setup()

from django.contrib.postgres.fields import ArrayField  # noqa: E402, needs the settings
from django.db import connection, models, transaction  # noqa: E402
from django.db.utils import DataError, IntegrityError  # noqa: E402


class Item(models.Model):
    """The table items of schema.sql."""

    id = models.BigAutoField(primary_key=True)
    client = models.IntegerField()
    t = models.TextField(null=True)
    n = models.DecimalField(null=True, max_digits=40, decimal_places=5)
    ts = models.DateTimeField(null=True)
    b = models.BinaryField(null=True)
    a = ArrayField(models.IntegerField())
    ta = ArrayField(models.TextField(null=True))
    j = models.JSONField(null=True)
    f = models.FloatField()
    ok = models.BooleanField()

    class Meta:
        app_label = "drivers"
        db_table = "items"


class Event(models.Model):
    """A table that Django creates itself."""

    client = models.IntegerField(db_index=True)
    what = models.CharField(max_length=20)

    class Meta:
        app_label = "drivers"
        constraints = [models.UniqueConstraint(fields=["client", "what"], name="event_once")]


def run(client):
    """Each client is a thread, and has a connection of its own for some rounds, as requests do."""
    for round in range(client.rounds):
        client.where = f"round {round}"
        state(client)
        item(client, round)
        atomic(client, round)
        [locked, iterated, bulk, session_state][round % 4](client, round)
        state(client)
        if round % 5 == 4:
            connection.close()
    connection.close()


def one(sql, *args):
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return cursor.fetchone()


def state(client):
    got = one(
        """SELECT current_setting('application_name'), current_setting('search_path'), (SELECT name FROM who),
        '2001-02-03 UTC'::timestamptz::text"""
    )
    client.equal("state", got, ("django", "sa,public", "sa", "2001-02-03 09:00:00+09"))


def item(client, round):
    values = check.item(client.id, round)
    id = Item.objects.create(**values).pk
    got = Item.objects.get(pk=id)
    got = {name: bytes(v) if isinstance(v := getattr(got, name), memoryview) else v for name in values}
    client.equal("item", got, values)
    if values["j"]:
        found = Item.objects.filter(j__round=round, ta__contains=["{}"], client=client.id, pk=id)
        client.equal("found by JSON and array", found.count(), 1)


def atomic(client, round):
    """Nested blocks are savepoints; an error in the inner one does not end the outer one."""
    mine = Event.objects.filter(client=client.id)
    before = mine.count()
    with transaction.atomic():
        Event.objects.create(client=client.id, what=f"round {round}")
        try:
            with transaction.atomic():
                Event.objects.create(client=client.id, what=f"round {round}")
            client.equal("second event", "no error", "IntegrityError")
        except IntegrityError as error:
            client.equal("second event", check.sqlstate(error), "23505")
        one("SELECT set_config('search_path', 'sb', true)")
        client.equal("search_path inside", one("SELECT name FROM who"), ("sb",))
    client.equal("events after the commit", mine.count(), before + 1)
    try:
        with transaction.atomic():
            mine.delete()
            one("SELECT 1 / %s", 0)
        client.equal("division", "no error", "DataError")
    except DataError as error:
        client.equal("division", check.sqlstate(error), "22012")
    client.equal("events after the rollback", mine.count(), before + 1)


def locked(client, round):
    with transaction.atomic():
        row = Event.objects.select_for_update(skip_locked=True).filter(client=client.id).first()
        row.what = f"locked {round}"
        row.save()
    client.equal("row that was locked", Event.objects.get(pk=row.pk).what, f"locked {round}")


def iterated(client, round):
    """Outside a transaction Django declares the cursor WITH HOLD."""
    mine = Item.objects.filter(client=client.id).order_by("id")
    got = [row.pk for row in mine.iterator(chunk_size=5)]
    client.equal("rows by iterator", got, list(mine.values_list("pk", flat=True)))


def bulk(client, round):
    Event.objects.bulk_create([Event(client=1000 + client.id, what=f"{round}/{i}") for i in range(50)])
    Event.objects.filter(client=1000 + client.id).update(what=models.functions.Concat("what", models.Value("!")))
    deleted, _ = Event.objects.filter(client=1000 + client.id, what__endswith="!").delete()
    client.equal("rows deleted", deleted, 50)


def session_state(client, round):
    me = f"me {client.id}/{round}"
    one("SELECT set_config('drivers.me', %s, false)", me)
    client.equal("count", Item.objects.filter(client=client.id).exists(), True)
    client.equal("own setting", one("SELECT current_setting('drivers.me')"), (me,))


with connection.schema_editor() as editor:
    editor.create_model(Event)
connection.close()
check.main(f"django {django.get_version()}", run)
