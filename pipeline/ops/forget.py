"""Remove one person everywhere, and prove it by a search over every byte of the workspace.

In this order, each part safe to do twice: the mark that it was begun, uploads at the API, lines in sealed files, all
rows in one transaction, the reports, the index, the vectors, what the database keeps of deleted rows. A run that was
killed is gone on with by the same command, also when the row itself is gone by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.batch import prepare
from pipeline.core.errors import InconsistentError, InputError, RemoteError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import remove, table
from pipeline.experts.columns import text_of
from pipeline.experts.schema import experts
from pipeline.index import build
from pipeline.ops import byte_scan, forget_files
from pipeline.quality import report_files
from pipeline.store import batches, claims, erase, integrity, workspace

if TYPE_CHECKING:
    from pipeline.store.database import Connection


OURS = ("findable.db", "batches", "index", "local-engine")  # how the names of what we write begin
SHORT = 4  # a name with fewer letters stands in too many words to be cut out of what was said


@dataclass
class ForgetReport:
    """What was removed; which of the user's own files still hold the person, and where others have named them."""

    username: str
    lines: int = 0
    files: list[str] = field(default_factory=list)
    uploads: int = 0
    vectors: int = 0
    reports: int = 0
    build: int | None = None
    own_files: list[str] = field(default_factory=list)
    named_by_others: list[str] = field(default_factory=list)


def run(ws: OpenWorkspace, username: str, *, confirm: Callable[[str], bool]) -> ForgetReport:
    """Forget one person; `confirm` is asked before anything is changed.

    Raises:
        InputError: there is nobody of that name, they stand in a batch that is not over, or it was not confirmed.
        ConfigurationError: the database does not let go of the row; nothing was changed.
        RemoteError: the API is needed and cannot be reached; what was done is kept, and the next run goes on.
        InconsistentError: something of the person is still there; the message says where.
    """
    row, ids = _begin(ws, username, confirm=confirm)
    report = ForgetReport(username)
    own = _own_words(row) if row is not None else [username]
    with ws.store.read() as tx:
        numbers = {number for one in ids for number in erase.batches_of(tx, table.TASK, one)}
    report.uploads = forget_files.drop_uploads(ws, numbers)
    with ws.waited_lease(prepare.LEASE, waiting=prepare.WAITING) as lease:
        _remove_files(ws, ids, byte_scan.needles(own), report=report)
        words = [word for word in own if len(word) >= SHORT]
        with ws.waited_lease(build.LEASE, waiting=build.WAITING) as index, ws.store.write() as tx:
            lease.check(tx)
            index.check(tx)
            _erase(ws, tx, ids, words=words)
            proving = [word for word in own if not _is_of_others(ws, tx, word)]
    report.reports = report_files.remove_reports(ws.data, table.TASK)
    _rebuild(ws, ids, report=report)
    if not ws.store.compact(besides=[experts.name]):
        ws.display.warn("the database holds tables of another program that forbid to compact it; rows were overwritten")
    report.reports += report_files.remove_reports(
        ws.data, table.TASK
    )  # also one that was being written from the old rows
    _prove(ws, proving, report=report)
    with ws.store.write() as tx:
        erase.finish_erasure(tx, username)
    return report


def _begin(
    ws: OpenWorkspace, username: str, *, confirm: Callable[[str], bool]
) -> tuple[Mapping[Any, Any] | None, list[str]]:
    """Mark that a person is being forgotten; return the row, unless it is gone already, and the ids to forget."""
    with ws.store.read() as tx:
        row = table.by_usernames(tx, [username]).get(username)
        is_begun = bool(erase.open_erasures(tx, username))
        if row is None and not is_begun:
            table.by_username(tx, username)  # says that there is nobody
        if row is not None:
            _check_free(ws, tx, row)
    question = f"Forget {username!r} for good: row, answers, lines in sealed files, vectors, uploads, and older builds?"
    if not is_begun and not confirm(question):
        raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes")
    with ws.store.write() as tx:
        claims.free_dead_claims(tx, now=ws.now())
        if row is not None:
            _check_free(ws, tx, row)
            remove.check_removable(tx, row)
            erase.begin_erasure(tx, table.TASK, str(row["id"]), name=username, at=ws.now())
        return row, erase.open_erasures(tx, username)


def _check_free(ws: OpenWorkspace, tx: "Connection", row: Mapping[Any, Any]) -> None:
    """Refuse while the person is being asked about, in a batch that is not over or by a live call.

    Raises:
        InputError: they are; the message says what to do.
    """
    item_id, name = str(row["id"]), text_of(row["username"])
    for number in erase.batches_of(tx, table.TASK, item_id):
        batch = batches.get_batch(tx, number)
        if not batch.is_over:
            raise InputError(
                f"{name!r} stands in batch {number}, which is {batch.state}; nothing was changed",
                hint=f"`make status` says how to finish it, `make batch-cancel BATCH={number}` gives it up",
            )
    dead = claims.dead_claims(tx, table.TASK, now=ws.now())
    if item_id not in dead and claims.is_any_claimed(tx, table.TASK, [item_id]):
        raise InputError(f"{name!r} is being asked about right now; nothing was changed", hint="try again in a minute")


