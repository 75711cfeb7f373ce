"""The writer: what many tasks want written goes in together, and each is told its own end."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.live.writer import TOGETHER, DbWriter
from pipeline.store import workspace as store_workspace
from pipeline.store.database import Connection
from tests.delivery import workspace_at
from tests.lab import Workspace


@pytest.fixture(name="workspace")
def _workspace(tmp_path: Path) -> Workspace:
    """An empty workspace, with its schema."""
    return workspace_at(tmp_path / "data").begin()


@pytest.fixture
def ws(workspace: Workspace) -> Iterator[OpenWorkspace]:
    """The workspace, open."""
    with workspace.open() as opened:
        yield opened


def with_writer(ws: OpenWorkspace, work: Callable[[DbWriter], Awaitable[Any]]) -> Any:
    """Do something with a writer, in a loop of its own."""

    async def run() -> Any:
        """Be that loop."""
        async with DbWriter(ws.store) as writer:
            return await work(writer)

    return asyncio.run(run())


def noting(ws: OpenWorkspace, name: str) -> Callable[[Connection], Connection]:
    """Return a piece of work that writes a line into the journal, and gives its transaction."""

    def note(tx: Connection) -> Connection:
        """Write it."""
        store_workspace.record_event(tx, "test", name, old=None, new=None, why="", at=ws.now())
        return tx

    return note


def noted(workspace: Workspace) -> list[str]:
    """Return the names that were written, in alphabetical order."""
    return [row[0] for row in workspace.query("SELECT name FROM findable_events WHERE kind = 'test' ORDER BY name")]


async def together(workspace: Workspace, writer: DbWriter, *works: Callable[[Connection], Any]) -> list[Any]:
    """Ask for pieces of work that have to wait for another program, so that they are there at once; return their ends.

    A first one waits alone; the others come while it does.
    """
    with workspace.held():
        ends = [asyncio.ensure_future(writer.write(work)) for work in works]
        await asyncio.sleep(0.1)
    return await asyncio.gather(*ends, return_exceptions=True)


def test_what_waits_together_is_written_together(workspace: Workspace, ws: OpenWorkspace) -> None:
    """First the one that was there, then all that came meanwhile: so many at a time that others wait for little."""
    works = [noting(ws, f"{number:03d}") for number in range(2 * TOGETHER)]
    given = with_writer(ws, lambda writer: together(workspace, writer, *works))
    most = max(sum(tx is one for one in given) for tx in given)
    assert (most, len({id(tx) for tx in given}) <= 3) == (TOGETHER, True)
    assert noted(workspace) == [f"{number:03d}" for number in range(2 * TOGETHER)]


def test_one_that_fails_takes_nothing_from_the_others(workspace: Workspace, ws: OpenWorkspace) -> None:
    """What it wrote is undone, it alone is told so, and with its own error."""

    def fail(tx: Connection) -> None:
        """Write, and fail."""
        noting(ws, "undone")(tx)
        raise LookupError("mine")

    def refused(tx: Connection) -> None:
        """Be refused by the database."""
        noting(ws, "undone too")(tx)
        tx.exec_driver_sql("INSERT INTO findable_workspace (id) VALUES (NULL)")

    works = [noting(ws, "a"), noting(ws, "b"), fail, noting(ws, "c"), refused, noting(ws, "d")]
    given = with_writer(ws, lambda writer: together(workspace, writer, *works))
    assert [isinstance(one, BaseException) for one in given] == [False, False, True, False, True, False]
    assert (type(given[2]), str(given[2])) == (LookupError, "mine")
    assert noted(workspace) == ["a", "b", "c", "d"]


@pytest.mark.sqlite_only("puts off its references to the commit")
def test_a_commit_that_fails_is_told_to_everybody_in_it(workspace: Workspace, ws: OpenWorkspace) -> None:
    """It is not told that something was kept which was not."""

    def doom(tx: Connection) -> None:
        """Write what cannot be committed."""
        tx.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        row = "('x', 77, 1, '2026-01-01', 'sent')"
        tx.exec_driver_sql(f"INSERT INTO findable_tries (display_name, batch, try, sent_at, outcome) VALUES {row}")  # noqa: S608 - its own words

    works = [noting(ws, "first"), noting(ws, "a"), doom, noting(ws, "b")]
    given = with_writer(ws, lambda writer: together(workspace, writer, *works))
    kept = noted(workspace)
    assert kept in ([], ["first"])
    assert [isinstance(one, BaseException) for one in given] == [kept == [], True, True, True]


@pytest.mark.sqlite_only("rolls all back where it has no room, and says so of a part")
def test_a_disk_that_is_full_is_told_to_everybody_in_it(workspace: Workspace, ws: OpenWorkspace) -> None:
    """What came before it in the transaction is gone with what found no room, and what comes after is not kept."""

    def fill(tx: Connection) -> None:
        """Write what the file has no room for."""
        pages = tx.exec_driver_sql("PRAGMA page_count").scalar()
        tx.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        noting(ws, "much" * 100_000)(tx)

    works = [noting(ws, "first"), noting(ws, "a"), fill, noting(ws, "b")]
    given = with_writer(ws, lambda writer: together(workspace, writer, *works))
    kept = noted(workspace)
    assert kept in ([], ["first"])
    assert [isinstance(one, ConfigurationError) for one in given] == [kept == [], True, True, True]
    assert "database or disk is full" in str(given[2])


def test_who_waits_no_longer_stops_nothing(workspace: Workspace, ws: OpenWorkspace) -> None:
    """What was asked for is done, also where the task that asked was cancelled meanwhile."""

    async def work(writer: DbWriter) -> None:
        """Ask, and be cancelled."""
        with workspace.held():
            asking = asyncio.ensure_future(writer.write(noting(ws, "all the same")))
            await asyncio.sleep(0.05)
            asking.cancel()

    with_writer(ws, work)
    assert noted(workspace) == ["all the same"]


@pytest.mark.full
def test_in_a_hurry_nobody_waits_for_another_program(workspace: Workspace, ws: OpenWorkspace) -> None:
    """It ends while the other one still keeps the database; what was asked for is done if that one is soon ready."""

    async def work(writer: DbWriter) -> None:
        """Ask, and leave."""
        asking = asyncio.ensure_future(writer.write(noting(ws, "later")))
        await asyncio.sleep(0.05)
        writer.hurry()
        asking.cancel()

    with workspace.held():
        with_writer(ws, work)
        assert noted(workspace) == []
    for thread in [one for one in threading.enumerate() if one.name == "db-writer"]:
        thread.join()
    assert noted(workspace) == ["later"]


def test_what_was_written_is_read(ws: OpenWorkspace) -> None:
    """A snapshot that is asked for after an end has come shows it; a reader's error is the asker's."""

    async def work(writer: DbWriter) -> list[str]:
        """Write, then read."""
        await writer.write(noting(ws, "seen"))
        with pytest.raises(ZeroDivisionError):
            await writer.read(lambda _tx: 1 // 0)
        return await writer.read(
            lambda tx: [row[0] for row in tx.exec_driver_sql("SELECT name FROM findable_events WHERE kind = 'test'")]
        )

    assert with_writer(ws, work) == ["seen"]
