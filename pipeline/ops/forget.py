"""Remove one person or item everywhere that findable writes: rows, answers, vectors, texts, lines of sealed files.

Each part is safe to do twice. After a killed run the same command goes on, also where the row itself is deleted by
then. A sealed file is written anew beside the old one, its new hash is committed, and then it takes the old one's
place: a run that died in between makes the same new file again. What is out of reach is said, and not looked for: files
of the user's own, backups, what Gemini keeps for a time, and words about the person in rows of others.
"""

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pipeline.batch import prepare
from pipeline.core import files
from pipeline.core.errors import FindableError, InconsistentError, InputError, RemoteError
from pipeline.core.step import Step
from pipeline.engine.task import Task
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.requests import request_key
from pipeline.gemini.responses import key_of_line
from pipeline.index import build
from pipeline.index.builds import LOCK, left_folders, settled_builds
from pipeline.index.evaluate import gate_questions
from pipeline.index.vectors import OF_QUESTIONS, caches, vector_store
from pipeline.index.write import nonsense
from pipeline.ops import clean
from pipeline.quality import report as reports
from pipeline.store import batches, erase, workspace
from pipeline.store.batches import Batch
from pipeline.store.database import Connection

ENGINE = ("local-engine.sqlite", "local-engine.sqlite-wal", "local-engine.sqlite-shm", "local-engine-files")
OUT_OF_REACH = "your own files, exports and backups; what Gemini keeps for two days; words about them in others' rows"
SHORT = 4  # a name with fewer letters stands in too many words to be cut out of reasons and notes


@dataclass
class ForgetReport:
    """What was removed: lines of sealed files, vectors, files of reports; and the build that was made."""

    username: str
    went_on: bool = False  # an earlier run, or another program, had removed the row
    lines: int = 0
    files: list[str] = field(default_factory=list)
    vectors: int = 0
    reports: int = 0
    build: int | None = None
    out_of_reach: str = OUT_OF_REACH


def run(ws: OpenWorkspace, username: str) -> ForgetReport:
    """Forget one person, or by its name one item of the task in use, once a person agrees.

    Raises:
        InputError: there is no such person, they stand in a batch that is not over, or it was not confirmed.
        ConfigurationError: the database does not let go of the row; nothing was changed.
        RemoteError: the API is needed and cannot be reached; what was done is kept, and the next run goes on.
    """
    task, report = ws.task, ForgetReport(username)
    ids, report.went_on = _begin(ws, username)
    with ws.store.read() as tx:
        numbers = {number for one in ids for number in erase.batches_of(tx, task.name, one)}
        everyone, cleaned = batches.batches_in_states(tx), erase.cleaned_batches(tx)
    mine = [batch for batch in everyone if batch.number in numbers]
    engine = ENGINE if ws.backend == "local" else ()
    if engine and any(not batch.is_over for batch in everyone):  # else its state goes as a whole
        for name in (batch.remote_name for batch in mine if batch.remote_name):
            ws.client.delete(name)
        engine = ()
    with ws.lock(prepare.LOCK):
        for name in engine:
            files.remove_link(ws.data / name)
        for path in clean.litter(ws) + clean.unknown_sealed(ws):
            path.unlink(missing_ok=True)
        done = {name: lost for batch in mine for name, lost in _drop_lines(ws, batch, ids, cleaned).items() if lost}
        report.files, report.lines = list(done), sum(done.values())
        with ws.lock(LOCK), ws.store.write() as tx:
            _erase(tx, task, ids, words=[username] if len(username) >= SHORT else [], now=ws.now())
    report.reports = reports.remove_reports(ws.data, task.name, is_named=lambda one: _shows(one, ids))
    with ws.lock(LOCK):
        for path in left_folders(ws.data, [one.folder for one in ws.collections]):  # of tasks that are indexed no more
            files.remove_link(path)
    if ws.is_indexed:
        _rebuild(ws, ids, report)
    report.vectors = _drop_vectors(ws)
    with ws.store.read() as tx:
        held = [table.name for one in ws.tasks for table in one.tables(tx)]
    if not ws.store.compact(besides=held):
        ws.display.warn("the database holds tables of another program that forbid to compact it; rows were overwritten")
    with ws.store.write() as tx:
        erase.finish_erasure(tx, _mark(task, username))
    return report


def _mark(task: Task, name: str) -> str:
    """Return the name under which it is marked what is being forgotten; two tasks may have items of one name."""
    return f"{task.subject} {name}" if task.brings_items else name


