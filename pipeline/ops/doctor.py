"""Check the workspace against itself and the backend: a table of what must be so, with why, and what to type if not.

Nothing is changed: each command mends its own. Every check reads whole files and asks about every batch, so this is for
a quiet moment and not for a loop.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from pipeline.batch import send
from pipeline.batch.batch_files import request_path, sealed_request
from pipeline.core import files
from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
    InconsistentError,
    MissingError,
    RemoteError,
)
from pipeline.core.states import BatchState, Mode, Outcome
from pipeline.core.text import plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import RowFault
from pipeline.gemini.requests import request_key
from pipeline.index.builds import INDEX_LOCK, Builds, find_orphaned_folders
from pipeline.index.vector_cache import open_vector_cache
from pipeline.ops import clean
from pipeline.ops.doctor_report import DoctorReport, notice
from pipeline.store import answers, batches, claims, erasure, rows, schema, workspace
from pipeline.store.batches import BatchRow, strip_try
from pipeline.store.database import Connection

MAX_REFUSED_SHOWN = 3
RESTORE = HintTemplate("restore a backup ({})", CommandHint("restore", from_="…"))
NAMED = frozenset({BatchState.SUBMITTED, BatchState.DOWNLOADED, BatchState.INGESTED})
NUMBER = re.compile(r"-(\d+)-[0-9a-f]{16}$")  # of a batch, in the prefix of its remote name


Check = Callable[[DoctorReport], Iterator[RowFault]]


def run(ws: WorkspaceSession) -> DoctorReport:
    """Run every check, one after the other; a check that cannot be carried out is a finding."""
    report = DoctorReport(ws)
    ws.tells_backend = False
    for name, check in CHECKS.items():
        report.looked += 1
        try:
            for one in check(report):
                report.findings.append((name, one))
        except FindableError as error:
            if is_remote := isinstance(error, ConfigurationError | RemoteError):
                report.failure = report.failure or error
            why = (
                "nothing there could be compared with what is here"
                if is_remote
                else "this could not be looked at"
            )
            report.findings.append(
                (name, RowFault(error.message, why, error.hint or "", not is_remote))
            )
        if (
            name == "states" and report.findings
        ):  # where rows cannot be trusted, nothing else is looked at
            break
    return report


def _asked(tx: Connection) -> list[BatchRow]:
    return [one for one in batches.batches_in_states(tx) if one.way is not Mode.TRIAL]


def _lines(
    broken: Callable[[Connection], Iterable[str]],
    why: str,
    next_: object,
    *,
    contradiction: bool = True,
) -> Check:
    """Return a check that every line which a snapshot gives is a fault."""

    def check(report: DoctorReport) -> Iterator[RowFault]:
        with report.ws.store.read() as tx:
            yield from [RowFault(said, why, next_, contradiction) for said in broken(tx)]

    return check


def _batches(report: DoctorReport) -> Iterator[RowFault]:
    """Does each batch's row agree with its state, and with what is claimed and was written for it?"""
    with report.ws.store.read() as tx:  # one snapshot: a batch may end meanwhile
        everyone = _asked(tx)
        outcomes = answers.count_outcomes(tx)
        taken_back = workspace.numbers_with_event(tx, answers.ROLLBACK_EVENT)
    nothing: dict[str, int] = {"claimed": 0, **dict.fromkeys(Outcome, 0)}
    why = "what was asked, answered and paid for it cannot be told any more"
    for batch in everyone:
        there = None if batch.number in taken_back else outcomes.get(batch.number, nothing)
        for said in _wrong_batch(batch, there):
            yield RowFault(f"batch {batch.number} is {batch.state}, {said}", why, RESTORE)


def _wrong_batch(batch: BatchRow, there: dict[str, int] | None) -> Iterator[str]:
    """Yield what is wrong with one batch, as the end of a sentence; nothing is `there` where it was taken back."""
    if batch.way is Mode.BATCH and batch.state in NAMED and not batch.remote_name:
        yield "and has no remote name"
    if batch.state in {BatchState.DOWNLOADED, BatchState.INGESTED} and not batch.result_file:
        yield "and names no result file"
    if there is not None and not batch.is_over and (told := sum(there.values())) != batch.requests:
        yield f"has {batch.requests} requests, and {told} of them are claimed or accounted for"
    account = {outcome: getattr(batch, outcome.value) or 0 for outcome in Outcome}
    if batch.state is BatchState.INGESTED:
        if sum(account.values()) != batch.requests:
            yield f"and its account adds up to {sum(account.values())} of {batch.requests} requests"
        for outcome, count in account.items():
            if there is not None and count != there[outcome]:
                yield f"counts {count} {outcome}, and {there[outcome]} are stored"


