"""Put a backup into a folder that holds no workspace, or with DATABASE_URL= its database into an empty PostgreSQL.

All of it is copied into a folder beside, and each hash is checked, before anything takes its place; what else lies in
the folder stays as it is, as `data/sample` in a checkout. The database comes last, or into its server in one
transaction before; until then every command refuses the folder, and a run that was killed is run again.
"""

import contextlib
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import files, links
from pipeline.core.errors import ConfigurationError, InconsistentError, InputError
from pipeline.core.progress import NoProgress
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState
from pipeline.core.text import first_few
from pipeline.engine.folder import KEPT, RESTORING, check_links, make_directory
from pipeline.engine.workspace import Access, open_workspace
from pipeline.index.build_lookup import LINKED
from pipeline.ops import backup
from pipeline.ops.backup import DATABASE, BackupManifest
from pipeline.store import asks, batches, integrity, schema, workspace
from pipeline.store.copy import copy_tables, names_beside
from pipeline.store.database import Store

if TYPE_CHECKING:
    from sqlalchemy import Table

BUILD = re.compile(r"(index(?:/tasks/[^/]+)?)/builds/(\d+)/manifest\.json")


@dataclass
class RestoreReport:
    """What was restored: where to, when the copy was made, its files, and the batches that were not sent.

    In a server's database `rows` says how many each table has; `left_behind` is not ours, and stays in the copy alone.
    """

    path: str
    made_at: str
    files: int
    unsent: list[int] = field(default_factory=list)
    database: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    left_behind: list[str] = field(default_factory=list)


def run(settings: Settings, source: Path) -> RestoreReport:
    """Restore the backup in `source` into the folder and the database that the settings name, where no workspace is.

    Raises:
        InputError: `source` is no backup, there is a workspace, or another process restores there.
        ConfigurationError: the database of the settings is no PostgreSQL, or holds a workspace already.
        InconsistentError: the backup is damaged; nothing was changed.
    """
    source, data = Path(source).absolute(), settings.data.absolute()
    manifest = backup.read_manifest(source)
    report = RestoreReport(str(data), manifest.made_at, len(manifest.files))
    if data == source or data.is_relative_to(source):
        raise InputError(f"{data} is the backup itself; nothing was changed", hint="set DATA= to another directory")
    check_links(data)
    is_begun = not (data / DATABASE).exists() and any(data.glob(f"{RESTORING}.*{files.PART}"))
    if not is_begun:
        _check_place(data, source)
    backup.check_room(data, sum(one.stat().st_size for name in manifest.files if (one := source / name).is_file()))
    with _server(settings) as server, contextlib.ExitStack() as made:
        is_there = server is not None and _is_there(server, manifest, is_begun=is_begun)
        if not data.exists():
            made.callback(_remove_empty, data)
        staging = _staging(data)
        made.callback(links.remove_link, staging)
        _copy(source, staging, manifest)
        report.unsent = _set_right(staging / DATABASE)
        if server is not None and not is_there:
            _put_tables(settings, server, staging, report)
        made.pop_all()  # every command knows by the folder that stays that what is there is half of it
        names = {Path(name).parts[0] for name in (*manifest.files, *(LINKED if _builds(manifest).get("index") else ()))}
        for name in sorted(names - {DATABASE}):
            links.remove_link(data / name)  # of a run that was killed
            (staging / name).rename(data / name)
        if server is None:
            (staging / DATABASE).rename(data / DATABASE)
        files.sync_directory(data)
        links.remove_link(staging)
    return report


def _check_place(data: Path, source: Path) -> None:
    """Refuse a folder with any file of a workspace's."""
    found = [path for path in sorted(data.iterdir()) if KEPT.fullmatch(path.name)] if data.is_dir() else []
    every = (one for path in found for one in (sorted(path.rglob("*")) if path.is_dir() else [path]))
    here = [one.relative_to(data).as_posix() for one in every if one.is_file() and not one.is_symlink()]
    if here:
        names = (data.with_name(f"{data.name}-restored{number}") for number in ("", *range(2, 100)))
        free = next((path for path in names if not os.path.lexists(path)), "new-folder")
        raise InputError(
            f"{data} holds a workspace already ({first_few(here)}), and a restore overwrites none; nothing was changed",
            hint=f"take a new folder: make restore FROM={shlex.quote(str(source))} DATA={shlex.quote(str(free))}",
        )


