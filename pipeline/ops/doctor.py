"""Check that the workspace is consistent in itself and with the backend.

- CHECKS lists the checks in their order. Each check yields findings with a consequence and a hint.
- A finding is a contradiction if stored data are wrong, else a notice.
- No check changes stored data. The commands named in the hints repair the findings.
- Checks read whole files and request every submitted batch, so they are too slow for a loop.

A sealed file is a request or result file of a batch whose SHA-256 is in the database.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.batch.batch_files import sealed_request
from pipeline.core import files
from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
    InconsistentError,
    RemoteError,
)
from pipeline.core.states import BatchState, Mode, Outcome
from pipeline.core.text import plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import IndexedTask
from pipeline.engine.task_values import RowFault
from pipeline.gemini.requests import make_request_key
from pipeline.index.builds import INDEX_LOCK, Builds
from pipeline.ops import clean
from pipeline.ops.doctor_backend import check_backend, check_models, list_task_batches
from pipeline.ops.doctor_report import DoctorReport, create_notice
from pipeline.store import (
    again,
    answer_counts,
    batches,
    claims,
    marks,
    sqlite,
    workspace,
)
from pipeline.store.database import Connection, Store

RESTORE_HINT = HintTemplate("restore a backup ({})", CommandHint("restore", from_="…"))
STATES_WITH_REMOTE_NAME = frozenset(
    {BatchState.SUBMITTED, BatchState.DOWNLOADED, BatchState.INGESTED},
)
STATES_WITH_RESULT_FILE = frozenset({BatchState.DOWNLOADED, BatchState.INGESTED})

# A check yields its findings, and may add figures to the report.
WorkspaceCheck = Callable[[DoctorReport], Iterator[RowFault]]


def check_workspace(ws: WorkspaceSession) -> DoctorReport:
    """Run all checks of CHECKS in their order and return their findings.

    A check that raises FindableError adds that error as a finding, and nothing is raised. If one of
    the first two checks (up to "states") has a finding, the later checks are skipped, because they
    rely on an intact database with known states. The line that names the backend in use is not
    printed during the checks.
    """
    report = DoctorReport(ws)
    ws.should_announce_backend = False

    for check_name, check in CHECKS.items():
        report.check_count += 1
        try:
            for finding in check(report):
                report.findings.append((check_name, finding))
        except FindableError as error:
            report.findings.append((check_name, _describe_failed_check(report, error)))

        # A row with an unknown state would cause misleading findings in the later checks.
        if check_name == "states" and report.findings:
            break
    return report


def _describe_failed_check(report: DoctorReport, error: FindableError) -> RowFault:
    """Return the finding for a check that raised an error.

    A ConfigurationError or RemoteError gives only a notice that the backend was not compared, and
    the first of them is saved as `report.backend_error`. Any other error gives a contradiction.
    """
    hint = error.hint or ""
    if isinstance(error, ConfigurationError | RemoteError):
        report.backend_error = report.backend_error or error
        return create_notice(
            error.message,
            "the workspace was not compared with the backend",
            hint,
        )
    return RowFault(error.message, "this check did not finish", hint)


def _create_query_check(
    find_faults: Callable[[Connection], Iterable[str]],
    consequence: str,
    next_step: object,
    *,
    is_contradiction: bool = True,
) -> WorkspaceCheck:
    """Return a check that yields one finding for each message of a query.

    Args:
        find_faults: Returns the messages; the check calls it with one snapshot of the database.
        consequence: Why each of the findings matters.
        next_step: The hint of each finding, as a text or a command hint.
        is_contradiction: Whether a finding means that stored data contradict each other. These
            findings make `doctor` fail; others are warnings.
    """

    def check(report: DoctorReport) -> Iterator[RowFault]:
        with report.ws.store.read() as tx:
            messages = list(find_faults(tx))
        for message in messages:
            yield RowFault(message, consequence, next_step, is_contradiction)

    return check


def _check_batches(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a finding for each batch whose state, claims and stored outcomes disagree.

    Trials, which claim no rows, are left out. If answers of a batch were
    deleted by a rollback, its stored outcomes are not compared.
    """
    # All counts come from one snapshot, because a batch may end during the check.
    with report.ws.store.read() as tx:
        task_batches = list_task_batches(tx)
        counts_by_batch = answer_counts.count_outcomes(tx)
        rolled_back_numbers = marks.rolled_back_batches(tx)

    # A batch without claims, answers and attempts has no counts.
    zero_counts: dict[str, int] = {"claimed": 0, **dict.fromkeys(Outcome, 0)}
    for batch in task_batches:
        stored_counts = None
        if batch.number not in rolled_back_numbers:
            stored_counts = counts_by_batch.get(batch.number, zero_counts)

        for fault in _find_batch_faults(batch, stored_counts):
            yield RowFault(
                f"batch {batch.number} is {batch.state}, {fault}",
                "its requests, answers and costs are not known for certain",
                RESTORE_HINT,
            )


