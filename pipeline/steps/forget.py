"""Remove one person everywhere, and prove it by a search over every byte of the workspace.

In this order, each part safe to do twice: the mark that it was begun, uploads at the API, lines in sealed files, all
rows in one transaction, the reports, the index, the vectors, what the database keeps of deleted rows. A run that was
killed is gone on with by the same command, also when the row itself is gone by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import building, forgetting, preparing, traces
from pipeline.errors import InconsistentError, InputError, RemoteError
from pipeline.experts import remove, table
from pipeline.experts.cells import text_of
from pipeline.experts.schema import experts
from pipeline.quality import reports
from pipeline.runtime import Runtime
from pipeline.store import batches, checks, claims, erasing, workspace

if TYPE_CHECKING:
    from pipeline.store.database import Connection

OURS = ("findable.db", "batches", "index", "local-engine")  # how the names of what we write begin
SHORT = 4  # a name with fewer letters stands in too many words to be cut out of what was said


@dataclass
class Report:
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


def run(rt: Runtime, username: str, *, confirm: Callable[[str], bool]) -> Report:
    """Forget one person; `confirm` is asked before anything is changed.

    Raises:
        InputError: there is nobody of that name, they stand in a batch that is not over, or it was not confirmed.
        ConfigurationError: the database does not let go of the row; nothing was changed.
        RemoteError: the API is needed and cannot be reached; what was done is kept, and the next run goes on.
        InconsistentError: something of the person is still there; the message says where.
    """
    row, ids = _begin(rt, username, confirm=confirm)
    report = Report(username)
    own = _own_words(row) if row is not None else [username]
    with rt.store.read() as tx:
        numbers = {number for one in ids for number in erasing.batches_of(tx, table.TASK, one)}
    report.uploads = forgetting.drop_uploads(rt, numbers)
    with rt.waited_lease(preparing.LEASE, waiting=preparing.WAITING) as lease:
        _remove_files(rt, ids, traces.needles(own), report=report)
        words = [word for word in own if len(word) >= SHORT]
        with rt.waited_lease(building.LEASE, waiting=building.WAITING) as index, rt.store.write() as tx:
            lease.check(tx)
            index.check(tx)
            _erase(rt, tx, ids, words=words)
            proving = [word for word in own if not _is_of_others(rt, tx, word)]
    report.reports = reports.remove(rt.data, table.TASK)
    _rebuild(rt, ids, report=report)
    if not rt.store.compact(besides=[experts.name]):
        rt.display.warn("the database holds tables of another program that forbid to compact it; rows were overwritten")
    report.reports += reports.remove(rt.data, table.TASK)  # also one that was being written from the old rows
    _prove(rt, proving, report=report)
    with rt.store.write() as tx:
        erasing.finish(tx, username)
    return report


def _begin(rt: Runtime, username: str, *, confirm: Callable[[str], bool]) -> tuple[Mapping[Any, Any] | None, list[str]]:
    """Mark that a person is being forgotten; return the row, unless it is gone already, and the ids to forget."""
    with rt.store.read() as tx:
        row = table.by_usernames(tx, [username]).get(username)
        is_begun = bool(erasing.under_way(tx, username))
        if row is None and not is_begun:
            table.by_username(tx, username)  # says that there is nobody
        if row is not None:
            _check_free(rt, tx, row)
    question = f"Forget {username!r} for good: row, answers, lines in sealed files, vectors, uploads, and older builds?"
    if not is_begun and not confirm(question):
        raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes")
    with rt.store.write() as tx:
        claims.free_dead(tx, now=rt.now())
        if row is not None:
            _check_free(rt, tx, row)
            remove.check_removable(tx, row)
            erasing.begin(tx, table.TASK, str(row["id"]), name=username, at=rt.now())
        return row, erasing.under_way(tx, username)


def _check_free(rt: Runtime, tx: "Connection", row: Mapping[Any, Any]) -> None:
    """Refuse while the person is being asked about, in a batch that is not over or by a live call.

    Raises:
        InputError: they are; the message says what to do.
    """
    item_id, name = str(row["id"]), text_of(row["username"])
    for number in erasing.batches_of(tx, table.TASK, item_id):
        batch = batches.get(tx, number)
        if not batch.is_over:
            raise InputError(
                f"{name!r} stands in batch {number}, which is {batch.state}; nothing was changed",
                hint=f"`make status` says how to finish it, `make batch-cancel BATCH={number}` gives it up",
            )
    if item_id not in claims.dead(tx, table.TASK, now=rt.now()) and erasing.is_claimed(tx, table.TASK, item_id):
        raise InputError(f"{name!r} is being asked about right now; nothing was changed", hint="try again in a minute")


def _own_words(row: Mapping[Any, Any]) -> list[str]:
    """Return what is a person's own: username, name as it is indexed and as it lies in a row, biography, addresses."""
    first, last = text_of(row["first_name"]), text_of(row["last_name"])
    names = [f"{first} {last}", f"{first}{last}"] if first and last else []
    words = [text_of(row["username"]), *names, text_of(row["bio"])]
    words += [text_of(row["profile_url"]), text_of(row["profile_url_utm"])]
    return [word for word in dict.fromkeys(word.strip() for word in words) if word]


