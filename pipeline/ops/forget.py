"""Remove people or items everywhere that findable writes: rows, answers, vectors, texts, lines of sealed files.

Each part is safe to do twice. After a killed run the same command goes on, also where the row itself is deleted by
then. A sealed file is written anew beside the old one, its new hash is committed, and then it takes the old one's
place: a run that died in between makes the same new file again. What is out of reach is said, and not looked for: files
of the user's own, backups, what Gemini keeps for a time, and words about the person in rows of others.
"""

import contextlib
import csv
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pipeline.batch import prepare
from pipeline.core import files
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import FindableError, InconsistentError, InputError, RemoteError
from pipeline.core.files import require_utf8_path
from pipeline.core.text import first_few, restore_formula
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.gemini.requests import request_key
from pipeline.gemini.responses import key_of_line
from pipeline.index import build
from pipeline.index.builds import INDEX_LOCK, find_orphaned_folders, open_synced_builds
from pipeline.ops import clean
from pipeline.quality import report as reports
from pipeline.store import batches, erasure, rows, workspace
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection
from pipeline.tables.columns import fold_name
from pipeline.tables.row_import import MISSING_ROW_KIND

ENGINE = (
    "local-engine.sqlite",
    "local-engine.sqlite-wal",
    "local-engine.sqlite-shm",
    "local-engine-files",
)
OUT_OF_REACH = "your own files, exports and backups; what Gemini keeps for two days; words about them in others' rows"
SHOWN = 5  # names in a message
SHORT = 4  # a name with fewer letters stands in too many words to be cut out of reasons and notes


@dataclass
class ForgetReport:
    """What was removed: lines of sealed files, vectors, files of reports; and the build that was made."""

    # The names, with commas between them, and each by itself.
    username: str
    usernames: list[str] = field(default_factory=list)
    went_on: bool = False  # an earlier run, or another program, had removed the row
    lines: int = 0
    files: list[str] = field(default_factory=list)
    vectors: int = 0
    reports: int = 0
    build: int | None = None
    out_of_reach: str = OUT_OF_REACH


def split_names(ws: WorkspaceSession, texts: Sequence[str]) -> list[str]:
    """Return the names that a person typed: a text with commas is several names, unless it is one itself."""
    with ws.store.read() as tx:
        whole = {text for text in texts if "," not in text or _is_known(tx, ws.task, text)}
    parts = (part for text in texts for part in ([text] if text in whole else text.split(",")))
    return [part.strip() for part in parts if part.strip()]


def names_in(ws: WorkspaceSession, path: Path) -> list[str]:
    """Return the names in a file: of a CSV file with a column of them that column, else each line.

    Of the report of an import they are those that it lists as missing.
    """
    require_utf8_path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"{path} cannot be read as a file of names: {error}; nothing was changed"
        ) from None
    columns = {fold_name(one) for one in ws.task.name_columns}
    rows = list(csv.reader(lines))
    header = [fold_name(cell) for cell in rows[0]] if rows else []
    named = next((number for number, cell in enumerate(header) if cell in columns), None)
    if named is not None:
        kind = header.index("kind") if {"kind", "reason"} <= set(header) else None
        lines = [
            restore_formula(row[named])
            for row in rows[1:]
            if len(row) > named and (kind is None or row[kind] == MISSING_ROW_KIND)
        ]
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(
            f"{path} names nobody; nothing was changed", hint="a name a line, or a Username column"
        )
    return names


def run(ws: WorkspaceSession, names: Sequence[str]) -> ForgetReport:
    """Forget people, or by their names items of the task in use, once a person agrees.

    Raises:
        InputError: One is not there, or stands in a batch that is not over, or it was not confirmed.
        InconsistentError: A sealed file was changed, or the database names another file.
        ConfigurationError: The database does not let go of a row; nothing was changed.
        RemoteError: The API is needed and cannot be reached; what was done is kept, and the next run goes on.
    """
    names = list(dict.fromkeys(names))
    task = ws.task
    report = ForgetReport(", ".join(names), names)
    ids, report.went_on = _begin(ws, names)
    with ws.store.read() as tx:
        numbers = {number for one in ids for number in erasure.batches_of_row(tx, task.name, one)}
        everyone = batches.batches_in_states(tx)
        cleaned = erasure.cleaned_batches(tx)
    mine = [batch for batch in everyone if batch.number in numbers]
    engine = ENGINE if ws.backend == "local" else ()
    if engine and any(not batch.is_over for batch in everyone):  # else its state goes as a whole
        for name in (batch.remote_name for batch in mine if batch.remote_name):
            ws.client.delete(name)
        engine = ()
    with ws.lock(prepare.PREPARE_LOCK):
        for name in engine:
            files.remove_path(ws.data / name)
        for path in clean.litter(ws) + clean.unknown_sealed(ws):
            path.unlink(missing_ok=True)
        done = {
            name: lost
            for batch in mine
            for name, lost in _drop_lines(ws, batch, ids, cleaned).items()
            if lost
        }
        report.files = list(done)
        report.lines = sum(done.values())
        with ws.lock(INDEX_LOCK), ws.store.write() as tx:
            _erase(tx, task, ids, words=[one for one in names if len(one) >= SHORT], now=ws.now())
            rows.delete_refused(tx, task.name, [*names, *ids])
    report.reports = reports.delete_reports(
        ws.data, task.name, should_delete=lambda one: _shows(one, ids)
    )
    with ws.lock(INDEX_LOCK):
        for path in find_orphaned_folders(
            ws.data, [one.folder for one in ws.collections]
        ):  # of tasks that are indexed no more
            files.remove_path(path)
    if ws.is_indexed:
        _rebuild(ws, ids, report)
    report.vectors = clean.drop_vectors(ws, before=None, dry=False)
    with ws.store.read() as tx:
        held = [table.name for one in ws.tasks for table in one.tables(tx)]
    if not ws.store.compact(besides=held):
        ws.display.warn(
            "the database holds tables of another program that forbid to compact it; rows were overwritten"
        )
    with ws.store.write() as tx:
        for name in names:
            erasure.finish_erasure(tx, _mark(task, name))
    return report


