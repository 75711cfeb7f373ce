"""Check that the workspace is consistent in itself and with the backend.

- CHECKS lists the checks in their order. Each check yields findings with a consequence and a hint.
- A finding is a contradiction if stored data are wrong, else a notice.
- No check changes stored data. The commands named in the hints repair the findings.
- Checks read whole files and request every submitted batch, so they are too slow for a loop.

A sealed file is a request or result file of a batch whose SHA-256 is in the database. The backend
is the API of a provider, or the local engine. The local engine is not started for a workspace that
has never used it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from askrows.pipeline.batch import reconcile
from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from askrows.pipeline.core.errors import (
    AskrowsError,
    ConfigurationError,
    InconsistentError,
    MissingError,
    RemoteError,
)
from askrows.pipeline.core.report import Report, format_counts
from askrows.pipeline.core.states import DISPLAY_NAME_PREFIX, BatchState, Outcome
from askrows.pipeline.core.text import plural
from askrows.pipeline.index.builds import INDEX_LOCK, Builds
from askrows.pipeline.index.indexed_tasks import list_indexed_tasks
from askrows.pipeline.ops import clean
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.provider.service import Service
from askrows.pipeline.store import answer_counts, batches, journal, sqlite, workspace
from askrows.pipeline.store.batches import BatchRow, strip_try_number
from askrows.pipeline.tasks import task_faults
from askrows.pipeline.tasks.derived_values import find_derived_value_faults
from askrows.pipeline.tasks.selection import find_task_by_name
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import IndexedTask, RowFault, TaskNouns
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

RESTORE_HINT = HintTemplate("restore a backup ({})", CommandHint("restore", from_="…"))


def _make_notice(
    message: str,
    consequence: str,
    next_step: object,
) -> RowFault:
    """Return a finding that does not mean that stored data are wrong.

    Args:
        message: The finding as one sentence.
        consequence: Why the finding matters.
        next_step: The action that repairs it, as a text or a command hint.
    """
    return RowFault(message, consequence, next_step, is_contradiction=False)


@dataclass
class DoctorReport:
    """Findings of all checks in their order; the checks fill the report while they run."""

    ws: OpenWorkspace
    service: Service
    # The task in use, and all tasks of the workspace.
    task: Task
    tasks: Sequence[Task]
    # Number of checks that ran.
    check_count: int = 0
    # Pairs of the name of a check and a finding of that check.
    findings: list[tuple[str, RowFault]] = field(default_factory=list)
    # The figures of each task whose check gives figures, by its name.
    row_figures: dict[str, Mapping[str, int]] = field(default_factory=dict)
    # The error that prevented a comparison with the backend.
    backend_error: ConfigurationError | RemoteError | None = None

    def find_nouns(self, task_name: str) -> TaskNouns:
        """Return the words of a task by its name; those of the task in use if there is none."""
        return find_task_by_name(self.tasks, task_name, default=self.task).nouns

    @property
    def contradictions(self) -> list[RowFault]:
        """Return the findings that contradict the stored data."""
        return [finding for _, finding in self.findings if finding.is_contradiction]

    def to_report(self) -> Report:
        """Return the report of `doctor`: the rows of each task, and the findings.

        It has an error if a finding is a contradiction, or else if the backend was not compared.
        """
        findings = [
            {
                "said": finding.message,
                "why": finding.consequence,
                "next": str(finding.hint),
                "contradiction": finding.is_contradiction,
                "check": check_name,
            }
            for check_name, finding in self.findings
        ]
        contradictions = self.contradictions
        figures = {
            "healthy": not contradictions,
            "checks": self.check_count,
            "rows": self.row_figures,
            "findings": findings,
        }
        report = Report(figures)
        report.parts += [
            f"{subject}: {format_counts(counts) or 'no row'}"
            for subject, counts in self.row_figures.items()
        ]
        report.parts += [
            "{check}: {said}: {why}. To repair it: {next}".format_map(finding)
            for finding in findings
        ]
        if contradictions:
            count = plural(len(contradictions), "finding contradicts", "findings contradict")
            error = InconsistentError(f"{count} the stored data", hint=contradictions[0].hint)
            report.errors = [error]
            return report

        checks = plural(self.check_count, "check")
        notices = f"no contradiction found; notices: {len(findings)}"
        report.parts.append(f"{checks} passed, {notices}")
        if self.backend_error is not None:
            report.errors = [self.backend_error]
        return report


# A check yields its findings, and may add figures to the report.
WorkspaceCheck = Callable[[DoctorReport], Iterator[RowFault]]


def check_and_report_workspace(
    ws: OpenWorkspace,
    service: Service,
    task: Task,
    tasks: Sequence[Task],
) -> Report:
    """Run all checks of CHECKS in their order and report their findings.

    A check that raises AskrowsError adds that error as a finding, and nothing is raised. If the
    first check has a finding, the later checks are skipped, because they rely on an intact database
    with known states. The line that names the backend in use is not printed.

    Args:
        ws: The workspace.
        service: The backend, which is compared with the workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
    """
    report = DoctorReport(ws, service, task, tasks)
    service.is_announced = True

    for check_name, check in CHECKS.items():
        report.check_count += 1
        try:
            for finding in check(report):
                report.findings.append((check_name, finding))
        except AskrowsError as error:
            report.findings.append((check_name, _record_and_describe_failed_check(report, error)))

        # A row with an unknown state would cause misleading findings in the later checks.
        if check_name == "database" and report.findings:
            break
    return report.to_report()


def _record_and_describe_failed_check(report: DoctorReport, error: AskrowsError) -> RowFault:
    """Return the finding for a check that raised an error.

    A ConfigurationError or RemoteError gives only a notice that the backend was not compared, and
    is saved as `report.backend_error`. Any other error gives a contradiction.
    """
    hint = error.hint or ""
    if isinstance(error, ConfigurationError | RemoteError):
        report.backend_error = error
        return _make_notice(
            error.message,
            "the workspace was not compared with the backend",
            hint,
        )
    return RowFault(error.message, "this check did not finish", hint)


def _find_database_faults(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a finding for each damage of the database, and for each batch in an unknown state."""
    for find_faults in (sqlite.list_damage_messages, batches.list_unknown_state_messages):
        for message in report.ws.store.query(find_faults):
            yield RowFault(message, "rows may be lost or read wrongly", RESTORE_HINT)


