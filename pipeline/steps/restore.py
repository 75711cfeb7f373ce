"""Put a backup in the place of a workspace: every hash is checked first, and what stood there is moved aside.

All of it is copied beside the workspace and gets its name by one rename; a run that was killed left the old workspace,
or the new one, or in the moment between nothing under that name, and can be run again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline import backups
from pipeline.errors import ConfigurationError, FindableError, InconsistentError, InputError
from pipeline.index import links
from pipeline.settings import Settings
from pipeline.states import BatchState
from pipeline.store import batches, checks, leases, schema, workspace
from pipeline.store.database import Store


@dataclass(frozen=True)
class Report:
    """What was restored: where from, when that was made, how many files and bytes, and where the old workspace is."""

    path: str
    made_at: str
    files: int
    size: int
    moved_aside: str | None
    unsent: list[int]


def run(settings: Settings, source: Path, *, confirm: Callable[[str], bool]) -> Report:
    """Restore the workspace that the settings name from the backup in `source`.

    `confirm` is asked where there is a workspace already; it is moved aside, never overwritten.

    Raises:
        InputError: `source` is no backup, the workspace is in use, or it was not confirmed.
        InconsistentError: the backup is damaged; nothing was changed.
    """
    source, data = Path(source).absolute(), settings.data.absolute()
    if settings.database_url:
        raise ConfigurationError(
            "FINDABLE_DATABASE_URL names a database outside of the workspace, and a restore never overwrites one",
            hint="restore without it, then put findable.db where you want it",
        )
    manifest = backups.read(source)
    if data == source or data.is_relative_to(source):
        raise InputError(f"{data} is the backup itself; nothing was changed", hint="set DATA= to another directory")
    backups.verify(source, manifest)
    _check_room(data, manifest)
    if data.is_symlink() or (data.exists() and not data.is_dir()):
        raise InputError(f"{data} is no directory of its own; nothing was changed", hint="set DATA= to what it means")
    if data.is_dir() and any(data.iterdir()):
        _check_idle(data)
        if not confirm(f"{data} is not empty. Move it aside and put the backup of {manifest.made_at} in its place?"):
            raise InputError(f"{data} is not empty; nothing was changed", hint="YES=1 moves it aside")
    data.parent.mkdir(parents=True, exist_ok=True)
    staging = backups.staging_of(data)
    with links.removed_on_error(staging):
        backups.place(source, manifest, staging)
        unsent = _check_database(staging / backups.DATABASE)
        aside = backups.settle(staging, data)
    return Report(
        str(data), manifest.made_at, len(manifest.files), manifest.size, str(aside) if aside else None, unsent
    )


def _check_room(data: Path, manifest: backups.Manifest) -> None:
    """Refuse before anything is written where the backup does not fit."""
    free = backups.free_space(data)
    if manifest.size > free:
        raise ConfigurationError(
            f"there is room for {free:,} bytes, the backup has {manifest.size:,}; nothing was changed",
            hint="make room, or set DATA= to another place",
        )


def _check_idle(data: Path) -> None:
    """Refuse while another process works in the workspace that is to be moved aside; a broken one cannot say.

    Raises:
        InputError: one does.
    """
    path = data / backups.DATABASE
    if not path.is_file():
        return
    store = Store(f"sqlite:///{path}")
    try:
        with store.read() as tx:
            held = leases.alive(tx)
    except FindableError:
        return
    finally:
        store.close()
    if held:
        raise InputError(
            f"another process works in {data} ({', '.join(held)}); nothing was changed", hint="let it finish first"
        )


def _check_database(path: Path) -> list[int]:
    """Hold the restored database against itself; make sure that nothing in it is sent without a look; compact it.

    What was prepared when the backup was made may have been created since. It counts as unclear now, so that the next
    submit looks for it in the whole remote list before it creates anything. Returns the numbers of those batches.

    Raises:
        InconsistentError: the database is damaged; nothing was changed.
    """
    store = Store(f"sqlite:///{path}")
    try:
        schema.ensure(store, [])
        with store.write() as tx:
            damage = checks.damage(tx)
            if damage:
                raise InconsistentError(f"the backup's database is damaged: {damage[0]}", hint="take another backup")
            leases.drop_all(tx)
            unsent = batches.in_states(tx, BatchState.PREPARED)
            for batch in unsent:
                workspace_id = workspace.get(tx).workspace_id
                batches.mark_doubtful(tx, batch, workspace_id=workspace_id, at=datetime.now(UTC))
        store.compact()
    finally:
        store.close()
    return [batch.number for batch in unsent]