def _sealed(report: DoctorReport) -> Iterator[RowFault]:
    """Is each sealed file as it was sealed, and does each request file ask about exactly the items that are claimed?"""
    data = report.ws.data
    with report.ws.store.read() as tx:
        everyone = _asked(tx)
        cleaned = erasure.cleaned_batches(tx)
        is_forgetting = bool(erasure.open_erasures(tx))
    for batch in everyone:
        try:
            sealed = clean.sealed_files(data, batch, cleaned)
        except InconsistentError as error:
            why = "nothing is read from it, and nothing of the batch is cleaned or forgotten"
            yield RowFault(error.message, why, RESTORE)
            continue
        for path, sha256, what in sealed:
            is_request = path == request_path(data, batch.number)
            try:
                files.verify(path, sha256=sha256, file_label=what)
                wrong = _other_items(report.ws, batch) if is_request and not batch.is_over else ""
            except InconsistentError as error:
                wrong = error.message
            if not wrong:
                continue
            step = report.ws.task_of(batch.task).words.step
            if batch.is_over:
                why = (
                    "it is the proof of what was asked and answered; nothing else needs it any more"
                )
                next_ = f"the same {CommandHint('forget')} again" if is_forgetting else str(RESTORE)
            elif is_request:
                why = "it would ask, or has asked, something else than was claimed"
                is_answered = (
                    batch.state is BatchState.DOWNLOADED
                )  # so nothing needs the requests any more
                next_ = str(
                    step("batch-ingest")
                    if is_answered
                    else CommandHint("batch-cancel", batch=batch.number)
                )
            else:
                why = "its answers are paid for and not ingested yet"
                next_ = f"{step('batch-poll')} fetches it again"
            is_wrong = not (batch.is_over and is_forgetting)
            yield RowFault(f"batch {batch.number} ({batch.state}): {wrong}", why, next_, is_wrong)


def _other_items(ws: WorkspaceSession, batch: BatchRow) -> str:
    """Return that a request file asks about others than those who are claimed, or an empty text."""
    with ws.store.read() as tx:
        items = claims.claimed_rows(tx, batch.number)
    with contextlib.closing(files.read_lines(sealed_request(ws.data, batch))) as lines:
        asked = dict(enumerate((json.loads(line).get("key") for _, line in lines), 1))
    mine = all(asked.get(one.line or 0) == request_key(batch.task, one.item_id) for one in items)
    if mine and len(asked) == batch.requests:
        return ""
    return f"its request file asks {len(asked)} times, and not about the {len(items)} items that are claimed"


def _derived(report: DoctorReport) -> Iterator[RowFault]:
    """Do columns follow from their rows, and rows from the answers that were applied?"""
    for subject in report.ws.tasks:
        with report.ws.store.read() as tx:
            found = subject.check_derived(tx, report.ws.display)
        yield from found


def _rows(report: DoctorReport) -> Iterator[RowFault]:
    """Does every row that was written still say what it said, and does it agree with what it is about?"""
    for subject in report.ws.tasks:
        with report.ws.store.read() as tx:
            found = subject.check(tx)
        if found is not None:
            said, figures, faults = found
            report.seen.append((subject.subject, said, figures))
            yield from faults


def _refused(report: DoctorReport) -> Iterator[RowFault]:
    """Can every row of the sources be asked about?"""
    for subject in report.ws.tasks:
        with report.ws.store.read() as tx:
            count = rows.count_refused(tx, subject.name)
            examples = [
                row.sentence for row in rows.refused_rows(tx, subject.name, limit=MAX_REFUSED_SHOWN)
            ]
        if count:
            told = f"{plural(count, 'row')} of {subject.subject} {'was' if count == 1 else 'were'} refused"
            listed = CommandHint("items", task=subject.words.named, state="refused")
            yield notice(f"{told}: {'; '.join(examples)}", "they are not asked about", listed)


