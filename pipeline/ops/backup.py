"""Copy the whole workspace into one folder while others work in it, and put such a copy into a new folder.

    manifest.json        the SHA-256 of each file of the copy; written last
    findable.db          the database as it stood at one moment, in one file
    batches/             the sealed files that it names
    index/vectors.sqlite what was embedded, so that `make index` builds the index again and pays for nothing
    reports/             the reports on answers
    sources/             the rows of tasks that are kept as words
    local-engine…        the local engine's state, where it works here

The sealed files are copied after the database: they never change. A folder gets its name when it is whole. One on
a server is copied by its own programs, and a copy can be restored into an empty one there: the way out of SQLite.
"""

import contextlib
import json
import os
import shlex
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import __version__, files
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import ConfigurationError, InconsistentError, InputError
from pipeline.core.progress import NoProgress
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState
from pipeline.core.text import INVALID_TEXT, first_few
from pipeline.engine.access import Access
from pipeline.engine.open_workspace import open_workspace
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_file import FOLDER, SOURCES
from pipeline.engine.workspace_folder import is_free
from pipeline.index.vector_cache import VectorCache, open_vector_cache, open_vector_store
from pipeline.ops import clean
from pipeline.quality import report
from pipeline.store import batches, claims, erasure, schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.table_copy import copy_tables

if TYPE_CHECKING:
    from sqlalchemy import Table

FORMAT = 4
MANIFEST = "manifest.json"
DATABASE = "findable.db"
VECTORS = "index/vectors.sqlite"
ENGINE = "local-engine.sqlite"
ENGINE_FILES = "local-engine-files"
# Kind of the journal line that ends the copying of tables: the folder's name, when the backup was
# made, and the position of the database.
RESTORED = "restored"


@dataclass(frozen=True)
class BackupReport:
    """The copy that was made: where, how many files and bytes; or, of a database on a server, what to type for one."""

    path: str
    files: int = 0
    size: int = 0
    typed: tuple[str, ...] = ()


@dataclass
class RestoreReport:
    """What was restored: where to, when the copy was made, its files, and the batches that were not sent.

    In a server's database `rows` says how many each table has; what is not ours stays in the copy alone.
    """

    path: str
    made_at: str
    files: int
    unsent: list[int] = field(default_factory=list)
    database: str = ""
    rows: dict[str, int] = field(default_factory=dict)


def run(ws: WorkspaceSession, target: Path) -> BackupReport:
    """Make a backup in the folder `target`, which must not be there yet.

    Raises:
        InputError: something stands there already.
        InconsistentError: a sealed file is not what the database says, or changes meanwhile; no copy was made.
    """
    target = Path(target).absolute()
    if os.path.lexists(target):
        raise InputError(
            f"{target} is there already; nothing was written",
            hint="name a folder that is not there yet",
        )
    if ws.store.path is None:  # the database is copied first, for it names the files
        url = ws.store.address.replace("postgresql+psycopg:", "postgresql:", 1)
        dump = ("pg_dump", "--format=custom", f"--file={target / 'findable.dump'}", url)
        lines = (("mkdir", target), dump, ("cp", "-a", ws.data.absolute(), target / "data"))
        return BackupReport(str(target), typed=tuple(shlex.join(map(str, line)) for line in lines))
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.staging_folder(target) as staging:
        found = _copied(ws, staging)
        made_at = ws.now().isoformat(timespec="seconds")
        document = {"format": FORMAT, "version": __version__, "made_at": made_at, "files": found}
        files.seal_bytes(staging / MANIFEST, json.dumps(document, indent=1).encode("ascii") + b"\n")
        _rename(staging, target)
    return BackupReport(
        str(target), len(found), sum((target / name).stat().st_size for name in found)
    )


def _rename(staging: Path, folder: Path) -> None:
    """Give a whole folder its name, where nothing stands, or an empty folder."""
    try:
        staging.rename(folder)
    except OSError as error:
        raise InputError(
            f"{folder} cannot take the copy ({error.strerror})",
            hint="name a folder that is not there",
        ) from error
    files.sync_directory(folder.parent)


def _copy_file(source: Path, target: Path) -> str:
    """Copy one file, durable when this returns, and return the hash of the bytes that were written."""
    with source.open("rb") as file, files.SealedWriter(target) as writer:
        while piece := file.read(1 << 20):
            writer.write(piece)
        return writer.seal().sha256