def _find_batch_faults(
    batch: batches.BatchRow,
    stored_counts: Mapping[str, int] | None,
) -> Iterator[str]:
    """Yield each fault of a batch, as the end of a sentence that begins with its state.

    A sent batch must have a remote name, and a downloaded or ingested batch a result file. While a
    batch is not over, its claims and outcomes must add up to its requests. For an ingested batch,
    the numbers of outcomes in its own record must add up to its requests, and equal the outcomes
    that are counted from the rows (`stored_counts`).

    Args:
        stored_counts: The stored number of requests by `claimed` and by outcome. None if a rollback
            deleted answers of the batch; then stored numbers are not compared.
    """
    is_api_batch = batch.mode is Mode.BATCH
    if is_api_batch and batch.state in STATES_WITH_REMOTE_NAME and not batch.remote_name:
        yield "and has no remote name"
    if batch.state in STATES_WITH_RESULT_FILE and not batch.result_file:
        yield "and has no result file"

    recorded_counts: Mapping[str, int] | None = stored_counts
    if batch.state is BatchState.INGESTED:
        recorded_counts = {
            "claimed": 0,
            **{outcome.value: getattr(batch, outcome.value) or 0 for outcome in Outcome},
        }
    elif batch.is_finished:
        return
    if recorded_counts is not None and sum(recorded_counts.values()) != batch.requests:
        yield f"and has claims and outcomes for {sum(recorded_counts.values())} of {batch.requests}"
    if stored_counts not in (None, recorded_counts):
        yield (
            f"and counts {_describe_counts(recorded_counts)}, "
            f"but the database has {_describe_counts(stored_counts)}"
        )


def _describe_counts(counts: Mapping[str, int] | None) -> str:
    """Return counts by outcome as a phrase."""
    return ", ".join(f"{count} {name}" for name, count in sorted((counts or {}).items()))


def _check_sealed_files(report: DoctorReport) -> Iterator[RowFault]:
    """Check that sealed files are unchanged and that request files ask about the claimed rows.

    Yields a finding for each batch that claims rows and has a missing, changed or wrongly named
    file. The requests of batches that are over are not compared, because their rows are not
    claimed. Nothing is checked while a `forget` is interrupted, because it changes these files.
    """
    ws = report.ws
    with ws.store.read() as tx:
        task_batches = list_task_batches(tx)
        cleaned_batches = marks.cleaned_batches(tx)
        if marks.open_erasures(tx):
            return

    for batch in task_batches:
        try:
            for path, sha256, file_label in clean.list_sealed_files(
                ws.data, batch, cleaned_batches
            ):
                files.verify_sealed_file(path, sha256=sha256, file_label=file_label)
            if not batch.is_finished:
                _check_requests(ws.data, ws.store, batch)
        except InconsistentError as error:
            next_step: object = RESTORE_HINT
            if not batch.is_finished:
                next_step = HintTemplate(
                    "{} fetches a result again, and {} releases the rows",
                    ws.find_task(batch.task).nouns.command("batch-poll"),
                    CommandHint("batch-cancel", batch=batch.number),
                )
            yield RowFault(
                f"batch {batch.number} ({batch.state}): {error.message}",
                "it is the record of requests and replies, which an open batch and `backup` need",
                next_step,
            )