def _mark(task: Task, name: str) -> str:
    """Return the name under which it is marked what is being forgotten; two tasks may have items of one name."""
    return f"{task.subject} {name}" if task.brings_items else name


def _is_known(tx: Connection, task: Task, name: str) -> bool:
    """Return whether there is an item of that name, or something is kept of one, or it was begun to be forgotten."""
    with contextlib.suppress(InputError):
        return bool(task.id_of(tx, name))
    return bool(erasure.open_erasures(tx, _mark(task, name))) or erasure.has_records(
        tx, task.name, name
    )


def _begin(ws: WorkspaceSession, names: Sequence[str]) -> tuple[list[str], bool]:
    """Mark what is being forgotten, all or nothing; return the ids to forget, and whether a row was gone before."""
    task = ws.task
    # The id of each name, empty if only a mark is left of it, and whether its row is there.
    begun: dict[str, tuple[str, bool]] = {}
    with ws.store.read() as tx:
        if len(names) > 1 and (
            unknown := [name for name in names if not _is_known(tx, task, name)]
        ):
            said = f"{first_few(unknown, SHOWN)}: there is no {task.words.one} of that name; nothing was changed"
            raise InputError(said, hint="leave them out, or correct the names")
        for name in names:
            is_begun = bool(erasure.open_erasures(tx, _mark(task, name)))
            try:
                begun[name] = task.id_of(tx, name), True
            except (
                InputError
            ):  # a killed run may have gone on, or another program deleted the row of this id
                if not _is_known(tx, task, name):
                    raise
                begun[name] = "" if is_begun else name, False
            if begun[name][0]:
                _check_free(tx, task.name, begun[name][0], name)
        is_new = any(not erasure.open_erasures(tx, _mark(task, name)) for name in names)
        _check_sealed(ws, tx, [item_id for item_id, _ in begun.values() if item_id])
    if is_new:
        whose = (
            repr(names[0])
            if len(names) == 1
            else f"{len(names):,} {task.words.many} ({first_few(names, SHOWN)})"
        )
        ws.agree(
            f"Forget {whose} for good: row, answers, lines in sealed files, vectors, and older builds?"
        )
    with ws.store.write() as tx:
        for name, (item_id, is_there) in begun.items():
            if not item_id:
                continue
            _check_free(tx, task.name, item_id, name)
            if is_there:
                part = tx.begin_nested()  # which shows whether the database lets go of the row
                task.remove_row(tx, item_id, so_far="nothing was changed")
                part.rollback()
            erasure.begin_erasure(tx, task.name, item_id, name=_mark(task, name), now=ws.now())
        ids = [
            item_id for name in names for item_id in erasure.open_erasures(tx, _mark(task, name))
        ]
    return list(dict.fromkeys(ids)), any(not is_there for _, is_there in begun.values())


def _check_free(tx: Connection, task: str, item_id: str, name: str) -> None:
    """Refuse while the person is being asked about, in a batch that is not over."""
    for number in erasure.batches_of_row(tx, task, item_id):
        batch = batches.get_batch(tx, number)
        if not batch.is_over:
            raise InputError(
                f"{name!r} stands in batch {number}, which is {batch.state}; nothing was changed",
                hint=f"`{CommandHint('status')}` says how to finish it, "
                f"`{CommandHint('batch-cancel', batch=number)}` gives it up",
            )


