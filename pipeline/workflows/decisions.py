"""Open a session that asks closed questions of the decision model."""

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import Mode
from pipeline.engine import closed_questions
from pipeline.engine.session import WorkspaceSession

# Modes in which a few rows can be asked.
SINGLE_ROW_MODES = (Mode.LIVE.value, Mode.DECIDE.value)


def open_decisions(ws: WorkspaceSession) -> WorkspaceSession:
    """Return a session that asks the closed fields of the task in use as decisions.

    Raises:
        InputError: Decisions cannot answer a field of the task; nothing was asked.
    """
    reason = closed_questions.explain_open_field(ws.task)
    if reason:
        raise InputError(
            f"{reason}; nothing was asked",
            hint=f"without {OptionHint(mode='decide')} a generating model answers all fields",
        )
    return ws.for_decisions()


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