def _check_requests(data: Path, store: Store, batch: batches.BatchRow) -> None:
    """Check that a request file asks about exactly the claimed rows, each on its recorded line.

    A line without a key agrees with no row.

    Raises:
        InconsistentError: The file does not agree, or the database has another name for it than
            the batch number gives.
    """
    claimed_rows = store.query(claims.claimed_rows, batch.number)
    path = sealed_request(data, batch)
    with contextlib.closing(files.read_lines(path)) as lines:
        keys = (json.loads(line).get("key") for _, line in lines)
        keys_by_line_number = dict(enumerate(keys, 1))

    request_count = len(keys_by_line_number)
    is_complete = request_count == batch.requests + batch.control_requests
    for claim in claimed_rows:
        key = keys_by_line_number.get(claim.line or 0)
        is_complete = is_complete and key == make_request_key(batch.task, claim.row_id)
    if not is_complete:
        raise InconsistentError(
            f"its request file has {plural(request_count, 'request')}, "
            f"which do not match its {plural(len(claimed_rows), 'claimed row')}"
        )


def _check_derived_values(report: DoctorReport) -> Iterator[RowFault]:
    """Check that computed columns follow from their rows, and rows from the applied answers."""
    for task in report.ws.tasks:
        yield from report.ws.store.query(task.find_row_faults, report.ws.display)


def _check_rows(report: DoctorReport) -> Iterator[RowFault]:
    """Run each task's own check of the rows in its tables, and yield the findings.

    Adds the task's figures to `report.row_figures` before its findings are yielded.
    A task that has no such check is skipped.
    """
    for task in report.ws.tasks:
        check_result = report.ws.store.query(task.check_rows)
        if check_result is None:
            continue

        figures, findings = check_result
        report.row_figures[task.subject] = figures
        yield from findings


