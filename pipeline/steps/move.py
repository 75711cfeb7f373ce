"""Copy the database of a workspace from its SQLite file into PostgreSQL, and see that both hold the same.

No other process can write to the file meanwhile. All of it goes into one transaction of the server, which is
committed only when every table has as many rows there as here and the hashes of all rows agree; right before that, the
file is marked as moved (see `store.moved`). A run that was killed leaves nothing on the server, or everything.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigurationError, InconsistentError, InputError, UnavailableError
from pipeline.experts import adopt
from pipeline.experts import table as people
from pipeline.experts.schema import experts
from pipeline.passages import subject as passages
from pipeline.passages.schema import CONCEPTS, MARK, tables_as_found
from pipeline.runtime import Runtime
from pipeline.store import claims, copying, folder, moved, schema, tables, workspace
from pipeline.store.copying import Source
from pipeline.store.database import Connection, Store

if TYPE_CHECKING:
    from pipeline.store.copying import Table

EVERYTHING = (*tables.metadata.sorted_tables, experts)  # of a workspace of people


@dataclass(frozen=True)
class Report:
    """What was moved: where to (without a password), how many rows of each table, and what stays in the file alone.

    `again` is true where an earlier run had done it all.
    """

    source: str
    to: str
    rows: dict[str, int] = field(default_factory=dict)
    left_behind: list[str] = field(default_factory=list)
    again: bool = False

    @property
    def total(self) -> int:
        """Return how many rows were copied."""
        return sum(self.rows.values())


def run(rt: Runtime, url: str) -> Report:
    """Move the workspace's database to the PostgreSQL database at `url`, which must have none of our tables.

    Raises:
        InputError: the workspace is on a server already, or `url` is no empty PostgreSQL database.
        ConfigurationError: something in the file would be lost or changed; or it was moved to somewhere else.
        UnavailableError: another process works in the workspace, or the server cannot be reached.
        InconsistentError: the copy is not what was copied. In every case nothing was moved.
    """
    path = rt.store.path
    if path is None:
        raise InputError(f"this workspace is on a server already: {rt.store.shown}", hint="there is nothing to move")
    target = Store(url)
    try:
        if target.path is not None:
            raise InputError(
                "a workspace is moved into PostgreSQL alone; nothing was moved",
                hint="TO=postgresql+psycopg://user@host/database",
            )
        return _move(rt, path, target)
    finally:
        target.close()


def _move(rt: Runtime, path: Path, target: Store) -> Report:
    """Move everything, under what keeps all others from writing here and there."""
    to = target.address
    with rt.store.hold() as tx, target.write() as there:
        source, here = Source(tx), workspace.get(tx)
        everything = tables_of(rt, tx)
        mark = moved.find(path)
        found = copying.tables_of_ours(schema.names(there), everything)
        if mark is not None and mark.to != to:
            raise ConfigurationError(f"{moved.said(path, mark)}; nothing was moved", hint=moved.hint(path, mark))
        if mark is not None and found and workspace.get(there).workspace_id == here.workspace_id:
            folder.make(rt.data, folder.Mark(here.workspace_id, to))
            return Report(str(path), to, again=True)
        if found:
            raise InputError(
                f"{target.shown} has tables of findable already ({', '.join(found[:3])}, …); nothing was moved",
                hint="name an empty database",
            )
        _check_idle(tx)
        for table in everything:
            source.check(table)
        _make(rt, tx, there)
        rows = _copy(rt, source, there, everything)
        _count_on(tx, source, there, everything)
        moved.make(path, moved.Mark(to, here.workspace_id, f"{rt.now():%Y-%m-%d %H:%M} UTC"))
    folder.make(rt.data, folder.Mark(here.workspace_id, to))
    return Report(str(path), to, rows, source.left_behind(everything))


def tables_of(rt: Runtime, tx: Connection) -> "list[Table]":
    """Return every table that is ours: the engine's own, and those of the subjects that the workspace has.

    Raises:
        ConfigurationError: there are passages, under another name than is set.
    """
    found = list(EVERYTHING)
    if _has_passages(rt, tx):
        found += tables_as_found(tx, passages=rt.settings.passages_table)
    return found


def _has_passages(rt: Runtime, tx: Connection) -> bool:
    """Return whether the workspace has passages.

    Raises:
        ConfigurationError: it has, under another name than is set.
    """
    if any(one.name == "passages" for one in rt.subjects):
        return True
    if schema.has_index(tx, CONCEPTS, MARK):
        raise ConfigurationError(
            f"there are concepts of passages here, and `{rt.settings.passages_table}` is no table of passages; "
            "nothing was moved",
            hint="name it with PASSAGES_TABLE=, as it was named when it was asked about",
        )
    return False


def _make(rt: Runtime, tx: Connection, there: Connection) -> None:
    """Make every table and view of ours on the server."""
    schema.make(there)
    adopt.adopt(there)
    if _has_passages(rt, tx):
        for table in tables_as_found(tx, passages=rt.settings.passages_table):
            table.create(there)
        passages.adopt(there, replace(rt.settings, task="passages"))


def _check_idle(tx: Connection) -> None:
    """Refuse while another process is in the middle of something, which it could not finish after the move.

    Raises:
        UnavailableError: one is.
    """
    busy = copying.at_work(tx)
    if busy:
        raise UnavailableError(
            f"another process works in this workspace ({', '.join(busy)}); nothing was moved",
            hint="let it finish, then run `make move` again",
        )


def _copy(rt: Runtime, source: Source, there: Connection, everything: "list[Table]") -> dict[str, int]:
    """Copy every table, read each back, and return how many rows each has.

    Raises:
        InconsistentError: what is there is not what was sent.
    """
    counts = {table.name: source.count(table) for table in everything}
    done = 0
    with rt.display.bar("moving rows", sum(counts.values())) as bar:
        for table in everything:
            sent = copying.fill(there, table, source.rows(table))
            if sent.rows != counts[table.name] or copying.digest_of(there, table) != sent:
                raise InconsistentError(
                    f"{table.name} is not on the server as it was sent; nothing was moved", hint="run it again"
                )
            done += sent.rows
            bar.show(done, note=table.name)
    return counts


def _count_on(tx: Connection, source: Source, there: Connection, everything: "list[Table]") -> None:
    """Let no number be given again: not of a row that is gone, nor of one that was only ever asked about."""
    asked = claims.highest(tx, people.TASK)
    for table in everything:
        newest = source.newest(table)
        copying.count_from(there, table, max(newest, asked) if table is experts else newest)
