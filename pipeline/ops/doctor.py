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

from pipeline.batch.batch_files import request_path, sealed_request
from pipeline.core import files
from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
    InconsistentError,
    RemoteError,
)
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState, Mode, Outcome
from pipeline.core.text import plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_parts import RowFault
from pipeline.gemini.requests import make_request_key
from pipeline.index.builds import INDEX_LOCK, Builds, find_orphaned_folders
from pipeline.index.manifest import Manifest
from pipeline.index.vector_cache import open_vector_cache
from pipeline.ops import clean
from pipeline.ops.doctor_backend import check_backend, check_models, list_task_batches
from pipeline.ops.doctor_report import DoctorReport, create_notice
from pipeline.store import (
    again,
    answer_counts,
    batches,
    claims,
    marks,
    rows,
    sqlite,
    workspace,
)
from pipeline.store.database import Connection, Store

MAX_REFUSED_EXAMPLES = 3
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

    if stored_counts is not None and not batch.is_finished:
        stored_total = sum(stored_counts.values())
        if stored_total != batch.requests:
            yield (
                f"and has {plural(batch.requests, 'request')}, "
                f"but claims and outcomes of {stored_total}"
            )

    if batch.state is not BatchState.INGESTED:
        return

    recorded_counts = {outcome: getattr(batch, outcome.value) or 0 for outcome in Outcome}
    recorded_total = sum(recorded_counts.values())
    if recorded_total != batch.requests:
        yield f"and has outcomes for {recorded_total} of {batch.requests} requests"
    if stored_counts is None:
        return
    for outcome, recorded_count in recorded_counts.items():
        if recorded_count != stored_counts[outcome]:
            yield (
                f"and counts {recorded_count} {outcome}, "
                f"but the database has {stored_counts[outcome]}"
            )


def _check_sealed_files(report: DoctorReport) -> Iterator[RowFault]:
    """Check that sealed files are unchanged and that request files ask about the claimed rows.

    Yields a finding for each missing, changed or wrongly named file of all batches that claim rows.
    The requests of batches that are over are not compared, because their rows are not claimed.
    """
    ws = report.ws
    with ws.store.read() as tx:
        task_batches = list_task_batches(tx)
        cleaned_batches = marks.cleaned_batches(tx)
        is_forgetting = bool(marks.open_erasures(tx))

    for batch in task_batches:
        try:
            sealed_files = clean.list_sealed_files(ws.data, batch, cleaned_batches)
        except InconsistentError as error:
            yield RowFault(
                error.message,
                "no command reads it, and the batch is neither cleaned nor forgotten",
                RESTORE_HINT,
            )
            continue

        for path, sha256, file_label in sealed_files:
            is_request_file = path == request_path(ws.data, batch.number)
            try:
                files.verify_sealed_file(path, sha256=sha256, file_label=file_label)
                message = ""
                if is_request_file and not batch.is_finished:
                    message = _compare_requests_with_claims(ws.data, ws.store, batch)
            except InconsistentError as error:
                message = error.message

            if message:
                yield _create_file_finding(
                    ws.find_task(batch.task),
                    batch,
                    message=message,
                    is_request_file=is_request_file,
                    is_forgetting=is_forgetting,
                )


def _compare_requests_with_claims(data: Path, store: Store, batch: batches.BatchRow) -> str:
    """Return an error message if a request file does not ask about exactly the claimed rows.

    Each claimed row must be on its recorded line, and the number of lines must be that of the
    batch. Returns "" if both agree. A line without a key agrees with no row.

    Raises:
        InconsistentError: The database has another name for the file than the batch number gives.
    """
    claimed_rows = store.query(claims.claimed_rows, batch.number)

    with contextlib.closing(files.read_lines(sealed_request(data, batch))) as lines:
        keys = (json.loads(line).get("key") for _, line in lines)
        keys_by_line_number = dict(enumerate(keys, 1))

    are_claims_requested = all(
        keys_by_line_number.get(claim.line or 0) == make_request_key(batch.task, claim.row_id)
        for claim in claimed_rows
    )
    line_count = batch.requests + batch.control_requests
    if are_claims_requested and len(keys_by_line_number) == line_count:
        return ""
    return (
        f"its request file has {plural(len(keys_by_line_number), 'request')}, "
        f"which do not match its {plural(len(claimed_rows), 'claimed row')}"
    )