def _sealed_files(
    data: Path, batch: BatchRow, cleaned: Mapping[int, str]
) -> list[clean.SealedFile]:
    """Return the sealed files of a batch that exist.

    A killed `clean` may leave files of a batch that is recorded as cleaned.
    """
    found = [*clean.sealed_files(data, batch), *clean.sealed_files(data, batch, cleaned)]
    return [file for file in dict.fromkeys(found) if file.path.is_file()]


def _changed(batch: BatchRow, path: Path, what: str) -> InconsistentError:
    """Return the error for a changed file, which may contain lines about the person."""
    return InconsistentError(
        f"{what} of batch {batch.number} was changed after it was sealed and may be about them: "
        f"{path}; the file stays as it is",
        hint=f"put it back or remove it, then run `{CommandHint('forget')}` again",
    )


def _check_sealed(ws: WorkspaceSession, tx: Connection, ids: Sequence[str]) -> None:
    """Refuse to begin while a sealed file that may be about these items is not as it was sealed."""
    # A killed run may have recorded a hash before its file; `_drop_lines` checks those files.
    if erasure.open_erasures(tx):
        return

    numbers = {number for one in ids for number in erasure.batches_of_row(tx, ws.task.name, one)}
    cleaned = erasure.cleaned_batches(tx)
    for number in sorted(numbers):
        batch = batches.get_batch(tx, number)
        for file in _sealed_files(ws.data, batch, cleaned):
            if not file.is_sealed:
                raise _changed(batch, file.path, file.what)


def _drop_lines(
    ws: WorkspaceSession, batch: BatchRow, ids: Collection[str], cleaned: Mapping[int, str]
) -> dict[str, int]:
    """Seal the files of a batch anew without the lines about these items; return how many lines each lost.

    A line that cannot be read goes too: it may be about them, and answers nothing.
    """
    keys = {request_key(batch.task, one) for one in ids}
    done = dict[str, int]()
    for path, recorded, what in _sealed_files(ws.data, batch, cleaned):
        name = path.relative_to(ws.data).as_posix()
        was = files.sha256_of(path)
        draft = files.new_part_path(path)
        done[name] = 0
        try:
            with files.SealedWriter(draft) as writer, path.open("rb") as file:
                for line in file:
                    if (key := key_of_line(line)) and key not in keys:
                        writer.write(line)
                    else:
                        done[name] += 1
                written = writer.seal()
            # A run that was killed before the rename has recorded the new file.
            if recorded not in {was, written.sha256}:
                raise _changed(batch, path, what)
            if done[name] and was == recorded:
                with ws.store.write() as tx:
                    if not erasure.reseal(
                        tx, batch.number, old_sha256=was, sha256=written.sha256, size=written.size
                    ):
                        raise InconsistentError(
                            f"the record of {name} changed meanwhile", hint="run it again"
                        )
            if done[name]:
                files.rename_sealed(written, path)
        finally:
            draft.unlink(missing_ok=True)
    return done


def _erase(
    tx: Connection, task: Task, ids: Sequence[str], *, words: Sequence[str], now: datetime
) -> None:
    is_brought = task.brings_items
    for item_id, name in task.table(tx).names(tx, ids).items():
        _check_free(tx, task.name, item_id, name)
    for one in ids:
        task.remove_row(tx, one)
        erasure.erase_row(tx, task.name, one, words=words, is_number_ours=not is_brought)
        if is_brought:
            erasure.bury_row(tx, task.name, one, now=now)
    workspace.record_row_change(tx, task.name)  # the ids of the forgotten are listed nowhere


def _shows(paths: Sequence[Path], ids: Collection[str]) -> bool:
    """Return whether one of these items is among the samples of a report, or its document cannot tell."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        (document,) = (json.loads(path.read_bytes()) for path in paths if path.suffix == ".json")
        return any(sample["id"] in ids for sample in document["samples"])
    return True


def _rebuild(ws: WorkspaceSession, ids: Collection[str], report: ForgetReport) -> None:
    """Build the index anew where the one in service holds one of these items, and remove every other build."""
    builds = open_synced_builds(ws)
    is_there = True
    with ws.store.read() as tx:
        left = ws.collection.count(tx)
    with contextlib.suppress(FindableError):  # one that cannot be read may hold it
        is_there = builds.current() is not None
        if is_there:
            with builds.open() as index:
                is_there = not index.content_hashes().keys().isdisjoint(ids)
    try:
        if is_there and left:
            report.build = build.run(
                ws, worse_ok=True
            ).number  # what was forgotten is out, whatever it was worth
    except RemoteError as error:
        whose = first_few(report.usernames, SHOWN)
        said = f"{whose} is out of the database and the sealed files, but not yet out of the index"
        hint = "run the same command again; it goes on from here"
        raise RemoteError(f"{said}: {error.message}", hint=hint, code=error.code) from error
    with ws.lock(INDEX_LOCK):
        if is_there and not left:
            builds.retire()
        builds.sweep()
        builds.delete(builds.others())