def _staging(data: Path) -> Path:
    """Return an empty folder in `data`, by which every command sees that a restore is not finished."""
    make_directory(data)
    staging = links.staging_of(data / RESTORING)
    if others := [one for one in data.glob(f"{RESTORING}.*{files.PART}") if one != staging]:
        links.remove_link(staging)
        raise InputError(
            f"another restore into {data} is under way; nothing was changed",
            hint=f"let it end first; if none runs any more, on no machine, remove {others[0]}",
        )
    return staging


def _remove_empty(data: Path) -> None:
    with contextlib.suppress(OSError):  # it is not empty any more
        data.rmdir()


def _copy(source: Path, staging: Path, manifest: BackupManifest) -> None:
    """Copy all files of a backup, with the links of the index."""
    wrong = []
    for name, sha256 in manifest.files.items():
        try:
            is_whole = backup.copy_file(source / name, staging / name) == sha256
        except FileNotFoundError:
            is_whole = False
        wrong += [] if is_whole else [name]
    if wrong:
        said = f"the backup {source} is damaged: {first_few(wrong)}; nothing was changed"
        raise InconsistentError(said, hint="take another backup")
    for folder, number in _builds(manifest).items():
        links.replace_link(staging / folder / "current", Path("builds") / number)
    for name in LINKED if _builds(manifest).get("index") else ():
        links.replace_link(staging / name, Path("index") / "current" / name)


def _builds(manifest: BackupManifest) -> dict[str, str]:
    """Return the number of the build in service in each folder that has one."""
    return {found[1]: found[2] for name in manifest.files if (found := BUILD.fullmatch(name))}


def _set_right(path: Path) -> list[int]:
    """Hold a copied database against itself, and let nothing in it be sent without a look; return what was unsent.

    What was prepared when the backup was made may have been created since. It counts as unclear now, so that the next
    submit looks for it in the whole remote list, also where that shows it late.
    """
    store = Store(f"sqlite:///{path}")
    try:
        schema.ensure_schema(store, [])
        with store.write() as tx:
            if damage := integrity.damage(tx):
                said = f"the backup's database is damaged: {damage[0]}"
                raise InconsistentError(said, hint="take another backup")
            unsent = batches.batches_in_states(tx, BatchState.PREPARED, BatchState.SUBMITTING)
            workspace_id = workspace.get_workspace(tx).workspace_id
            for batch in unsent:
                batches.mark_doubtful(tx, batch, workspace_id=workspace_id, at=datetime.now(UTC))
    finally:
        store.close()
    return [batch.number for batch in unsent]


@contextlib.contextmanager
def _server(settings: Settings) -> Iterator[Store | None]:
    """Yield the server's database that the settings name; None where they name none."""
    if not settings.database_url:
        yield None
        return
    store = Store(settings.url.reveal())
    try:
        if store.path is not None:
            raise ConfigurationError(
                "a backup is restored into a folder, or into an empty PostgreSQL database; nothing was changed",
                hint="leave DATABASE_URL out, or name a database that createdb made",
            )
        yield store
    finally:
        store.close()


def _is_there(server: Store, manifest: BackupManifest, *, is_begun: bool) -> bool:
    """Return whether a run of this restore that was killed had put the database there."""
    with server.read() as tx:
        if not (found := schema.our_tables(tx, {"experts"})):
            return False
        is_ours = schema.is_workspace(tx) and workspace.get_workspace(tx).workspace_id == manifest.workspace_id
    if is_ours and is_begun:
        return True
    raise ConfigurationError(
        f"{server.shown} has tables of findable already ({first_few(found)}), and a restore overwrites none; "
        "nothing was changed",
        hint="make an empty database with createdb and name it",
    )


def _put_tables(settings: Settings, server: Store, staging: Path, report: RestoreReport) -> None:
    here = replace(settings, data=staging, database_url=None)
    with (
        open_workspace(here, NoProgress(), access=Access.READ, whole=True) as ws,
        ws.store.read() as tx,
        server.write() as there,
    ):
        schema.make_schema(there)
        everything: list[Table] = [*schema.metadata.sorted_tables]
        above = dict[str, int]()
        for one in ws.tasks:
            one.make_tables(tx, there)
            own = one.tables(tx)
            everything += own
            above |= {table.name: asks.highest_id(tx, one.name) for table in own}
        report.rows = copy_tables(tx, there, everything, above=above)
        report.left_behind = names_beside(tx, everything)
    report.database = server.address