def _tasks(report: DoctorReport) -> Iterator[RowFault]:
    """Is every batch about a subject that this workspace has, and is the file of each declared task there?"""
    known = {one.name for one in report.ws.tasks}
    strange = dict[str, list[str]]()
    with report.ws.store.read() as tx:
        for batch in (one for one in _asked(tx) if one.task not in known):
            strange.setdefault(batch.task, []).append(str(batch.number))
    for task, numbers in strange.items():
        said = f"nothing here is known of the task {task!r} of batch {', '.join(numbers)}"
        next_ = f"name its table as it was named before ({OptionHint(passages_table='…')})"
        yield notice(said, "its answers go nowhere, and its items are not counted", next_)
    for subject in report.ws.tasks:
        place = subject.declared_in
        if place is not None and not place.is_file():
            said = f"the file of the task {subject.subject} is gone: {place}"
            why = (
                "its rows cannot be asked about or their answers judged; all else works without it"
            )
            yield notice(
                said,
                why,
                f"put it back, or name it where it is now: {OptionHint(task=f'path/{place.name}')}",
            )


def _index(report: DoctorReport) -> Iterator[RowFault]:
    """Is each build in service whole, byte for byte, of the model that is set, and do the stable names lead to it?"""
    model = report.ws.settings.embedding_model
    dim = report.ws.settings.dim
    misled = "other programs read another index"
    for collection in report.ws.collections:
        builds = Builds(report.ws.data, collection.folder)
        rebuild = report.ws.task_of(collection.task).words.step("index")
        try:
            current = builds.current()
            damage = builds.damage(current.number) if current else []
            wrong = f"the build in service is damaged: {'; '.join(damage)}" if damage else ""
        except InconsistentError as error:
            current = None
            wrong = error.message
        if wrong:
            yield RowFault(wrong, "search finds nothing, or the wrong entries", rebuild)
        if current is None or wrong:
            continue
        if number := builds.decided(report.ws.store):
            said = f"build {number} is in service by the database, and index/current leads to {current.number}"
            yield notice(said, misled, rebuild)
        for name in builds.stray_links():
            yield RowFault(f"{name} does not lead to the index in service", misled, rebuild)
        if (current.model, current.dim) != (model, dim):
            said = f"the index is of {current.model}, {current.dim} wide; search would ask for {model}, {dim} wide"
            yield notice(said, "search refuses until both agree", rebuild)
        with report.ws.store.read() as tx:
            position = workspace.get_workspace(tx).position
        if current.position > position:
            said = f"the build was read at database position {current.position}, and the database is at {position}"
            ways = f"put the newer database back, or {rebuild} {OptionHint(worse_ok=True)}"
            yield RowFault(said, "the database is an older copy than the index", ways)


def _vectors(report: DoctorReport) -> Iterator[RowFault]:
    """Are the cached vectors of the model in use sound, whatever they are of?"""
    cache = open_vector_cache(report.ws)
    if damaged := cache.damaged():
        said = f"{len(damaged)} cached vectors of {cache.model} are damaged"
        yield notice(
            said,
            "they count as absent and are asked for again",
            f"{CommandHint('index')}, which embeds them again",
        )


def _backend(report: DoctorReport) -> Iterator[RowFault]:
    """Does the backend know every batch of this workspace, under our names, and none that is not known here?"""
    ws = report.ws
    if ws.backend == "local" and not ws.is_bound:  # no engine is started for it
        return
    listing = [(strip_try(one.display_name), one) for one in ws.client.list_batches()]
    with (
        ws.store.read() as tx
    ):  # after the list: whatever is in it was recorded before it was created
        everyone = _asked(tx)
        ours = f"findable-{workspace.get_workspace(tx).workspace_id}-"
        cancelled = {
            twin["remote_name"] for twin in batches.list_duplicates(tx) if twin["cancelled_at"]
        }
        prefixes = {
            one.number: frozenset(batches.numbers_by_prefix(tx, one.number)) for one in everyone
        }
    for batch in everyone:
        if batch.state is BatchState.SUBMITTED:
            yield from _submitted(ws, batch, prefixes[batch.number])
        elif batch.state is BatchState.SUBMITTING:
            found = (
                "is" if any(prefix in prefixes[batch.number] for prefix, _ in listing) else "is not"
            )
            said = (
                f"batch {batch.number} was being created when a run died, and {found} in the list"
            )
            submit = ws.task_of(batch.task).words.step("batch-submit")
            yield notice(said, "until it is clear its items are not asked again", submit)
    owners = {prefix: batch for batch in everyone for prefix in prefixes[batch.number]}
    for prefix, one in (
        (prefix, one) for prefix, one in listing if one.display_name.startswith(ours)
    ):
        owner = owners.get(prefix)
        if owner is None:
            report.unknown |= {int(found[1]) for found in [NUMBER.search(prefix)] if found}
            said = f"{one.name} ({one.display_name}, {one.word}) is of this workspace, and no batch here knows it"
            why = "it is paid for, and its answers will not be fetched; perhaps the database is an older copy"
            yield RowFault(said, why, "restore a newer backup", not one.state.is_over)
        elif owner.remote_name not in {None, one.name} and one.name not in cancelled:
            poll = ws.task_of(owner.task).words.step("batch-poll")
            said = f"{one.name} is a second remote batch of batch {owner.number}"
            yield RowFault(said, "the same items are paid for twice", f"{poll}, which cancels it")


