"""Remove one person or item everywhere, and prove it by a search over every byte of the workspace.

In this order, each part safe to do twice: the mark that it was begun, uploads at the API, lines in sealed files, all
rows in one transaction, the reports that name them, the index, the vectors, what the database keeps of deleted rows.
After a killed run the same command goes on, also where the row itself is deleted by then.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.batch import prepare
from pipeline.core.errors import InconsistentError, InputError, RemoteError
from pipeline.core.task import Subject
from pipeline.engine.thumbnails import drop_thumbnails
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import build
from pipeline.ops import byte_scan, forget_files
from pipeline.ops.checks import files
from pipeline.quality import report_files
from pipeline.store import batches, claims, erase, integrity, wire_texts, workspace

if TYPE_CHECKING:
    from pipeline.store.database import Connection, Store


OURS = ("findable.db", "batches", "index", "local-engine")  # how the names of what we write begin
SHORT = 4  # a name with fewer letters stands in too many words to be cut out of other texts


@dataclass
class ForgetReport:
    """What was removed; which of the user's own files still hold the person, and where others have named them.

    `rows_of_others` are tables of other subjects of which rows hold text of the person, with the task of each.
    """

    username: str
    went_on: bool = False  # an earlier run had removed the row; of its texts only the name could be looked for
    lines: int = 0
    files: list[str] = field(default_factory=list)
    uploads: int = 0
    vectors: int = 0
    reports: int = 0
    build: int | None = None
    own_files: list[str] = field(default_factory=list)
    named_by_others: list[str] = field(default_factory=list)
    rows_of_others: dict[str, str] = field(default_factory=dict)


def run(ws: OpenWorkspace, username: str, *, confirm: Callable[[str], bool]) -> ForgetReport:
    """Forget one person, or by its name one item of the task in use; `confirm` is asked before anything is changed.

    Raises:
        InputError: there is no such person, they stand in a batch that is not over, or it was not confirmed.
        ConfigurationError: the database does not let go of the row; nothing was changed.
        RemoteError: the API is needed and cannot be reached; what was done is kept, and the next run goes on.
        InconsistentError: something of the person is still there; the message says where.
    """
    subject = ws.subject
    task = subject.task.name
    texts, ids, is_there = _begin(ws.store, subject, username, now=ws.now, confirm=confirm)
    report = ForgetReport(username, went_on=not is_there)
    with ws.store.read() as tx:
        numbers = {number for one in ids for number in erase.batches_of(tx, task, one)}
    report.uploads = forget_files.drop_uploads(ws, numbers)
    with ws.waited_lease(prepare.LEASE, waiting=prepare.WAITING) as lease:
        _remove_files(ws, ids, byte_scan.needles(texts), report=report)
        words = [word for word in texts if len(word) >= SHORT]
        with ws.waited_lease(build.LEASE, waiting=build.WAITING) as index, ws.store.write() as tx:
            lease.check(tx)
            index.check(tx)
            _erase(tx, subject, ids, words=words, now=ws.now())
            proving = byte_scan.needles(texts, tells=partial(_is_theirs_alone, tx, ws.subjects))
            forms = _texts(proving)
            wire_texts.drop_holding(tx, forms)
            batches.drop_examples(tx, numbers, holding=forms)
            report.rows_of_others = _rows_of_others(tx, subject, ws.subjects, words)
    drop_reports = partial(forget_files.drop_reports, ws.data, task, ids, words=byte_scan.needles(texts))
    report.reports = drop_reports()
    forget_files.drop_left_indexes(ws)
    drop_thumbnails(ws.data)  # those of other images are made again
    if subject.collection is not None:
        _rebuild(ws, ids, report=report)
    report.vectors = forget_files.drop_vectors(ws.store, ws.data, ws.collections)
    with ws.store.read() as tx:
        tables = [table.name for one in ws.subjects for table in one.hooks.tables(tx)]
    if not ws.store.compact(besides=tables):
        ws.display.warn("the database holds tables of another program that forbid to compact it; rows were overwritten")
    report.reports += drop_reports()  # one that was being written from the old rows
    _prove(ws, proving, report=report)
    with ws.store.write() as tx:
        erase.finish_erasure(tx, _mark(subject, username))
    return report


def _mark(subject: Subject, name: str) -> str:
    """Return the name under which it is marked what is being forgotten; two tasks may have items of one name."""
    return f"{subject.name} {name}" if subject.hooks.brings_items else name


def _begin(
    store: "Store", subject: Subject, username: str, *, now: Callable[[], datetime], confirm: Callable[[str], bool]
) -> tuple[list[str], list[str], bool]:
    """Mark that a person is being forgotten; return their texts, the ids to forget, and whether the row is there."""
    texts, task, hooks, mark = [username], subject.task, subject.hooks, _mark(subject, username)
    with store.read() as tx:
        is_begun = bool(erase.open_erasures(tx, mark))
        item_id = None
        with contextlib.suppress(InputError) if is_begun else contextlib.nullcontext():  # a killed run may have gone on
            item_id = task.id_of(tx, username)
        if item_id is not None:
            texts = hooks.texts_of(tx, item_id)
            _check_free(tx, task.name, item_id, username, now=now())
    question = f"Forget {username!r} for good: row, answers, lines in sealed files, vectors, uploads, and older builds?"
    if not is_begun and not confirm(question):
        raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes")
    with store.write() as tx:
        claims.free_dead_claims(tx, now=now())
        if item_id is not None:
            _check_free(tx, task.name, item_id, username, now=now())
            hooks.check_removable(tx, item_id)
            erase.begin_erasure(tx, task.name, item_id, name=mark, at=now())
        return texts, erase.open_erasures(tx, mark), item_id is not None


def _check_free(tx: "Connection", task: str, item_id: str, name: str, *, now: datetime) -> None:
    """Refuse while the person is being asked about, in a batch that is not over or by a live call.

    Raises:
        InputError: they are; the message says what to do.
    """
    for number in erase.batches_of(tx, task, item_id):
        batch = batches.get_batch(tx, number)
        if not batch.is_over:
            raise InputError(
                f"{name!r} stands in batch {number}, which is {batch.state}; nothing was changed",
                hint=f"`make status` says how to finish it, `make batch-cancel BATCH={number}` gives it up",
            )
    if item_id not in claims.dead_claims(tx, task, now=now) and claims.is_any_claimed(tx, task, [item_id]):
        raise InputError(f"{name!r} is being asked about right now; nothing was changed", hint="try again in a minute")


def _is_theirs_alone(tx: "Connection", subjects: Sequence[Subject], piece: str) -> bool:
    """Return whether a piece of text stands in nothing that is kept of anything else: to find it proves something.

    It is asked once the person's own rows are gone. What many say of themselves is told by their rows, not by them.
    """
    forms = byte_scan.forms(piece)
    if any(one.hooks.contains_text(tx, form) for one in subjects for form in forms):
        return False
    return not any(integrity.tables_holding(tx, one.hooks.tables(tx), forms) for one in subjects)


def _rows_of_others(
    tx: "Connection", subject: Subject, subjects: Sequence[Subject], words: Sequence[str]
) -> dict[str, str]:
    """Return the tables of other subjects of which rows hold one of these words, with the task of each."""
    others = [one for one in subjects if one.name != subject.name]
    return {
        table: one.task.name for one in others for table in integrity.tables_holding(tx, one.hooks.tables(tx), words)
    }


def _remove_files(ws: OpenWorkspace, ids: list[str], needles: list[bytes], *, report: ForgetReport) -> None:
    """Remove the person from the local engine's files and from every sealed file, under the lease on preparing."""
    if ws.backend == "local":
        forget_files.drop_engine(ws.store, ws.data)
    for path in files.litter(ws.store, ws.data) + files.unknown_sealed(ws.store, ws.data):
        path.unlink(missing_ok=True)
    done = forget_files.drop_lines(ws.store, ws.data, ws.task.name, ids, words=needles, display=ws.display)
    report.files, report.lines = list(done), sum(done.values())


