"""Many rows through one statement: in the database they look like rows that were written one by one."""

from datetime import UTC, datetime, timedelta, timezone

from sqlalchemy import cast, insert, select
from sqlalchemy.types import Text

from pipeline.store import database
from pipeline.store.tables import events
from tests.lab import Workspace

MOMENT = datetime(2026, 11, 20, 12, 0, 0, 5, tzinfo=UTC)
COLUMNS = ("at", "kind", "name", "old", "new", "why")


def test_a_time_is_kept_as_in_any_other_row(workspace: Workspace) -> None:
    """Whatever its zone, the database holds the same text as for a row that SQLAlchemy wrote alone."""
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=9)))
    with workspace.open() as ws, ws.store.write() as tx:
        tx.execute(insert(events).values(at=MOMENT, kind="test", name="alone"))
        database.insert_rows(
            tx, events, COLUMNS, [(one, "test", "many", None, None, None) for one in (MOMENT, elsewhere)]
        )
        database.insert_rows(tx, events, ("name",), [("the same",)], same={"at": elsewhere, "kind": "test"})
        kept = tx.execute(select(cast(events.c.at, Text)).where(events.c.kind == "test")).scalars().all()
        read = tx.execute(select(events.c.at).where(events.c.kind == "test")).scalars().all()
    assert len(kept) == 4
    assert len(set(kept)) == 1
    assert set(read) == {MOMENT}


def test_what_is_the_same_in_all_rows_is_kept_as_it_is(workspace: Workspace) -> None:
    """Quotes, signs that stand for a parameter elsewhere, and NULL are as in a row that SQLAlchemy wrote alone."""
    odd = {"at": MOMENT, "kind": "it's ? :kind %s %%", "old": None}
    with workspace.open() as ws, ws.store.write() as tx:
        tx.execute(insert(events).values(name="alone", **odd))
        database.insert_rows(tx, events, ("name",), [("many",), ("many",)], same=odd)
        kept = tx.execute(select(events.c.at, events.c.kind, events.c.old).where(events.c.name.in_(["alone", "many"])))
        assert [tuple(row) for row in kept] == [tuple(odd.values())] * 3


def test_as_many_rows_go_in_as_are_given(workspace: Workspace) -> None:
    """Fewer than one statement takes, as many, one more, and several statements of them; each once, in their order."""
    size = database.PARAMETERS // 2
    for count in (1, size, size + 1, 2 * size + 1):
        rows = [(f"{count} rows", str(number)) for number in range(count)]
        with workspace.open() as ws, ws.store.write() as tx:
            database.insert_rows(tx, events, ("kind", "name"), rows, same={"at": MOMENT})
            found = select(events.c.kind, events.c.name).where(events.c.kind == f"{count} rows").order_by(events.c.id)
            assert [tuple(row) for row in tx.execute(found)] == rows
