"""Copy the database of a workspace from its SQLite file into PostgreSQL, and see that both hold the same.

No other process can write to the file meanwhile. All of it goes into one transaction of the server, which is
committed only when every table has as many rows there as here and the hashes of all rows agree; right before that, the
file is marked as moved (see `store.marker`). A run that was killed leaves nothing on the server, or everything.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError, InconsistentError, InputError, UnavailableError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import adopt
from pipeline.experts import table as people
from pipeline.experts.schema import experts
from pipeline.passages import subject as passages
from pipeline.passages.schema import CONCEPTS, MARK, tables_as_found
from pipeline.store import claims, copy, marker, schema, tables, workspace
from pipeline.store.copy import CopySource
from pipeline.store.database import Connection, Store

if TYPE_CHECKING:
    from sqlalchemy import Table


EVERYTHING = (*tables.metadata.sorted_tables, experts)  # of a workspace of people


@dataclass(frozen=True)
class MoveReport:
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


def run(ws: OpenWorkspace, url: str) -> MoveReport:
    """Move the workspace's database to the PostgreSQL database at `url`, which must have none of our tables.

    Raises:
        InputError: the workspace is on a server already, or `url` is no empty PostgreSQL database.
        ConfigurationError: something in the file would be lost or changed; or it was moved to somewhere else.
        UnavailableError: another process works in the workspace, or the server cannot be reached.
        InconsistentError: the copy is not what was copied. In every case nothing was moved.
    """
    path = ws.store.path
    if path is None:
        raise InputError(f"this workspace is on a server already: {ws.store.shown}", hint="there is nothing to move")
    target = Store(url)
    try:
        if target.path is not None:
            raise InputError(
                "a workspace is moved into PostgreSQL alone; nothing was moved",
                hint="TO=postgresql+psycopg://user@host/database",
            )
        return _move(ws, path, target)
    finally:
        target.close()


def _move(ws: OpenWorkspace, path: Path, target: Store) -> MoveReport:
    """Move everything, under what keeps all others from writing here and there."""
    to = target.address
    with ws.store.hold() as tx, target.write() as there:
        source, here = CopySource(tx), workspace.get_workspace(tx)
        everything = tables_of(ws, tx)
        mark = marker.find_moved(path)
        found = schema.our_tables(there, {table.name for table in everything})
        if mark is not None and mark.to != to:
            raise ConfigurationError(
                f"{marker.moved_message(path, mark)}; nothing was moved", hint=marker.moved_hint(path, mark)
            )
        if mark is not None and found and workspace.get_workspace(there).workspace_id == here.workspace_id:
            marker.write_marker(ws.data, marker.FolderMarker(here.workspace_id, to))
            return MoveReport(str(path), to, again=True)
        if found:
            raise InputError(
                f"{target.shown} has tables of findable already ({', '.join(found[:3])}, …); nothing was moved",
                hint="name an empty database",
            )
        _check_idle(tx)
        for table in everything:
            source.check(table)
        _make(ws, tx, there)
        rows = _copy(ws, source, there, everything)
        _count_on(tx, source, there, everything)
        marker.write_moved(path, marker.MovedMarker(to, here.workspace_id, f"{ws.now():%Y-%m-%d %H:%M} UTC"))
    marker.write_marker(ws.data, marker.FolderMarker(here.workspace_id, to))
    return MoveReport(str(path), to, rows, source.left_behind(everything))


def tables_of(ws: OpenWorkspace, tx: Connection) -> "list[Table]":
    """Return every table that is ours: the engine's own, and those of the subjects that the workspace has.

    Raises:
        ConfigurationError: there are passages, under another name than is set.
    """
    found = list(EVERYTHING)
    if _has_passages(ws, tx):
        found += tables_as_found(tx, passages=ws.settings.passages_table)
    return found


def _has_passages(ws: OpenWorkspace, tx: Connection) -> bool:
    """Return whether the workspace has passages.

    Raises:
        ConfigurationError: it has, under another name than is set.
    """
    if any(one.name == "passages" for one in ws.subjects):
        return True
    if schema.has_index(tx, CONCEPTS, MARK):
        raise ConfigurationError(
            f"there are concepts of passages here, and `{ws.settings.passages_table}` is no table of passages; "
            "nothing was moved",
            hint="name it with PASSAGES_TABLE=, as it was named when it was asked about",
        )
    return False


def _make(ws: OpenWorkspace, tx: Connection, there: Connection) -> None:
    """Make every table and view of ours on the server."""
    schema.make_schema(there)
    adopt.adopt(there)
    if _has_passages(ws, tx):
        for table in tables_as_found(tx, passages=ws.settings.passages_table):
            table.create(there)
        passages.adopt(there, replace(ws.settings, task="passages"))


def _check_idle(tx: Connection) -> None:
    """Refuse while another process is in the middle of something, which it could not finish after the move.

    Raises:
        UnavailableError: one is.
    """
    busy = claims.active_owners(tx)
    if busy:
        raise UnavailableError(
            f"another process works in this workspace ({', '.join(busy)}); nothing was moved",
            hint="let it finish, then run `make move` again",
        )


def _copy(ws: OpenWorkspace, source: CopySource, there: Connection, everything: "list[Table]") -> dict[str, int]:
    """Copy every table, read each back, and return how many rows each has.

    Raises:
        InconsistentError: what is there is not what was sent.
    """
    counts = {table.name: source.count(table) for table in everything}
    done = 0
    with ws.display.bar("moving rows", sum(counts.values())) as bar:
        for table in everything:
            sent = copy.copy_rows(there, table, source.rows(table))
            if sent.rows != counts[table.name] or copy.digest_of(there, table) != sent:
                raise InconsistentError(
                    f"{table.name} is not on the server as it was sent; nothing was moved", hint="run it again"
                )
            done += sent.rows
            bar.show(done, note=table.name)
    return counts


def _count_on(tx: Connection, source: CopySource, there: Connection, everything: "list[Table]") -> None:
    """Let no number be given again: not of a row that is gone, nor of one that was only ever asked about."""
    asked = claims.highest_id(tx, people.TASK)
    for table in everything:
        newest = source.newest(table)
        copy.count_from(there, table, max(newest, asked) if table is experts else newest)