def _erase(tx: "Connection", subject: Subject, ids: list[str], *, words: list[str], now: datetime) -> None:
    """Remove every row of the person, in the caller's transaction."""
    task = subject.task
    for item_id, name in task.names(tx, ids).items():
        _check_free(tx, task.name, item_id, name, now=now)
    is_brought = subject.hooks.brings_items
    for one in ids:
        erase.erase_item(tx, task.name, one, words=words, is_number_ours=not is_brought)
    for one in ids:
        subject.hooks.remove(tx, one)
        if is_brought:
            erase.bury_item(tx, task.name, one, at=now)
    workspace.touch_revision(tx, task.name)


def _rebuild(ws: OpenWorkspace, ids: list[str], *, report: ForgetReport) -> None:
    """Build the index without the person.

    Raises:
        RemoteError: texts that changed meanwhile cannot be embedded now; the next run goes on here.
    """
    try:
        report.build = forget_files.renew_index(ws, ids)
    except RemoteError as error:
        raise RemoteError(
            f"{report.username!r} is out of the database and the sealed files, but not yet out of the index: "
            f"{error.message}",
            hint="run the same command again; it goes on from here",
            code=error.code,
        ) from error


def _prove(ws: OpenWorkspace, wanted: list[bytes], *, report: ForgetReport) -> None:
    """Look for the person in every text of our tables and in every byte of the workspace.

    Of a database on a server the bytes are not ours to read: there the tables are what is proved. Of their texts
    only `wanted` is looked for, which stands in no other item's row. A database that another program shares with us
    may hold them in its tables, which are its own; and so may the file that was left behind by a move to a server.

    Raises:
        InconsistentError: a file of ours still holds them.
    """
    found = [path.relative_to(ws.data) for path in byte_scan.holding(ws.data, wanted)]
    reports = {one.name: set(report_files.reports_of_task(ws.data, one.task.name)) for one in ws.subjects}
    mine = reports.pop(ws.subject.name)
    of_others = set().union(*reports.values()) - mine
    with ws.store.read() as tx:
        tables = {one.name: list(one.hooks.tables(tx)) for one in ws.subjects}
        besides = [table.name.lower() for some in tables.values() for table in some]
        is_shared = ws.store.path is None or bool(integrity.foreign_tables(tx, besides=besides))
        rows = integrity.columns_holding(tx, tables[ws.subject.name], _texts(wanted))
    written = [path for path in found if ws.data / path in of_others]
    ours = [path for path in found if _is_ours(path, is_shared=is_shared) or ws.data / path in mine]
    ours = [path for path in ours if path not in written]
    sealed = [path for path in ours if path.parts[0] == prepare.FOLDER]
    named = [path for path in sealed if forget_files.is_of_others(ws.data / path, wanted)]
    report.named_by_others = [str(path) for path in (*named, *written)]
    report.own_files = [str(path) for path in found if path not in ours and path not in written]
    outside = _own_files(ws.subject, ws.store, ws.data)
    report.own_files += [str(path) for path in outside if byte_scan.is_holding(path, wanted)]
    left = [*rows, *(str(path) for path in ours if path not in named)]
    if left:
        raise InconsistentError(
            f"{report.username!r} is still to be found in {', '.join(left[:3])}",
            hint="run the same command again while nothing else runs here, then `make doctor`",
        )


def _texts(needles: Sequence[bytes]) -> list[str]:
    """Return what is looked for in files as texts, as a table holds them."""
    return [needle.decode("utf-8", "replace") for needle in needles]


def _own_files(subject: Subject, store: "Store", data: Path) -> list[Path]:
    """Return the files outside the workspace that are the user's own: those items came from, and the database."""
    own = [path for path in subject.hooks.sources() if path.is_file() and data not in path.parents]
    if store.path is not None and store.path.absolute().parent != data.absolute():
        own.append(store.path)
    return own


def _is_ours(path: Path, *, is_shared: bool) -> bool:
    """Return whether a file of the workspace, by its path in it, is one that findable writes for itself alone."""
    return path.parts[0].startswith(OURS) and not (is_shared and path.name.startswith("findable.db"))