def _create_file_finding(
    task: Task, batch: batches.BatchRow, *, message: str, is_request_file: bool, is_forgetting: bool
) -> RowFault:
    """Return the finding, of the type RowFault, for a sealed file that is missing or wrong.

    The finding is a contradiction. It is only a notice if the batch is over and an interrupted
    `forget` may explain the fault. Consequence and hint depend on whether the batch is over, and on
    the kind of file.

    Args:
        message: The fault of the file.
        is_request_file: False for a result file.
        is_forgetting: Whether an interrupted `forget` may explain changed files of ended batches.
    """
    step_hint = task.labels.command
    is_contradiction = True
    if batch.is_finished:
        backup = CommandHint("backup")
        consequence = f"it is the record of requests and replies; only `{backup}` needs it"
        next_step = str(RESTORE_HINT)
        if is_forgetting:
            next_step = f"run the same {CommandHint('forget')} again"
            is_contradiction = False
    elif is_request_file:
        consequence = "its requests may be about other rows than the claimed rows"
        next_step = str(CommandHint("batch-cancel", batch=batch.number))
        # A downloaded batch has its answers, so ingest needs no request file.
        if batch.state is BatchState.DOWNLOADED:
            next_step = str(step_hint("batch-ingest"))
    else:
        consequence = "its answers are paid for, but not ingested yet"
        next_step = f"{step_hint('batch-poll')} fetches it again"

    return RowFault(
        f"batch {batch.number} ({batch.state}): {message}",
        consequence,
        next_step,
        is_contradiction,
    )


def _check_derived_values(report: DoctorReport) -> Iterator[RowFault]:
    """Check that computed columns follow from their rows, and rows from the applied answers."""
    for task in report.ws.tasks:
        yield from report.ws.store.query(task.own_tables.find_row_faults, report.ws.display)


def _check_rows(report: DoctorReport) -> Iterator[RowFault]:
    """Run each task's own check of the rows in its tables, and yield the findings.

    Adds the task's figures to `report.row_figures` before its findings are yielded.
    A task that has no such check is skipped.
    """
    for task in report.ws.tasks:
        check_result = report.ws.store.query(task.own_tables.check_rows)
        if check_result is None:
            continue

        figures, findings = check_result
        report.row_figures[task.subject] = figures
        yield from findings


