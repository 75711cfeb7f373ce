"""Open sessions that ask closed questions of the decision model, and continue their runs.

- A decision model answers a question with a fixed choice, such as yes or no, by probabilities. Such
  an answer is a decision.
- A closed field of an answer is one that a decision can answer. The other fields are open. All
  fields of a task that is decided are closed.
"""

from askrows.pipeline.batch.session import WorkspaceSession
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.states import Mode
from askrows.pipeline.store import runs
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import request_builder
from askrows.pipeline.tasks.task import Task

# Modes in which a few rows can be asked.
SINGLE_ROW_MODES = (Mode.LIVE.value, Mode.DECIDE.value)


def make_decision_session(ws: WorkspaceSession) -> WorkspaceSession:
    """Return a session that asks the decision model about all fields of the task in use.

    Raises:
        InputError: The task has open fields; nothing was asked.
    """
    open_fields = request_builder.list_open_fields(ws.task)
    if open_fields:
        reason = request_builder.describe_open_fields(open_fields)
        hint = f"ask these fields without {OptionHint(mode='decide')}, in a task of their own"
        raise InputError(f"{reason}; nothing was asked", hint=hint)
    return ws.copy_for_decisions()


def is_decide_run_open(tx: Connection, task: Task) -> bool:
    """Return whether a task has an unfinished `tag` that asks the decision model.

    Only a `tag` under the task's present version counts.
    """
    if task.user_file is None:
        return False
    unfinished_run = runs.find_unfinished_run(tx, task.name)
    return unfinished_run is not None and unfinished_run.version == task.decision_version


def make_session_in_mode(ws: WorkspaceSession, mode: str) -> WorkspaceSession:
    """Return the session that asks a few rows in a mode: live or decide.

    Raises:
        InputError: There is no such mode for a few rows, or the mode is decide and the task has
            open fields; nothing was asked.
    """
    if mode not in SINGLE_ROW_MODES:
        raise InputError(
            f"there is no mode {mode!r} for a few rows; nothing was asked",
            hint=f"modes: {', '.join(SINGLE_ROW_MODES)}",
        )
    return make_decision_session(ws) if mode == Mode.DECIDE else ws