def _find_batch_count_faults(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a finding for each batch whose requests, claims and stored outcomes disagree.

    While a batch is not over, its claims and outcomes must add up to its requests. For an ingested
    batch, the numbers of outcomes in its own record must add up to its requests, and equal the
    outcomes that are counted from the rows, unless a rollback deleted answers of the batch. Other
    batches that are over, and trials, which claim no rows, are left out.
    """
    # All counts come from one snapshot, because a batch may end during the check.
    with report.ws.store.read() as tx:
        task_batches = batches.list_claiming_batches(tx)
        counts_by_batch = answer_counts.count_requests_by_batch_and_outcome(tx)
        rolled_back_numbers = journal.read_rolled_back_batches(tx)

    for batch in task_batches:
        stored_counts = Counter(counts_by_batch.get(batch.number))
        recorded_counts = stored_counts
        if batch.state is BatchState.INGESTED:
            recorded_counts = Counter(
                {outcome.value: getattr(batch, outcome.value) or 0 for outcome in Outcome}
            )
        elif batch.is_finished:
            continue

        message = ""
        if recorded_counts.total() != batch.requests:
            message = f"has claims and outcomes for {recorded_counts.total()} of {batch.requests}"
        elif recorded_counts != stored_counts and batch.number not in rolled_back_numbers:
            message = (
                f"counts {_describe_counts(recorded_counts)}, "
                f"but the database has {_describe_counts(stored_counts)}"
            )
        if message:
            yield RowFault(
                f"batch {batch.number} is {batch.state}, and {message}",
                "its requests, answers and costs are not known for certain",
                RESTORE_HINT,
            )


def _describe_counts(counts: Mapping[str, int]) -> str:
    """Return counts by outcome as a phrase."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def _find_sealed_file_faults(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a finding for each batch with a missing, changed or wrongly named sealed file.

    Only batches that claim rows are checked, and none while a `forget` is interrupted,
    because it changes these files. Batches whose files `clean` deleted have no finding.
    """
    ws = report.ws
    with ws.store.read() as tx:
        task_batches = batches.list_claiming_batches(tx)
        cleaned_batches = journal.read_cleaned_batches(tx)
        if journal.list_ids_of_unfinished_erasures(tx):
            return

    for batch in task_batches:
        try:
            for path, sha256, file_label in clean.list_sealed_files(
                ws.data, batch, cleaned_batches
            ):
                files.verify_sealed_file(path, sha256=sha256, file_label=file_label)
        except InconsistentError as error:
            next_step: object = RESTORE_HINT
            if not batch.is_finished:
                next_step = HintTemplate(
                    "{} fetches a result again, and {} releases the rows",
                    report.find_nouns(batch.task).command("batch-poll"),
                    CommandHint("batch-cancel", batch=batch.number),
                )
            yield RowFault(
                f"batch {batch.number} ({batch.state}): {error.message}",
                "it is the record of requests and replies, which an open batch and `backup` need",
                next_step,
            )


def _find_row_faults_and_add_figures(report: DoctorReport) -> Iterator[RowFault]:
    """Yield the findings about the rows of each task; add its figures to `report.row_figures`.

    Computed columns must follow from their rows, and rows from the applied answers.
    """
    ws = report.ws
    for task in report.tasks:
        yield from ws.store.query(find_derived_value_faults, task, ws.display)
        figures, findings = ws.store.query(task.check_own_table)
        if figures:
            report.row_figures[task.subject] = figures
        yield from findings


def _find_task_file_faults(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a notice for each task file that is missing or has a wrong syntax."""
    for task in report.tasks:
        path = task.user_file.path
        if path is None:
            continue
        message = task_faults.describe_syntax_error(path)
        if message:
            yield _make_notice(
                f"the file of the task {task.subject} cannot be loaded: {message}",
                "its rows cannot be asked, and its answers cannot be checked; all else works",
                f"correct the file, or name its new path: {OptionHint(task='path/FILE.py')}",
            )


def _find_faults_of_indexes(report: DoctorReport) -> Iterator[RowFault]:
    """Yield the findings about the build in service of each indexed task."""
    for indexed_task in list_indexed_tasks(report.ws, report.tasks):
        yield from _find_faults_of_index(report, indexed_task)


def _find_faults_of_index(report: DoctorReport, indexed_task: IndexedTask) -> Iterator[RowFault]:
    """Check that the build in service is intact, linked, and not newer than the database.

    A damaged build is a contradiction, and the only finding. A task without a build, and a build
    that lacks new rows, have no finding. A wrong link in DATA is a contradiction, a wrong
    `index/current` only a notice. The position of the database is a counter that grows with each
    change of rows, and a build has the position that it was read at. A build with a higher position
    than the database is a contradiction, because the database is then an older copy.

    Raises:
        InconsistentError: The build in service cannot be read.
    """
    ws = report.ws
    builds = Builds(ws.data, indexed_task.folder)
    rebuild_hint = report.find_nouns(indexed_task.task).command("index")
    build = builds.read_current_manifest()
    if build is None:
        return

    damages = builds.list_damage_messages(build.number)
    if damages:
        yield RowFault(
            f"the build in service is damaged: {'; '.join(damages)}",
            "search finds no entries, or the wrong entries",
            rebuild_hint,
        )
        return

    link_consequence = "other programs read another index"
    if builds.find_recorded_build_if_link_is_wrong(ws.store):
        yield _make_notice(
            f"index/current leads to build {build.number}, which is not in service",
            link_consequence,
            rebuild_hint,
        )
    for file_name in builds.find_wrong_links():
        yield RowFault(
            f"{file_name} does not lead to the index in service", link_consequence, rebuild_hint
        )

    position = ws.store.query(workspace.read_workspace).position
    if build.position > position:
        yield RowFault(
            f"the build was read at database position {build.position}, "
            f"but the database is at position {position}",
            "the database is an older copy than the index",
            f"put the newer database back, or {rebuild_hint} {OptionHint(worse_ok=True)}",
        )


def _find_remote_batch_faults(report: DoctorReport) -> Iterator[RowFault]:
    """Compare the batches of this workspace with the backend's list; yield each difference.

    A difference is a contradiction (an error) or a notice.

    - SUBMITTED batch: it is requested by its remote name, because a list may lack it. It is a
      contradiction if the backend does not have it, or hides it from this key.
    - SUBMITTING batch: always a notice, because no reply of its create call is recorded.
    - Remote batch of this workspace that the database does not have: a contradiction until it is
      over, then a notice.
    - Second remote batch of the same batch, unless askrows cancelled that duplicate: a
      contradiction. So is a batch that runs although it was given up.

    Trials and remote batches of other workspaces are left out; the display name of a remote batch
    names its workspace. A model that the backend does not know is a notice. Yields nothing if the
    provider has no batches, or if the local engine was never started. Nothing is changed.

    Raises:
        ConfigurationError: The backend refused the API key.
        RemoteError: The backend cannot be reached.
    """
    ws = report.ws
    if not ws.provider.has_batches or (ws.backend == "local" and not ws.is_bound()):
        return

    remote_batches = report.service.client.list_batches()
    # A batch is recorded before it is created, so this later snapshot contains all listed batches.
    with ws.store.read() as tx:
        local_batches = {batch.number: batch for batch in batches.list_claiming_batches(tx)}
        workspace_prefix = f"{DISPLAY_NAME_PREFIX}{workspace.read_workspace(tx).workspace_id}-"
        cancelled_duplicates = {
            duplicate["remote_name"]
            for duplicate in batches.list_duplicates(tx)
            if duplicate["cancelled_at"]
        }
        numbers_by_prefix = batches.read_batch_numbers_by_try_name(tx)

    for batch in local_batches.values():
        if batch.state is BatchState.SUBMITTED:
            yield from _find_missing_remote_batch_faults(report, batch)
        elif batch.state is BatchState.SUBMITTING:
            yield _make_notice(
                f"a run was killed while it created batch {batch.number}",
                "its rows are not asked again until it is clear whether it exists",
                report.find_nouns(batch.task).command("batch-submit"),
            )

    for remote_batch in remote_batches:
        if not remote_batch.display_name.startswith(workspace_prefix):
            continue
        number = numbers_by_prefix.get(strip_try_number(remote_batch.display_name), 0)
        owner = local_batches.get(number)
        if owner is None:
            yield RowFault(
                f"{remote_batch.name} ({remote_batch.display_name}, {remote_batch.state_name}) is "
                "of this workspace, but not in its database",
                "it is paid for, but its answers are not downloaded; the database may be an older "
                "copy",
                "restore a newer backup",
                not remote_batch.state.is_final,
            )
        else:
            yield from _find_uncancelled_duplicate_faults(
                report.find_nouns(owner.task),
                owner,
                remote_batch=remote_batch,
                cancelled_duplicates=cancelled_duplicates,
            )
    yield from _find_unknown_models(report)


def _find_unknown_models(report: DoctorReport) -> Iterator[RowFault]:
    """Ask the backend for each configured model; yield a notice if it does not know the model."""
    for setting in ("model", "embedding_model"):
        model_name = getattr(report.ws.settings, setting).removeprefix("models/")
        try:
            report.service.client.fetch_model_description(model_name)
        except MissingError:
            yield _make_notice(
                f"{model_name} ({OptionHint(setting)}) is not in the API's list of models",
                "requests to it are refused",
                f"set a model that `{CommandHint('prices')}` lists",
            )


def _find_missing_remote_batch_faults(report: DoctorReport, batch: BatchRow) -> Iterator[RowFault]:
    """Request a submitted batch; yield a contradiction if the backend does not have it.

    For a missing batch that the API may still list late, the hint is to wait.

    Raises:
        KeyRefusedError: The API refuses the key.
    """
    cancel_hint = CommandHint("batch-cancel", batch=batch.number)
    try:
        report.service.client.get_batch(batch.remote_name or "")
    except MissingError as error:
        ws = report.ws
        hidden_s = reconcile.compute_seconds_until_listed(batch, ws.settings, now=ws.now())
        next_step = f"set the key of its project, or {cancel_hint}"
        if hidden_s:
            next_step = f"wait {hidden_s:.0f} s, it may be listed late"
        yield RowFault(
            f"batch {batch.number} no longer exists at the backend ({error.message})",
            "its rows stay claimed, and its result may never arrive",
            next_step,
        )


def _find_uncancelled_duplicate_faults(
    nouns: TaskNouns,
    owner: BatchRow,
    *,
    remote_batch: RemoteBatch,
    cancelled_duplicates: Collection[str],
) -> Iterator[RowFault]:
    """Yield a finding if a remote batch is a duplicate of `owner` that was not cancelled.

    Yields nothing if `owner` has no remote name yet, or has this remote name and was not given up.

    Args:
        nouns: The words of the task of `owner`, for the hint.
        owner: The batch whose display name the remote batch has.
        cancelled_duplicates: Remote names of the duplicates that were cancelled.
    """
    is_given_up = reconcile.is_given_up_and_runs(owner, remote_batch)
    is_adopted = owner.remote_name in {None, remote_batch.name} and not is_given_up
    if is_adopted or remote_batch.name in cancelled_duplicates:
        return

    message = f"{remote_batch.name} is a second remote batch of batch {owner.number}"
    if is_given_up:
        message = f"{remote_batch.name} still runs, but its batch {owner.number} was given up"
    poll_hint = nouns.command("batch-poll")
    yield RowFault(
        message,
        "the same rows are paid for twice",
        f"run {poll_hint}, which cancels it",
    )


def _find_leftover_faults(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a contradiction for each file of an unknown batch, and a notice for each leftover.

    A result file proves that a batch was sent. If the database does not have the batch, it is an
    older copy. Any other file that a killed process left is a leftover, and so is the index folder
    of an unindexed task. Leftovers are named only if nothing contradicts the stored data, because a
    newer database may need them. Leftovers of builds are left out while an index is being built.
    """
    ws = report.ws
    unrecorded_files, leftovers = clean.find_unrecorded_and_leftover_files(ws.data, ws.store)
    for path in unrecorded_files:
        yield RowFault(
            f"{path.name} belongs to a batch that is not in the database; "
            "the database is an older copy than the folder",
            "the answers are paid for; no batch is submitted, "
            "because a new batch would get the same number",
            HintTemplate(
                "put the newer database back, or restore a newer backup ({})",
                CommandHint("restore", from_="…"),
            ),
        )

    if report.contradictions:
        return
    # While the lock is taken, the staging folder belongs to a running build.
    if ws.locks.is_free(INDEX_LOCK):
        leftovers += clean.find_index_leftovers(ws, report.tasks)
    for path in leftovers:
        yield _make_notice(
            f"{path.name} is a leftover of a killed run",
            "it uses disk space",
            CommandHint("clean"),
        )


def _find_interrupted_erasures(report: DoctorReport) -> Iterator[RowFault]:
    """Yield a notice for each row whose `forget` was interrupted."""
    for row_id in report.ws.store.query(journal.list_ids_of_unfinished_erasures):
        yield _make_notice(
            f"the forgetting of row {row_id} was interrupted",
            "some data of the row may remain",
            HintTemplate("run the same {} again", CommandHint("forget")),
        )


CHECKS: Mapping[str, WorkspaceCheck] = {
    "database": _find_database_faults,
    "batches": _find_batch_count_faults,
    "sealed files": _find_sealed_file_faults,
    "rows": _find_row_faults_and_add_figures,
    "tasks": _find_task_file_faults,
    "index": _find_faults_of_indexes,
    "forgotten": _find_interrupted_erasures,
    "backend": _find_remote_batch_faults,
    # Last, because it names leftovers only if nothing contradicts the stored data.
    "litter": _find_leftover_faults,
}
