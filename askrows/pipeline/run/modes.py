"""Make the run that asks in a mode, and find out whether a run in the mode decide is open.

- A decision model answers a question with a fixed choice, such as yes or no, by probabilities. Such
  an answer is a decision.
- A decision can answer a closed field of an answer. The other fields are open. All
  fields of a task that is decided are closed.
"""

from dataclasses import replace

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import Mode
from askrows.pipeline.provider.service import Service
from askrows.pipeline.store import runs
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import request_builder
from askrows.pipeline.tasks.task import Task

# Modes in which a few rows can be asked.
SINGLE_ROW_MODES = tuple(mode.value for mode in Mode if mode.asks_single_rows)


def choose_mode(run: Run, mode: Mode) -> Run:
    """Return the run that asks in a mode; in the mode decide it asks the decision model.

    Raises:
        InputError: The mode is decide, and the task has open fields; nothing was asked.
        ConfigurationError: The provider does not have the mode.
    """
    run.service.check_mode(mode)
    open_fields = request_builder.list_open_fields(run.task) if mode is Mode.DECIDE else ()
    if open_fields:
        reason = request_builder.describe_open_fields(open_fields)
        hint = f"ask these fields without {OptionHint(mode='decide')}, in a task of their own"
        raise InputError(f"{reason}; nothing was asked", hint=hint)
    return replace(run, mode=mode)


def choose_single_row_mode(run: Run, mode: str) -> Run:
    """Return the run that asks a few rows in a mode: live or decide.

    Raises:
        InputError: There is no such mode for a few rows, or the mode is decide and the task has
            open fields; nothing was asked.
    """
    if mode not in SINGLE_ROW_MODES:
        raise InputError(
            f"there is no mode {mode!r} for a few rows; nothing was asked",
            hint=f"modes: {', '.join(SINGLE_ROW_MODES)}",
        )
    return choose_mode(run, Mode(mode))


def make_gemini_estimate_run(run: Run) -> Run | None:
    """Return a run with Gemini's default model, or None if the run has no local model.

    The run is only for estimates of the cost of the same rows with a key.
    """
    if not run.model.local:
        return None

    settings = replace(
        run.workspace.settings,
        model=Settings.model,
        decision_model=Settings.decision_model,
    )
    workspace = replace(run.workspace, backend="gemini", settings=settings)
    service = Service(
        settings, "gemini", run.workspace.display, now=run.workspace.now, sleep=run.workspace.sleep
    )
    return replace(run, workspace=workspace, service=service, mode=Mode.BATCH)


def is_decide_run_open(tx: Connection, task: Task) -> bool:
    """Return whether a task has an unfinished `tag` that asks the decision model.

    Only a `tag` under the task's present version counts.
    """
    if task.user_file is None:
        return False
    unfinished_run = runs.find_unfinished_run(tx, task.name)
    return unfinished_run is not None and unfinished_run.version == task.decision_version