def _copied(ws: WorkspaceSession, staging: Path) -> dict[str, str]:
    found = dict[str, str]()
    with open_vector_cache(ws).reading() as kept:
        if kept is not None:
            (staging / VECTORS).parent.mkdir()
            found[VECTORS] = _copy_database(kept.connection.driver_connection, staging / VECTORS)
    with ws.store.held() as source:
        found[DATABASE] = _copy_database(source.connection.driver_connection, staging / DATABASE)
    with closing(Store(f"sqlite:///{staging / DATABASE}")) as copy, copy.read_unchanged() as tx:
        assert tx is not None  # noqa: S101 - the file is there
        everyone = batches.batches_in_states(tx)
        cleaned = erasure.cleaned_batches(tx)
    for batch in everyone:
        for path, sha256, _ in clean.sealed_files(ws.data, batch, cleaned):
            name = path.relative_to(ws.data).as_posix()
            is_needed = not (batch.is_over or batch.number in cleaned)
            if is_needed or path.exists():
                found[name] = _sealed(ws, staging, name, sha256, is_needed=is_needed)
    for task in ws.tasks:
        every = report.report_files_by_name(ws.data, task.name).values()
        found |= _loose(ws.data, staging, (one for paths in every for one in paths))
    found |= _loose(
        ws.data, staging, [*ws.data.glob(f"{FOLDER}/[!.]*.py"), *ws.data.glob(f"{SOURCES}/[!.]*")]
    )
    if (ws.data / ENGINE).is_file():
        with closing(sqlite3.connect(ws.data / ENGINE)) as engine:
            found[ENGINE] = _copy_database(engine, staging / ENGINE)
        found |= _loose(ws.data, staging, (ws.data / ENGINE_FILES).glob("*"))
    return dict(sorted(found.items()))


def _copy_database(source: Any, target: Path) -> str:
    """Copy a database as it stands at one moment, into one file also where it cannot be written; return its hash."""
    with closing(sqlite3.connect(target)) as file:
        source.backup(file)
        file.execute("PRAGMA journal_mode = DELETE")
    return files.sync_part(target).sha256


def _sealed(ws: WorkspaceSession, staging: Path, name: str, sha256: str, *, is_needed: bool) -> str:
    """Copy one sealed file; one that nothing needs and that was damaged is copied as it is, with a warning."""
    copied = ""
    said = f"{name} was changed after it was sealed"
    try:
        copied = _copy_file(ws.data / name, staging / name)
    except FileNotFoundError:
        said = f"{name} is gone"
    if not copied or (copied != sha256 and is_needed):
        raise InconsistentError(
            f"{said}; no backup was made", hint=f"run `{CommandHint('doctor')}`"
        )
    if copied != sha256:
        ws.display.warn(f"{said}; it is in the backup as it is")
    return copied