def _check_tasks(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a notice for each task file that is missing or has a wrong syntax."""
    for task in report.ws.tasks:
        if task.user_file is None or task.user_file.path is None:
            continue
        message = task.user_file.describe_syntax_error()
        if not task.user_file.path.is_file():
            message = "it is missing"
        if message:
            yield create_notice(
                f"the file {task.user_file.path} of the task {task.subject} cannot be loaded: "
                f"{message}",
                "its rows cannot be asked, and its answers cannot be checked; all else works",
                f"correct the file, or name its new path: {OptionHint(task='path/FILE.py')}",
            )


def _check_indexes(report: DoctorReport) -> Iterator[RowFault]:
    """Check for each indexed task that its build in service is intact and current."""
    for collection in report.ws.indexed_tasks:
        yield from _check_index(report.ws, collection)


def _check_index(ws: WorkspaceSession, collection: IndexedTask) -> Iterator[RowFault]:
    """Check that the build in service is intact, that links lead to it, and that it is current.

    A damaged build is a contradiction, and the only finding. A task without a build has no finding.
    A wrong link in DATA is a contradiction, a wrong `index/current` only a notice. The position of
    the database is a counter that grows with each change of rows, and a build has the position that
    it was read at. A build with a higher position than the database is a contradiction, because the
    database is then an older copy. Another model or width is only a notice.
    """
    builds = Builds(ws.data, collection.folder)
    rebuild_hint = ws.find_task(collection.task).nouns.command("index")
    try:
        build = builds.read_current_manifest()
        damages = builds.find_damage(build.number) if build is not None else []
    except InconsistentError as error:
        build = None
        damages = [error.message]
    if damages:
        yield RowFault(
            f"the build in service is damaged: {'; '.join(damages)}",
            "search finds no entries, or the wrong entries",
            rebuild_hint,
        )
    if damages or build is None:
        return

    link_consequence = "other programs read another index"
    if builds.find_link_correction(ws.store):
        yield create_notice(
            f"index/current leads to build {build.number}, which is not in service",
            link_consequence,
            rebuild_hint,
        )
    for file_name in builds.find_stray_links():
        yield RowFault(
            f"{file_name} does not lead to the index in service", link_consequence, rebuild_hint
        )

    model = ws.settings.embedding_model
    dim = ws.settings.dim
    if (build.model, build.dim) != (model, dim):
        yield create_notice(
            f"the index has vectors of {build.model} with {build.dim} dimensions; "
            f"the settings name {model} with {dim} dimensions",
            "search is refused until both agree",
            rebuild_hint,
        )
    position = ws.store.query(workspace.get_workspace).position
    if build.position > position:
        yield RowFault(
            f"the build was read at database position {build.position}, "
            f"but the database is at position {position}",
            "the database is an older copy than the index",
            f"put the newer database back, or {rebuild_hint} {OptionHint(worse_ok=True)}",
        )


def _check_leftovers(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a contradiction for each file of an unknown batch, and a notice for each leftover.

    A file of an unknown batch proves that a batch was sent that is not in the database: it is a
    result file, or a request file whose number a remote batch has. `report.unknown_numbers` has the
    numbers of the remote batches, so the check of the backend must run before. Any other file that
    a killed process left is a leftover, and so is the index folder of an unindexed task. Leftovers
    of builds are left out while an index is being built. Nothing is deleted.
    """
    ws = report.ws
    restore_hint = CommandHint("restore", from_="…")
    for path in clean.find_unrecorded_files(ws.data, ws.store, report.unknown_numbers):
        yield RowFault(
            f"{path.name} belongs to a batch that is not in the database; "
            "the database is an older copy than the folder",
            "the answers are paid for; no batch is submitted, "
            "because a new batch would get the same number",
            f"put the newer database back, or restore a newer backup ({restore_hint})",
        )

    leftovers = clean.find_leftovers(ws.data, ws.store, report.unknown_numbers)
    # While the lock is taken, the staging folder belongs to a running build.
    if ws.locks.is_free(INDEX_LOCK):
        leftovers += clean.find_index_leftovers(ws)
    for path in leftovers:
        yield create_notice(
            f"{path.name} is a leftover of a killed run",
            "it uses disk space",
            CommandHint("clean"),
        )


def _describe_open_erasures(tx: Connection) -> list[str]:
    """Return a message for each row whose `forget` was interrupted."""
    return [f"the forgetting of row {row_id} was interrupted" for row_id in marks.open_erasures(tx)]


CHECKS: Mapping[str, WorkspaceCheck] = {
    "database": _create_query_check(
        sqlite.find_damage,
        "rows may be lost or read wrongly",
        RESTORE_HINT,
    ),
    "states": _create_query_check(
        batches.find_unknown_states,
        "no command can process it",
        RESTORE_HINT,
    ),
    "batches": _check_batches,
    "marks": _create_query_check(
        again.find_endless_marks,
        "their rows would be asked again and again",
        HintTemplate("{} takes the marks back", CommandHint("tag", again=False)),
    ),
    "sealed files": _check_sealed_files,
    "derived": _check_derived_values,
    "rows": _check_rows,
    "tasks": _check_tasks,
    "index": _check_indexes,
    "forgotten": _create_query_check(
        _describe_open_erasures,
        "some data of the row may remain",
        HintTemplate("run the same {} again", CommandHint("forget")),
        is_contradiction=False,
    ),
    "backend": check_backend,
    "models": check_models,
    # After the backend's check, which finds the numbers of unknown batches.
    "litter": _check_leftovers,
}
