"""Checks of `doctor` that compare the workspace with its backend.

The backend is the Gemini API or the local engine. The local engine is not started for a workspace
that has never used it.
"""

import re
from collections.abc import Collection, Iterator, Mapping

from pipeline.batch import reconcile
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import MissingError
from pipeline.core.states import DISPLAY_NAME_PREFIX, BatchState
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_values import RowFault
from pipeline.gemini.remote import RemoteBatch
from pipeline.ops.doctor_report import DoctorReport, create_notice
from pipeline.store import batches, workspace
from pipeline.store.batches import BatchRow, strip_try
from pipeline.store.database import Connection

# The batch number at the end of a display name without its try.
_BATCH_NUMBER_PATTERN = re.compile(r"-(\d+)-[0-9a-f]{16}$")


def list_task_batches(tx: Connection) -> list[BatchRow]:
    """Return all batches that claim rows; trials do not."""
    return [batch for batch in batches.batches_in_states(tx) if batch.mode.claims_rows]


def check_backend(report: DoctorReport) -> Iterator[RowFault]:
    """Compare the batches of this workspace with the backend's list; yield each difference.

    A difference is a contradiction (an error) or a notice.

    - SUBMITTED batch: it is requested by its remote name, because a list may lack it. It is a
      contradiction if the backend does not have it, hides it from this key, or has another batch
      under this name.
    - SUBMITTING batch: always a notice, because no reply of its create call is recorded.
    - Remote batch of this workspace that the database does not have: a contradiction until it is
      over, then a notice. Its number is added to `report.unknown_numbers`.
    - Second remote batch of the same batch, unless findable cancelled that duplicate: a
      contradiction. So is a batch that runs although it was given up.

    Trials and remote batches of other workspaces are left out; the display name of a remote batch
    names its workspace. Yields nothing if the workspace has no backend yet. Nothing is changed.

    Raises:
        ConfigurationError: The backend refused the API key.
        RemoteError: The backend cannot be reached.
    """
    ws = report.ws
    if not _has_backend(ws.backend, is_bound=ws.is_bound):
        return

    remote_batches = ws.client.list_batches()
    # A batch is recorded before it is created, so this later snapshot contains all listed batches.
    with ws.store.read() as tx:
        local_batches = list_task_batches(tx)
        workspace_prefix = f"{DISPLAY_NAME_PREFIX}{workspace.get_workspace(tx).workspace_id}-"
        cancelled_duplicates = {
            duplicate["remote_name"]
            for duplicate in batches.list_duplicates(tx)
            if duplicate["cancelled_at"]
        }
        batches_by_prefix = dict[str, BatchRow]()
        for batch in local_batches:
            prefixes = batches.list_numbers_by_prefix(tx, batch.number)
            batches_by_prefix |= dict.fromkeys(prefixes, batch)

    for batch in local_batches:
        if batch.state is BatchState.SUBMITTED:
            yield from _check_submitted_batch(ws, batch, batches_by_prefix)
        elif batch.state is BatchState.SUBMITTING:
            yield create_notice(
                f"a run was killed while it created batch {batch.number}",
                "its rows are not asked again until it is clear whether it exists",
                ws.find_task(batch.task).nouns.command("batch-submit"),
            )

    for remote_batch in remote_batches:
        if not remote_batch.display_name.startswith(workspace_prefix):
            continue
        owner = batches_by_prefix.get(strip_try(remote_batch.display_name))
        if owner is None:
            yield _record_unknown_batch(report, remote_batch)
        else:
            yield from _check_duplicate(
                ws.find_task(owner.task),
                owner,
                remote_batch=remote_batch,
                cancelled_duplicates=cancelled_duplicates,
            )


def check_models(report: DoctorReport) -> Iterator[RowFault]:
    """Ask the backend for each configured model; yield a notice if it does not know the model.

    Yields nothing if an earlier check could not reach the backend, or if there is no backend yet.

    Raises:
        ConfigurationError, RemoteError: The backend refused a request or cannot be reached.
    """
    ws = report.ws
    if report.backend_error is not None or not _has_backend(ws.backend, is_bound=ws.is_bound):
        return

    for setting in ("model", "embedding_model"):
        model_name = getattr(ws.settings, setting).removeprefix("models/")
        try:
            ws.client.get_model(model_name)
        except MissingError:
            yield create_notice(
                f"{model_name} ({OptionHint(setting)}) is not in the API's list of models",
                "requests to it are refused",
                f"set a model that `{CommandHint('prices')}` lists",
            )


def _has_backend(backend: str, *, is_bound: bool) -> bool:
    """Return whether the backend can be asked: not if its local engine was never started."""
    return backend != "local" or is_bound


def _check_submitted_batch(
    ws: WorkspaceSession,
    batch: BatchRow,
    batches_by_prefix: Mapping[str, BatchRow],
) -> Iterator[RowFault]:
    """Request a submitted batch; yield a contradiction if the backend does not have it.

    It is also a contradiction if its display name is that of another batch. For a missing batch
    that the API may still list late, the hint is to wait.

    Args:
        ws: The workspace.
        batch: The batch.
        batches_by_prefix: The batches by the beginnings of the display names under which they may
            have been created. Each create call of a batch adds another ending to the name.

    Raises:
        KeyRefusedError: The API refuses the key.
    """
    cancel_hint = CommandHint("batch-cancel", batch=batch.number)
    try:
        remote_batch = ws.client.get_batch(batch.remote_name or "")
    except MissingError as error:
        hidden_s = reconcile.seconds_until_listed(batch, ws.settings, now=ws.now())
        next_step = f"set the key of its project, or {cancel_hint}"
        if hidden_s:
            next_step = f"wait {hidden_s:.0f} s, it may be listed late"
        yield RowFault(
            f"batch {batch.number} no longer exists at the backend ({error.message})",
            "its rows stay claimed, and its result may never arrive",
            next_step,
        )
        return

    display_name = remote_batch.display_name
    if display_name and batches_by_prefix.get(strip_try(display_name)) is not batch:
        yield RowFault(
            f"batch {batch.number} is recorded as {remote_batch.name}, "
            f"but the backend calls that batch {display_name!r}",
            "its result would be that of another batch",
            cancel_hint,
        )


def _record_unknown_batch(report: DoctorReport, remote_batch: RemoteBatch) -> RowFault:
    """Return the finding for a remote batch of this workspace that is not in the database.

    Adds its number to `report.unknown_numbers`. The finding is a contradiction until the remote
    batch is over.
    """
    number_match = _BATCH_NUMBER_PATTERN.search(strip_try(remote_batch.display_name))
    if number_match:
        report.unknown_numbers.add(int(number_match[1]))

    description = f"{remote_batch.name} ({remote_batch.display_name}, {remote_batch.state_name})"
    return RowFault(
        f"{description} is of this workspace, but not in its database",
        "it is paid for, but its answers are not downloaded; the database may be an older copy",
        "restore a newer backup",
        not remote_batch.state.is_final,
    )


def _check_duplicate(
    task: Task, owner: BatchRow, *, remote_batch: RemoteBatch, cancelled_duplicates: Collection[str]
) -> Iterator[RowFault]:
    """Yield a finding if a remote batch is a duplicate of `owner` that was not cancelled.

    Yields nothing if `owner` has no remote name yet, or has this remote name and was not given up.

    Args:
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
    poll_hint = task.nouns.command("batch-poll")
    yield RowFault(
        message,
        "the same rows are paid for twice",
        f"run {poll_hint}, which cancels it",
    )