def _is_of_others(rt: Runtime, tx: "Connection", word: str) -> bool:
    """Return whether a word stands in what is kept of anybody or anything else, so that to find it proves nothing."""
    forms = {word, *(needle.decode("utf-8", "replace") for needle in traces.needles([word]))}
    others = [one.task for one in rt.subjects if one.task.name != table.TASK]
    return table.told_of(tx, word) or any(task.tells(tx, form) for task in others for form in forms)


def _remove_files(rt: Runtime, ids: list[str], needles: list[bytes], *, report: Report) -> None:
    """Remove the person from the local engine's files and from every sealed file, under the lease on preparing."""
    forgetting.drop_engine(rt)
    forgetting.sweep(rt)
    rewritten = forgetting.drop_lines(rt, table.TASK, ids, words=needles)
    report.files = [one.name for one in rewritten]
    report.lines = sum(one.lines for one in rewritten)


def _erase(rt: Runtime, tx: "Connection", ids: list[str], *, words: list[str]) -> None:
    """Remove every row of the person, in the caller's transaction."""
    for item_id, row in table.by_ids(tx, ids).items():
        _check_free(rt, tx, {**row, "id": item_id})
    for one in ids:
        erasing.erase(tx, table.TASK, one, words=words)
    for row in table.by_ids(tx, ids).values():
        remove.remove_person(tx, row)
    workspace.touch(tx)


def _rebuild(rt: Runtime, ids: list[str], *, report: Report) -> None:
    """Build the index without the person, and drop their vectors.

    Raises:
        RemoteError: texts that changed meanwhile cannot be embedded now; the next run goes on here.
    """
    try:
        report.build = forgetting.renew_index(rt, ids)
    except RemoteError as error:
        raise RemoteError(
            f"{report.username!r} is out of the database and the sealed files, but not yet out of the index: "
            f"{error.message}",
            hint="run the same command again; it goes on from here",
            code=error.code,
        ) from error
    report.vectors = forgetting.drop_vectors(rt)


def _prove(rt: Runtime, words: list[str], *, report: Report) -> None:
    """Look for the person in every text of our tables and in every byte of the workspace.

    Of a database on a server the bytes are not ours to read: there the tables are what is proved. Words that stand
    in somebody else's row too prove nothing and are not looked for. A database that another program shares with us
    may hold them in its tables, which are its own; and so may the file that was left behind by a move to a server.

    Raises:
        InconsistentError: a file of ours still holds them.
    """
    wanted = traces.needles(words)
    found = [path.relative_to(rt.data) for path in traces.holding(rt.data, wanted)]
    with rt.store.read() as tx:
        besides = [experts.name, *(name.lower() for one in rt.subjects for name in one.task.tables)]
        is_theirs = rt.store.path is None or bool(checks.foreign_tables(tx, besides=besides))
        told = checks.telling(tx, [experts], [needle.decode("utf-8", "replace") for needle in wanted])
    others = {path.relative_to(rt.data) for one in rt.subjects for path in reports.of_task(rt.data, one.task.name)}
    mine = {path.relative_to(rt.data) for path in reports.of_task(rt.data, table.TASK)}
    written = [path for path in found if path in others - mine]
    found = [path for path in found if path not in written]
    own = [
        path
        for path in found
        if not (_is_ours(path) or path in mine) or (is_theirs and path.name.startswith("findable.db"))
    ]
    report.own_files = [str(path) for path in own]
    path = rt.store.path
    if path is not None and path.absolute().parent != rt.data.absolute() and traces.is_holding(path, wanted):
        report.own_files.append(str(path))
    ours = [path for path in found if path not in own]
    sealed = [path for path in ours if path.parts[0] == preparing.FOLDER]
    named = [path for path in sealed if forgetting.is_of_others(rt.data / path, wanted)]
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
