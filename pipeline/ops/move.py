"""Copy the database of a workspace from its SQLite file into PostgreSQL, and see that both hold the same.

No other process can write to the file meanwhile. All of it goes into one transaction of the server, which is
committed only when every table has as many rows there as here and the hashes of all rows agree; right before that, the
file is marked as moved (see `store.marker`). A run that was killed leaves nothing on the server, or everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError, InconsistentError, InputError, UnavailableError
from pipeline.core.progress import Progress
from pipeline.engine import registry
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import claims, copy, marker, schema, tables, workspace
from pipeline.store.copy import CopySource
from pipeline.store.database import Connection, Store

if TYPE_CHECKING:
    from sqlalchemy import Table


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
    if not url.startswith(("postgresql:", "postgresql+", "postgres:")):
        raise InputError(
            "a workspace is moved into PostgreSQL alone; nothing was moved",
            hint="name the database: `make move TO=postgresql+psycopg://user@host/database`",
        )
    target = Store(url)
    try:
        return _move(ws, path, target)
    finally:
        target.close()


def _move(ws: OpenWorkspace, path: Path, target: Store) -> MoveReport:
    """Move everything, under what keeps all others from writing here and there."""
    to = target.address
    with ws.store.hold() as tx, target.write() as there:
        source, here = CopySource(tx), workspace.get_workspace(tx)
        for room in registry.rooms():
            room.check_movable(tx, ws.settings)
        own = {one.name: one.hooks.tables(tx) for one in ws.subjects}
        everything = [*tables.metadata.sorted_tables, *(table for some in own.values() for table in some)]
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
        schema.make_schema(there)
        for one in ws.subjects:
            one.hooks.make_tables(tx, there)
        rows = _copy(source, there, everything, ws.display)
        for table in tables.metadata.sorted_tables:
            copy.count_from(there, table, source.newest(table))
        for one in ws.subjects:
            for table in own[one.name]:  # no number is given again, not even that of a row that is deleted
                copy.count_from(there, table, max(source.newest(table), one.hooks.highest_id(tx, table)))
        marker.write_moved(path, marker.MovedMarker(to, here.workspace_id, f"{ws.now():%Y-%m-%d %H:%M} UTC"))
    marker.write_marker(ws.data, marker.FolderMarker(here.workspace_id, to))
    return MoveReport(str(path), to, rows, source.left_behind(everything))


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


def _copy(source: CopySource, there: Connection, everything: "Sequence[Table]", display: Progress) -> dict[str, int]:
    """Copy every table, read each back, and return how many rows each has.

    Raises:
        InconsistentError: what is there is not what was sent.
    """
    counts = {table.name: source.count(table) for table in everything}
    done = 0
    with display.bar("moving rows", sum(counts.values())) as bar:
        for table in everything:
            sent = copy.copy_rows(there, table, source.rows(table))
            if sent.rows != counts[table.name] or copy.digest_of(there, table) != sent:
                raise InconsistentError(
                    f"{table.name} is not on the server as it was sent; nothing was moved", hint="run it again"
                )
            done += sent.rows
            bar.show(done, note=table.name)
    return counts