def _own_words(row: Mapping[Any, Any]) -> list[str]:
    """Return what is a person's own: username, name as it is indexed and as it lies in a row, biography, addresses."""
    first, last = text_of(row["first_name"]), text_of(row["last_name"])
    names = [f"{first} {last}", f"{first}{last}"] if first and last else []
    words = [text_of(row["username"]), *names, text_of(row["bio"])]
    words += [text_of(row["profile_url"]), text_of(row["profile_url_utm"])]
    return [word for word in dict.fromkeys(word.strip() for word in words) if word]


def _is_of_others(ws: OpenWorkspace, tx: "Connection", word: str) -> bool:
    """Return whether a word stands in what is kept of anybody or anything else, so that to find it proves nothing."""
    forms = {word, *(needle.decode("utf-8", "replace") for needle in byte_scan.needles([word]))}
    others = [one.task for one in ws.subjects if one.task.name != table.TASK]
    return table.text_is_stored(tx, word) or any(task.contains_text(tx, form) for task in others for form in forms)


def _remove_files(ws: OpenWorkspace, ids: list[str], needles: list[bytes], *, report: ForgetReport) -> None:
    """Remove the person from the local engine's files and from every sealed file, under the lease on preparing."""
    forget_files.drop_engine(ws)
    forget_files.sweep_rewrites(ws)
    rewritten = forget_files.drop_lines(ws, table.TASK, ids, words=needles)
    report.files = [one.name for one in rewritten]
    report.lines = sum(one.lines for one in rewritten)


def _erase(ws: OpenWorkspace, tx: "Connection", ids: list[str], *, words: list[str]) -> None:
    """Remove every row of the person, in the caller's transaction."""
    for item_id, row in table.by_ids(tx, ids).items():
        _check_free(ws, tx, {**row, "id": item_id})
    for one in ids:
        erase.erase_item(tx, table.TASK, one, words=words)
    for row in table.by_ids(tx, ids).values():
        remove.remove_person(tx, row)
    workspace.touch_revision(tx)


def _rebuild(ws: OpenWorkspace, ids: list[str], *, report: ForgetReport) -> None:
    """Build the index without the person, and drop their vectors.

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
    report.vectors = forget_files.drop_vectors(ws)


def _prove(ws: OpenWorkspace, words: list[str], *, report: ForgetReport) -> None:
    """Look for the person in every text of our tables and in every byte of the workspace.

    Of a database on a server the bytes are not ours to read: there the tables are what is proved. Words that stand
    in somebody else's row too prove nothing and are not looked for. A database that another program shares with us
    may hold them in its tables, which are its own; and so may the file that was left behind by a move to a server.

    Raises:
        InconsistentError: a file of ours still holds them.
    """
    wanted = byte_scan.needles(words)
    found = [path.relative_to(ws.data) for path in byte_scan.holding(ws.data, wanted)]
    with ws.store.read() as tx:
        besides = [experts.name, *(name.lower() for one in ws.subjects for name in one.task.tables)]
        is_theirs = ws.store.path is None or bool(integrity.foreign_tables(tx, besides=besides))
        told = integrity.columns_holding(tx, [experts], [needle.decode("utf-8", "replace") for needle in wanted])
    others = {
        path.relative_to(ws.data)
        for one in ws.subjects
        for path in report_files.reports_of_task(ws.data, one.task.name)
    }
    mine = {path.relative_to(ws.data) for path in report_files.reports_of_task(ws.data, table.TASK)}
    written = [path for path in found if path in others - mine]
    found = [path for path in found if path not in written]
    own = [
        path
        for path in found
        if not (_is_ours(path) or path in mine) or (is_theirs and path.name.startswith("findable.db"))
    ]
    report.own_files = [str(path) for path in own]
    path = ws.store.path
    if path is not None and path.absolute().parent != ws.data.absolute() and byte_scan.is_holding(path, wanted):
        report.own_files.append(str(path))
    ours = [path for path in found if path not in own]
    sealed = [path for path in ours if path.parts[0] == prepare.FOLDER]
    named = [path for path in sealed if forget_files.is_of_others(ws.data / path, wanted)]
    report.named_by_others = [str(path) for path in (*named, *written)]
    left = [*told, *(str(path) for path in ours if path not in named)]
    if left:
        raise InconsistentError(
            f"{report.username!r} is still to be found in {', '.join(left[:3])}",
            hint="run the same command again while nothing else runs here, then `make doctor`",
        )


def _is_ours(path: Path) -> bool:
    """Return whether a file of the workspace, by its path in it, is one that findable writes for itself."""
    return path.parts[0].startswith(OURS)