def _models(report: DoctorReport) -> Iterator[RowFault]:
    """Does the API know the models that are set?"""
    ws = report.ws
    if report.failure is not None or (ws.backend == "local" and not ws.is_bound):
        return
    for setting in ("model", "embedding_model"):
        name = getattr(ws.settings, setting).removeprefix("models/")
        try:
            ws.client.get_model(name)
        except MissingError:
            message = f"{name} ({OptionHint(setting)}) is not in the API's list of models"
            listed = f"set another one of those that `{CommandHint('prices')}` lists"
            yield notice(message, "what asks it is refused", listed)


def _submitted(
    ws: WorkspaceSession, batch: BatchRow, prefixes: frozenset[str]
) -> Iterator[RowFault]:
    """Is a submitted batch there, under a name of ours?"""
    cancel = CommandHint("batch-cancel", batch=batch.number)
    try:
        remote = ws.client.get_batch(batch.remote_name or "")
    except MissingError as error:
        left = send.hidden_seconds(batch, ws.settings, now=ws.now())
        said = f"batch {batch.number} is not to be seen there any more ({error.message})"
        ways = (
            f"wait {left:.0f} s, it may be shown late"
            if left
            else f"the key of its project, or {cancel}"
        )
        yield RowFault(said, "its items stay claimed, and its result may never come", ways)
        return
    if remote.display_name and strip_try(remote.display_name) not in prefixes:
        said = f"batch {batch.number} is recorded as {remote.name}, which is called {remote.display_name!r} there"
        yield RowFault(said, "its result would be another batch's", cancel)


def _litter(report: DoctorReport) -> Iterator[RowFault]:
    """Is every file and build here of something that is known here?"""
    ws = report.ws
    folders = [one.folder for one in report.ws.collections]
    for path in clean.unknown_sealed(ws, report.unknown):
        said = f"{path.name} is of a batch that this database does not know: it is an older copy than the folder"
        why = "the answers are paid for, and nothing is submitted beside it, for its number would be taken again"
        next_ = f"put the newer database back, or restore a newer backup ({CommandHint('restore', from_='…')})"
        yield RowFault(said, why, next_)
    left = [*clean.litter(ws, report.unknown), *find_orphaned_folders(ws.data, folders)]
    if ws.locks.is_free(INDEX_LOCK):  # else what is staged now is the build that is being made
        left += [path for one in folders for path in Builds(ws.data, one).stale()]
    for path in left:
        yield notice(
            f"{path.name} belongs to nothing: a run died over it",
            "it takes room",
            CommandHint("clean"),
        )


def _begun(tx: Connection) -> list[str]:
    return [
        f"item {one} was begun to be forgotten, and that is not over"
        for one in erasure.open_erasures(tx)
    ]


CHECKS: Mapping[str, Check] = {
    "database": _lines(schema.find_damage, "rows may be lost or read wrongly", RESTORE),
    "states": _lines(batches.find_unknown_states, "no command knows what to do with it", RESTORE),
    "batches": _batches,
    "claims": _lines(
        claims.find_claims_of_ended_batches,
        "they are not asked again",
        HintTemplate("{}, which frees them", CommandHint("batch-submit")),
    ),
    "sealed files": _sealed,
    "derived": _derived,
    "rows": _rows,
    "refused rows": _refused,
    "tasks": _tasks,
    "index": _index,
    "vectors": _vectors,
    "forgotten": _lines(
        _begun,
        "traces of it may be left",
        HintTemplate("the same {} again", CommandHint("forget")),
        contradiction=False,
    ),
    "backend": _backend,
    "models": _models,
    "litter": _litter,  # after the look at what the backend has
}
