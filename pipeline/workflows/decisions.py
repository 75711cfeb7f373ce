"""Open sessions that ask closed questions of the decision model, and continue their runs."""

from collections.abc import Sequence

from pipeline.batch import live
from pipeline.batch.batch_plan import Selection
from pipeline.batch.live_report import LiveReport
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import Mode
from pipeline.engine import closed_questions
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_template import AnswerField
from pipeline.engine.unregistered_task import UnregisteredTask
from pipeline.store import runs
from pipeline.store.database import Connection

# Modes in which a few rows can be asked.
SINGLE_ROW_MODES = (Mode.LIVE.value, Mode.DECIDE.value)


def open_decisions(ws: WorkspaceSession) -> WorkspaceSession:
    """Return a session that asks the closed fields of the task in use as decisions.

    Raises:
        InputError: Decisions cannot answer a field of the task; nothing was asked.
    """
    reason = closed_questions.explain_open_field(ws.task)
    if reason:
        tag_command = ""
        if not isinstance(ws.task, UnregisteredTask):
            tag_command = str(ws.task.labels.command("tag", mode=Mode.DECIDE.value))
        raise _open_field_error(
            reason,
            is_mixed=closed_questions.is_mixed(ws.task),
            tag_command=tag_command,
        )
    return ws.for_decisions()


def check_decidable(fields: Sequence[AnswerField]) -> None:
    """Refuse fields of a new question that decisions cannot answer.

    Raises:
        InputError: A field is not closed; nothing was asked.
    """
    closed_fields = [field for field in fields if field.choices or field.kind == "bool"]
    for field in fields:
        if field not in closed_fields:
            reason = closed_questions.describe_open_field(field.name, f"of the kind {field.kind}")
            raise _open_field_error(reason, is_mixed=bool(closed_fields))


def _open_field_error(reason: str, *, is_mixed: bool, tag_command: str = "") -> InputError:
    """Return the error for a field that decisions cannot answer.

    Args:
        is_mixed: Decisions can answer other fields.
        tag_command: The command that decides the closed fields; empty for a new question.
    """
    option = OptionHint(mode="decide")
    hint = f"without {option} a generating model answers all fields"
    if is_mixed:
        command = f"`{tag_command}`" if tag_command else f"`tag` with {option}"
        hint += f"; {command} decides the closed fields of a task, then asks the others"
    return InputError(f"{reason}; nothing was asked", hint=hint)


def open_undecided_rows(ws: WorkspaceSession) -> WorkspaceSession:
    """Return a session that asks the closed fields of the rows that lack them as decisions.

    Of a closed task these are all open rows. The session shares the client, which is opened now.

    Raises:
        ConfigurationError: There is no usable key, or the engine cannot start.
    """
    ws.ensure_client()
    decide_ws = ws.for_decisions()
    if closed_questions.is_mixed(ws.task):
        decide_ws.task = ws.task.with_open_rows(has_partial_answer=False)
    return decide_ws


def continue_decide_run(ws: WorkspaceSession) -> LiveReport:
    """Ask the rows that an unfinished run of decisions left open.

    Raises:
        ConfigurationError: There is no usable key, or the engine cannot start.
    """
    return live.ask_rows(open_undecided_rows(ws), Selection(), mode=Mode.DECIDE)


def is_decide_run_open(tx: Connection, task: Task) -> bool:
    """Return whether the unfinished `tag` of a task asks by decisions, under its version."""
    if task.user_file is None:
        return False
    unfinished_run = runs.find_unfinished_run(tx, task.name, mode=runs.TAG)
    return unfinished_run is not None and unfinished_run.extractor == task.rows.decision_version


def open_in_mode(ws: WorkspaceSession, mode: str) -> WorkspaceSession:
    """Return the session that asks a few rows in a mode: live or decide.

    Raises:
        InputError: There is no such mode, or decisions cannot answer a field of the task; nothing
            was asked.
    """
    if mode not in SINGLE_ROW_MODES:
        raise InputError(
            f"there is no mode {mode!r} for a few rows; nothing was asked",
            hint=f"modes: {', '.join(SINGLE_ROW_MODES)}",
        )
    return open_decisions(ws) if mode == Mode.DECIDE else ws