def _begin(ws: OpenWorkspace, name: str) -> tuple[list[str], bool]:
    """Mark that a person is being forgotten; return the ids to forget, and whether the row was gone before."""
    task, mark = ws.task, _mark(ws.task, name)
    is_there, item_id = True, ""
    with ws.store.read() as tx:
        is_begun = bool(erase.open_erasures(tx, mark))
        try:
            item_id = task.id_of(tx, name)
        except InputError:  # a killed run may have gone on, or another program deleted the row of this id
            if not (is_begun or erase.is_kept(tx, task.name, name)):
                raise
            item_id, is_there = "" if is_begun else name, False
        if item_id:
            _check_free(tx, task.name, item_id, name)
    question = f"Forget {name!r} for good: row, answers, lines in sealed files, vectors, and older builds?"
    if not is_begun:
        ws.agree(question)
    with ws.store.write() as tx:
        if item_id:
            _check_free(tx, task.name, item_id, name)
            if is_there:
                part = tx.begin_nested()  # which shows whether the database lets go of the row
                task.remove_row(tx, item_id, so_far="nothing was changed")
                part.rollback()
            erase.begin_erasure(tx, task.name, item_id, name=mark, at=ws.now())
        return erase.open_erasures(tx, mark), not is_there


def _check_free(tx: Connection, task: str, item_id: str, name: str) -> None:
    """Refuse while the person is being asked about, in a batch that is not over."""
    for number in erase.batches_of(tx, task, item_id):
        batch = batches.get_batch(tx, number)
        if not batch.is_over:
            raise InputError(
                f"{name!r} stands in batch {number}, which is {batch.state}; nothing was changed",
                hint=f"`{Step('status')}` says how to finish it, `{Step('batch-cancel', batch=number)}` gives it up",
            )


def _drop_lines(ws: OpenWorkspace, batch: Batch, ids: Collection[str], cleaned: Mapping[int, str]) -> dict[str, int]:
    """Seal the files of a batch anew without the lines about these items; return how many lines each lost.

    A line that cannot be read goes too: it may be about them, and answers nothing.
    """
    keys, done = {request_key(batch.task, one) for one in ids}, dict[str, int]()
    for name, recorded, _ in dict.fromkeys([*clean.sealed_files(batch), *clean.sealed_files(batch, cleaned)]):
        path = ws.data / name
        if not path.is_file():
            continue
        was, draft, done[name] = files.sha256_of(path), files.part_of(path), 0
        try:
            with files.SealedWriter(draft) as writer, path.open("rb") as file:
                for line in file:
                    if (key := key_of_line(line)) and key not in keys:
                        writer.write(line)
                    else:
                        done[name] += 1
                written = writer.seal()
            if done[name] and was == recorded:
                with ws.store.write() as tx:
                    if not erase.reseal(tx, batch.number, was=was, sha256=written.sha256, size=written.size):
                        raise InconsistentError(f"the record of {name} changed meanwhile", hint="run it again")
            if done[name]:
                files.rename(written, path)
        finally:
            draft.unlink(missing_ok=True)
    return done


def _erase(tx: Connection, task: Task, ids: Sequence[str], *, words: Sequence[str], now: datetime) -> None:
    is_brought = task.brings_items
    for item_id, name in task.table(tx).names(tx, ids).items():
        _check_free(tx, task.name, item_id, name)
    for one in ids:
        task.remove_row(tx, one)
        erase.erase_item(tx, task.name, one, words=words, is_number_ours=not is_brought)
        if is_brought:
            erase.bury_item(tx, task.name, one, at=now)
    workspace.touch_revision(tx, task.name)  # the ids of the forgotten are listed nowhere


def _shows(paths: Sequence[Path], ids: Collection[str]) -> bool:
    """Return whether one of these items is among the samples of a report, or its document cannot tell."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        (document,) = (json.loads(path.read_bytes()) for path in paths if path.suffix == ".json")
        return any(sample["id"] in ids for sample in document["samples"])
    return True


def _rebuild(ws: OpenWorkspace, ids: Collection[str], report: ForgetReport) -> None:
    """Build the index anew where the one in service holds one of these items, and remove every other build."""
    builds, is_there = settled_builds(ws), True
    with ws.store.read() as tx:
        left = ws.collection.count(tx)
    with contextlib.suppress(FindableError):  # one that cannot be read may hold it
        is_there = builds.current() is not None
        if is_there:
            with builds.open() as index:
                is_there = not index.content_hashes().keys().isdisjoint(ids)
    try:
        if is_there and left:
            report.build = build.run(ws, worse_ok=True).number  # what was forgotten is out, whatever it was worth
    except RemoteError as error:
        said = f"{report.username!r} is out of the database and the sealed files, but not yet out of the index"
        hint = "run the same command again; it goes on from here"
        raise RemoteError(f"{said}: {error.message}", hint=hint, code=error.code) from error
    with ws.lock(LOCK):
        if is_there and not left:
            builds.retire()
        builds.sweep()
        builds.delete(builds.others())


def _drop_vectors(ws: OpenWorkspace) -> int:
    """Remove every cached vector that no entry asks for, of all models; return how many."""
    removed = 0
    for cache in caches(vector_store(ws.store, ws.data)):
        with ws.store.read() as tx:
            entries = (entry for one in ws.collections for entry in one.entries(tx))
            needed = set(cache.keys(entry.text for entry in entries))
        questions = (*gate_questions(ws.data, ws.collections), *nonsense())
        removed += cache.retain(needed | set(cache.keys(questions, task_type=OF_QUESTIONS)))
    return removed