def _check_refused_rows(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a notice for each task that has refused rows, which cannot be asked.

    The notice has the number of the rows and the messages of the first MAX_REFUSED_EXAMPLES.
    """
    for task in report.ws.tasks:
        with report.ws.store.read() as tx:
            refused_count = rows.count_refused(tx, task.name)
            refused_rows = rows.refused_rows(tx, task.name, limit=MAX_REFUSED_EXAMPLES)
            examples = [row.message for row in refused_rows]
        if not refused_count:
            continue

        verb = "was" if refused_count == 1 else "were"
        if task.user_file is None:
            import_note = ", with the file and the options of its import"
            read_again_command = task.fill_hint.step
        else:
            import_note = ""
            read_again_command = task.labels.command("tag")
        count_message = f"{plural(refused_count, 'row')} of {task.subject} {verb} refused"
        yield create_notice(
            f"{count_message}: {'; '.join(examples)}",
            "these rows are not asked",
            HintTemplate(
                f"list them with `{{}}`, correct the source, then type `{{}}`{import_note}",
                CommandHint("items", task=task.labels.task_option, state="refused"),
                read_again_command,
            ),
        )


def _check_tasks(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a notice for each unknown task of a batch, and for each task file with a fault.

    A task file has a fault if its syntax is wrong or if it is missing. Trials, and batches of
    forgotten tasks, are left out.
    """
    ws = report.ws
    known_task_names = {task.name for task in ws.tasks}
    batch_numbers_by_task = dict[str, list[str]]()
    with ws.store.read() as tx:
        rolled_back_numbers = marks.rolled_back_batches(tx)
        for batch in list_task_batches(tx):
            if batch.task not in known_task_names and batch.number not in rolled_back_numbers:
                batch_numbers_by_task.setdefault(batch.task, []).append(str(batch.number))

    for task_name, batch_numbers in batch_numbers_by_task.items():
        yield create_notice(
            f"the task {task_name!r} of batch {', '.join(batch_numbers)} is unknown",
            "its answers are not stored, and its rows are not counted",
            f"name its table as before ({OptionHint(passages_table='…')})",
        )

    for task in ws.tasks:
        if task.user_file is None or task.user_file.path is None:
            continue
        syntax_fault = task.user_file.find_syntax_fault()
        if syntax_fault is not None:
            yield create_notice(
                f"the file of the task {task.subject} cannot be loaded: "
                f"{syntax_fault.location}: {syntax_fault.message}",
                "its rows cannot be asked, and its answers cannot be checked; all else works",
                HintTemplate(
                    f"{syntax_fault.hint}, then type `{{}}`",
                    CommandHint("status", task=task.labels.task_option),
                ),
            )

        task_file = task.user_file.path
        if task_file.is_file():
            continue
        path_hint = OptionHint(task=f"path/{task_file.name}")
        yield create_notice(
            f"the file of the task {task.subject} is missing: {task_file}",
            "its rows cannot be asked, and its answers cannot be checked; all else works",
            f"put it back, or name its new path: {path_hint}",
        )


def _check_indexes(report: DoctorReport) -> Iterator[RowFault]:
    """Check for each indexed task that its build in service is intact and current.

    A damaged build is a contradiction, and the only finding of its task. A task without a build has
    no finding.
    """
    ws = report.ws
    for collection in ws.indexed_tasks:
        builds = Builds(ws.data, collection.folder)
        rebuild_hint = ws.find_task(collection.task).labels.command("index")
        current_build = None
        try:
            current_build = builds.read_current_manifest()
            damages = builds.find_damage(current_build.number) if current_build else []
            message = ""
            if damages:
                message = f"the build in service is damaged: {'; '.join(damages)}"
        except InconsistentError as error:
            message = error.message

        if message:
            yield RowFault(message, "search finds no entries, or the wrong entries", rebuild_hint)
        elif current_build is not None:
            yield from _check_index_links(ws.store, builds, current_build, rebuild_hint)
            yield from _check_index_state(ws.settings, ws.store, current_build, rebuild_hint)


def _check_index_links(
    store: Store,
    builds: Builds,
    current_build: Manifest,
    rebuild_hint: CommandHint,
) -> Iterator[RowFault]:
    """Check that `index/current` and the file names in DATA lead to the promoted build.

    A wrong file name in DATA is a contradiction. A wrong `index/current` is only a notice.
    """
    consequence = "other programs read another index"
    promoted_number = builds.find_link_correction(store)
    if promoted_number:
        yield create_notice(
            f"the database names build {promoted_number} as the build in service, "
            f"but index/current leads to build {current_build.number}",
            consequence,
            rebuild_hint,
        )

    for file_name in builds.find_stray_links():
        yield RowFault(
            f"{file_name} does not lead to the index in service",
            consequence,
            rebuild_hint,
        )


def _check_index_state(
    settings: Settings,
    store: Store,
    current_build: Manifest,
    rebuild_hint: CommandHint,
) -> Iterator[RowFault]:
    """Check that a build has the settings' model and width and is not from a newer database.

    The position of the database is a counter that grows with each change of rows, and a build has
    the position that it was read at. A build with a higher position than the database is a
    contradiction, because the database is then an older copy. Another model or width is only a
    notice.

    Args:
        settings: The settings, with the embedding model and the width of vectors.
        store: The database.
        current_build: Manifest of the build in service.
        rebuild_hint: The command that builds the index again.
    """
    model = settings.embedding_model
    dim = settings.dim
    if (current_build.model, current_build.dim) != (model, dim):
        yield create_notice(
            f"the index has vectors of {current_build.model} with {current_build.dim} dimensions; "
            f"the settings name {model} with {dim} dimensions",
            "search is refused until both agree",
            rebuild_hint,
        )

    with store.read() as tx:
        position = workspace.get_workspace(tx).position
    if current_build.position > position:
        yield RowFault(
            f"the build was read at database position {current_build.position}, "
            f"but the database is at position {position}",
            "the database is an older copy than the index",
            f"put the newer database back, or {rebuild_hint} {OptionHint(worse_ok=True)}",
        )


def _check_vectors(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a notice if cached vectors of the embedding model in use are damaged.

    Damaged vectors of other models are not checked.
    """
    cache = open_vector_cache(report.ws)
    damaged_keys = cache.find_damaged_keys()
    if damaged_keys:
        yield create_notice(
            f"the cache has {plural(len(damaged_keys), 'damaged vector')} of {cache.model}",
            "they are embedded again when they are needed",
            f"run {CommandHint('index')}, which embeds them again",
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

    folders = [collection.folder for collection in ws.indexed_tasks]
    leftovers = clean.find_leftovers(ws.data, ws.store, report.unknown_numbers)
    leftovers += find_orphaned_folders(ws.data, folders)
    # While the lock is taken, the staging folder belongs to a running build.
    if ws.locks.is_free(INDEX_LOCK):
        for folder in folders:
            leftovers += Builds(ws.data, folder).find_leftovers()
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
    "refused rows": _check_refused_rows,
    "tasks": _check_tasks,
    "index": _check_indexes,
    "vectors": _check_vectors,
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
