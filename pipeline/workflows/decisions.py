"""Open sessions that ask closed questions of the decision model, and continue their runs.

- A decision model answers a question with a fixed choice, such as yes or no, by probabilities. Such
  an answer is a decision.
- A closed field of an answer is one that a decision can answer. The other fields are open.
- A mixed task has closed fields and open fields. A generating model is asked about the open fields.
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.batch import live
from pipeline.batch.batch_plan import Selection
from pipeline.batch.live_report import LiveReport
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import Mode
from pipeline.engine import closed_questions
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_template import CLOSED_KINDS, AnswerField
from pipeline.store import runs
from pipeline.store.database import Connection

# Modes in which a few rows can be asked.
SINGLE_ROW_MODES = (Mode.LIVE.value, Mode.DECIDE.value)


def make_decision_session(ws: WorkspaceSession) -> WorkspaceSession:
    """Return a session that asks the decision model about the closed fields of the task in use.

    Raises:
        InputError: The task has no closed field; nothing was asked.
    """
    if not closed_questions.list_closed_fields(ws.task):
        raise _no_closed_field_error(closed_questions.explain_open_field(ws.task))
    return ws.for_decisions()


def make_session_of_other_fields(decide_ws: WorkspaceSession) -> WorkspaceSession:
    """Return a session that asks the open fields of a mixed task by its generating model.

    The session shares the client of `decide_ws`, if it is open.
    """
    other_ws = replace(decide_ws, is_deciding=False, task=decide_ws.task.with_open_fields())
    if "client" in vars(decide_ws):
        other_ws.client = decide_ws.client
    return other_ws


def check_decidable(fields: Sequence[AnswerField]) -> None:
    """Raise if a decision model can answer no field of a new question.

    Raises:
        InputError: No field is a choice or yes and no; nothing was asked.
    """
    open_fields = [field for field in fields if field.kind not in CLOSED_KINDS]
    if len(open_fields) == len(fields):
        kind = f"of the kind {fields[0].kind}"
        raise _no_closed_field_error(closed_questions.describe_open_field(fields[0].name, kind))


def _no_closed_field_error(reason: str) -> InputError:
    """Return the error for a task without closed fields, with the reason."""
    option = OptionHint(mode="decide")
    return InputError(
        f"{reason}; nothing was asked",
        hint=f"without {option} a generating model answers all fields",
    )


def make_session_of_undecided_rows(ws: WorkspaceSession) -> WorkspaceSession:
    """Return a session that asks the decision model about open rows without these answers.

    These are the open rows whose closed fields have no answer yet. If the task has no other fields,
    they are all open rows. The session shares the client, which is opened now.

    Raises:
        ConfigurationError: There is no usable key, or the engine cannot start.
    """
    ws.ensure_client()
    decide_ws = ws.for_decisions()
    if closed_questions.is_mixed(ws.task):
        decide_ws.task = ws.task.with_open_rows(has_partial_answer=False)
    return decide_ws


def continue_decide_run(ws: WorkspaceSession) -> LiveReport:
    """Ask the decision model about the rows that an unfinished `tag` left open.

    Raises:
        ConfigurationError: There is no usable key, or the engine cannot start.
    """
    return live.ask_rows(make_session_of_undecided_rows(ws), Selection(), mode=Mode.DECIDE)


def is_decide_run_open(tx: Connection, task: Task) -> bool:
    """Return whether a task has an unfinished `tag` that asks the decision model.

    Only a `tag` under the task's present version counts.
    """
    if task.user_file is None:
        return False
    unfinished_run = runs.find_unfinished_run(tx, task.name, mode=runs.TAG)
    return unfinished_run is not None and unfinished_run.version == task.rows.decision_version


def make_session_in_mode(ws: WorkspaceSession, mode: str) -> WorkspaceSession:
    """Return the session that asks a few rows in a mode: live or decide.

    Raises:
        InputError: There is no such mode for a few rows, or the mode is decide and the task has no
            closed field; nothing was asked.
    """
    if mode not in SINGLE_ROW_MODES:
        raise InputError(
            f"there is no mode {mode!r} for a few rows; nothing was asked",
            hint=f"modes: {', '.join(SINGLE_ROW_MODES)}",
        )
    return make_decision_session(ws) if mode == Mode.DECIDE else ws