def _loose(data: Path, staging: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Copy files that others may append to or remove meanwhile; any beginning of them is good."""
    found = {}
    for path in paths:
        name = path.relative_to(data).as_posix()
        with contextlib.suppress(FileNotFoundError):
            found[name] = _copy_file(path, staging / name)
    return found


def restore(settings: Settings, source: Path) -> RestoreReport:
    """Restore the backup in `source` into a new folder, and its database into a server's where the settings name one.

    Raises:
        InputError: `source` is no backup, or the folder holds something, lies in it, or cannot be replaced.
        ConfigurationError: the database of the settings is no PostgreSQL, or holds a workspace already,
            unless this restore was killed before the folder got its name; then it goes on.
        InconsistentError: the backup is damaged; nothing was changed.
    """
    source, data = (Path(os.path.realpath(path)) for path in (source, settings.data))
    made_at, hashes = _read_manifest(source)
    report = RestoreReport(str(data), made_at, len(hashes))
    why = "" if is_free(data) else "not empty, and a restore goes into a new folder"
    free = f"{data}-restored"
    if data.is_relative_to(source):
        why = "in the backup itself"
        free = str(source.with_name(f"{data.name}-restored"))
    if why:
        hint = f"take a new folder: {CommandHint('restore', from_=source, data=free)}"
        raise InputError(f"{data} is {why}; nothing was changed", hint=hint)
    data.parent.mkdir(parents=True, exist_ok=True)
    with _server(settings, report) as server, files.staging_folder(data) as staging:
        if wrong := [
            name for name, sha256 in hashes.items() if _copied_wrong(source, staging, name, sha256)
        ]:
            said = f"the backup {source} is damaged: {first_few(wrong)}; nothing was changed"
            raise InconsistentError(said, hint="take another backup")
        report.unsent = _set_right(staging / DATABASE)
        if server is not None:
            if not report.database:
                _put_tables(settings, server, staging, report)
            (staging / DATABASE).unlink()
        _rename(staging, data)
    return report


def _read_manifest(folder: Path) -> tuple[str, dict[str, str]]:
    """Return when a copy was made, and the hash of each of its files."""
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
        hashes = {str(name): str(sha256) for name, sha256 in document["files"].items()}
        made_at = str(document["made_at"])
        is_known = document["format"] == FORMAT and DATABASE in hashes
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = (
            f"it has no {MANIFEST}"
            if isinstance(error, FileNotFoundError)
            else f"its {MANIFEST} cannot be read"
        )
        raise InputError(
            f"{folder} is no backup: {why}",
            hint=f"name a folder that `{CommandHint('backup')}` made",
        ) from error
    if unsound := next(filter(INVALID_TEXT.search, hashes), None):
        raise InputError(
            f"{folder} is no backup: its {MANIFEST} names the file {unsound!r}, and no file can "
            "have that name; nothing was changed",
            hint=f"name a folder that `{CommandHint('backup')}` made",
        )
    if not is_known or any("\\" in name for name in hashes):
        raise InputError(
            f"{folder} is a backup of another version, or was changed", hint="take another backup"
        )
    for name in hashes:
        _check_name(folder, name)
    return made_at, hashes


def _check_name(folder: Path, name: str) -> None:
    """Refuse a name of the manifest that leads out of the backup."""
    try:
        files.path_below(folder, name)
    except InconsistentError as error:
        raise InputError(
            f"{folder} is no backup that can be restored: {error.message}",
            hint="take another backup",
        ) from error


def _copied_wrong(source: Path, staging: Path, name: str, sha256: str) -> bool:
    try:
        return _copy_file(source / name, staging / name) != sha256
    except FileNotFoundError:
        return True


def _set_right(path: Path) -> list[int]:
    """Hold a copied database against itself, and let nothing in it be sent without a look; return what was unsent.

    What was prepared when the backup was made may have been created since. It counts as unclear now, so that the next
    submit looks for it in the whole remote list, also where that shows it late.
    """
    with closing(Store(f"sqlite:///{path}")) as store:
        schema.ensure_schema(store, [])
        with store.write() as tx:
            if damage := schema.find_damage(tx):
                said = f"the backup's database is damaged: {damage[0]}"
                raise InconsistentError(said, hint="take another backup")
            unsent = batches.batches_in_states(tx, BatchState.PREPARED, BatchState.SUBMITTING)
            workspace_id = workspace.get_workspace(tx).workspace_id
            for batch in unsent:
                batches.mark_doubtful(tx, batch, workspace_id=workspace_id, now=datetime.now(UTC))
    return [batch.number for batch in unsent]


@contextlib.contextmanager
def _server(settings: Settings, report: RestoreReport) -> Iterator[Store | None]:
    """Yield the server's database that the settings name; None if they name none.

    The database has no tables of findable. If a killed restore of the same backup into the same
    folder copied all of them, and nothing changed since, the report names the database.
    """
    if not settings.database_url:
        yield None
        return
    with closing(Store(settings.url.reveal())) as store:
        found = list[str]()
        if store.path is None:
            with store.read() as tx:
                found = [*schema.our_tables(tx, {"experts"})]
                if found and _is_copied(tx, report):
                    report.database = store.address
        if (found and not report.database) or store.path is not None:
            why = "a backup is restored into a folder, or into an empty PostgreSQL database"
            if found:
                why = (
                    f"{store.shown} has tables of findable already ({first_few(found)}), "
                    "and a restore overwrites none"
                )
            raise ConfigurationError(
                f"{why}; nothing was changed",
                hint="leave DATABASE_URL out, or name an empty one that createdb made",
            )
        yield store


def _is_copied(tx: Connection, report: RestoreReport) -> bool:
    """Return whether a database is as a restore of this backup into this folder left it."""
    if not schema.is_schema_current(tx):
        return False
    position = str(workspace.get_workspace(tx).position)
    return workspace.is_unchanged_since(tx, RESTORED, report.path, old=report.made_at, new=position)


def _put_tables(settings: Settings, server: Store, staging: Path, report: RestoreReport) -> None:
    here = replace(settings, data=staging, database_url=None)
    with (
        open_workspace(here, NoProgress(), access=Access.READ, whole=True) as ws,
        ws.store.read() as tx,
        server.write() as there,
    ):
        schema.metadata.create_all(there, checkfirst=False)
        everything: list[Table] = [*schema.metadata.sorted_tables]
        above = dict[str, int]()
        for one in ws.tasks:
            one.make_tables(tx, there)
            own = one.tables(tx)
            everything += own
            above |= {table.name: claims.highest_id(tx, one.name) for table in own}
        report.rows = copy_tables(tx, there, everything, min_numbers=above)
        with VectorCache(open_vector_store(ws.store, staging), model="", dim=0).reading() as kept:
            if kept is not None:
                VectorCache.table.create(there)
                report.rows |= copy_tables(kept, there, [VectorCache.table], min_numbers={})
        workspace.record_event(
            there,
            RESTORED,
            report.path,
            old=report.made_at,
            new=str(workspace.get_workspace(tx).position),
            reason="all tables were copied",
            now=datetime.now(UTC),
        )
    report.database = server.address
