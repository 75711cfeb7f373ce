"""Check the provider with 21 invented rows: a batch, a live call and embeddings.

The rows are a task of a separate workspace in a subfolder of the current workspace. The subfolder
is deleted at the end. If the command is killed, the next run resumes.

- The list lag is how late a new batch appears in the list of batches. It is stored in the current
  workspace, which then waits for twice as long.
- A control request is a request with a known answer, which shows whether the replies of a batch
  came back under the right keys.
- A fact is something about the API that askrows relies on.
"""

import contextlib
import itertools
import shutil
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from askrows.pipeline.batch.batch_plan import MIN_CONTROLLED_ROWS
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import RemoteError
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.states import Mode
from askrows.pipeline.core.text import format_usd
from askrows.pipeline.index import build
from askrows.pipeline.ops.open_task import open_workspace
from askrows.pipeline.run import preflight
from askrows.pipeline.run.drive import drive
from askrows.pipeline.run.run_state import RunState
from askrows.pipeline.run.units import ask_open_rows_by_calls, submit_rows, sync_and_recover_task
from askrows.pipeline.store import batches, journal, money
from askrows.pipeline.tasks.task_file import (
    keep_python_task_in_process,
    load_declaration_source,
    make_python_path,
)
from askrows.pipeline.workspace.open_workspace import Access

CHECK_TASK_NAME = "verify_provider"
# Our choice: how long the list is searched for a new batch.
MAX_LIST_LAG_S = 300.0
INVENTED_ROWS = (
    "The kettle boils quickly and has not leaked in a year.",
    "Der Henkel brach am zweiten Tag, und niemand antwortete.",
    "Une lampe simple, solide, et agréable à l'œil.",
    "The manual is for another machine; two screws were missing.",
    "Warm, light, and it dries overnight. I bought a second one.",
)
# One row is asked live, and the others fill a batch with control requests.
CHECK_ROW_COUNT = MIN_CONTROLLED_ROWS + 1
CHECK_TASK_FILE = """from typing import Literal
from pydantic import BaseModel
from askrows import Task

class Verdict(BaseModel):
    verdict: Literal["praise", "blame"]

task = Task(name="verify_provider", answer=Verdict, items=[], \
prompt="Praise or blame?\\n\\n{text}", index="{text}")
"""


def verify_provider(run: Run) -> Report:
    """Ask invented rows in a separate workspace, and report the measurements of the API.

    The separate workspace is in a subfolder, which is deleted at the end. Prints and confirms the
    cost first. Waits for other processes that do the same. If a step fails, the subfolder stays,
    and the next call goes on with it.

    Raises:
        InputError: The cost was not confirmed; nothing was sent.
        RemoteError: The key is refused, the API cannot be reached, or it behaves differently than
            askrows needs.
    """
    texts = itertools.cycle(INVENTED_ROWS)
    rows = [
        {"id": number, "text": f"Order {number}: {next(texts)}"}
        for number in range(1, CHECK_ROW_COUNT + 1)
    ]
    task_path = keep_python_task_in_process(
        load_declaration_source(
            CHECK_TASK_FILE.encode(),
            CHECK_TASK_NAME,
            make_python_path(CHECK_TASK_NAME),
        ),
        rows,
    )
    data = run.workspace.data / CHECK_TASK_NAME
    trusted = run.workspace.settings.trust
    if run.workspace.backend != "local":
        # The server is confirmed for the current workspace, and so for its subfolder.
        trusted = (
            *trusted,
            str(
                run.workspace.settings.confirm_and_get_server_address(run.workspace.backend)
            ).rstrip("/"),
        )
    settings = replace(
        run.workspace.settings,
        data=data,
        database_url=None,
        task=str(task_path),
        version=None,
        gates=None,
        trust=trusted,
    )

    with run.workspace.wait_for_lock(CHECK_TASK_NAME):
        with open_workspace(
            settings,
            run.workspace.display,
            access=Access.CREATE,
            confirm=run.workspace.ask_person_and_exit_on_no,
            is_temporary=True,
        ) as check_run:
            figures = _ask_invented_rows_and_measure_api(run, check_run)
        shutil.rmtree(data)

    title = f"all rows answered, {format_usd(figures['cost'])} spent"
    report = Report(figures, title, [f"{name}: {text}" for name, text in figures["facts"].items()])
    if run.workspace.backend == "local":
        report.title = "no provider was checked: the local engine answered all rows"
        report.next_step = f"set GEMINI_API_KEY or OPENAI_API_KEY, then {CommandHint('verify')}"
    return report


def _ask_invented_rows_and_measure_api(run: Run, check_run: Run) -> dict[str, Any]:
    """Ask 20 rows by batch and one by a live call, index all, and return the measurements.

    Confirms the cost first, and waits for the batch. Stores in the current workspace how late the
    batch appeared in the list of batches. Deletes the remote batches at the end, and ignores an
    error of that deletion.

    Args:
        run: The run of the current workspace.
        check_run: The run of the workspace with the invented rows.

    Returns:
        JSON members: backend, models, `list_lag` (seconds until a new batch was in the list of
        batches), cost in USD, and `facts`: the other measurements, {subject: result as text}.

    Raises:
        InputError: The cost was not confirmed.
        RemoteError: A call failed, or a row got no valid answer.
        AskrowsError: The run was stopped.
    """
    check_run.announce_placeholders()
    measurements = dict[str, str]()
    started_at_s = run.workspace.monotonic()
    check_run = sync_and_recover_task(check_run)
    state = RunState(check_run, limit=CHECK_ROW_COUNT - 1, has_quality_reports=False)

    cost = preflight.estimate_rows(check_run).live_cost
    rows_text = f"{CHECK_ROW_COUNT} invented rows, estimated {format_usd(cost)}"
    check_run.workspace.display.say(f"{check_run.model.name}: {rows_text}")
    check_run.confirm_cost(cost, unchanged_text="nothing was sent", always_ask=cost > 0)
    submit_rows(state, should_report_full_api=False)
    list_lag_s = _wait_for_list_and_measure_lag(check_run, state.result.sent)
    if list_lag_s is not None:
        lag_text = f"after {list_lag_s:.1f} s" if list_lag_s else "at once"
        measurements["a new batch in the list"] = lag_text
        with run.workspace.store.write() as tx:
            journal.record_list_delay(
                tx, CHECK_TASK_NAME, delay_s=list_lag_s, now=run.workspace.now()
            )

    calls = RunState(check_run, has_quality_reports=False)
    ask_open_rows_by_calls(calls, Mode.LIVE)
    if calls.result.stop.error is not None:
        raise calls.result.stop.error
    elapsed_s = run.workspace.monotonic() - started_at_s
    measurements["live"] = f"{calls.result.answered_by_calls} answered after {elapsed_s:.0f} s"

    drive(state)
    errors = state.result.list_errors(check_run.task.nouns)
    if errors:
        raise errors[0]
    measurements["the batch"] = f"finished after {run.workspace.monotonic() - started_at_s:.0f} s"

    with check_run.workspace.store.read() as tx:
        counts = check_run.task.rows.count_all_rows_by_state(tx)
        spent_usd = money.sum_spending(tx).known_usd
        sent_batches = batches.list_batches_in_states(tx)
    remote_names = [batch.remote_name for batch in sent_batches]
    if counts.answered < counts.total:
        raise RemoteError(
            f"{counts.total - counts.answered} of {counts.total} rows got no valid answer",
            hint="run the same command again",
        )

    index_report = build.build_index(check_run.workspace, check_run.service, check_run.task)
    measurements["vectors"] = (
        f"{index_report.count}, each with {run.workspace.settings.dim} numbers"
    )
    for remote_name in filter(None, remote_names):
        # If this fails, the API deletes the batch later.
        with contextlib.suppress(RemoteError):
            check_run.client.delete_file_or_batch(remote_name)

    return {
        "backend": check_run.workspace.backend,
        "models": [check_run.model.name, check_run.service.embedding_model.name],
        "list_lag": list_lag_s,
        "cost": round(spent_usd, 6),
        "facts": measurements,
    }


def _wait_for_list_and_measure_lag(check_run: Run, batch_numbers: Iterable[int]) -> float | None:
    """Wait until the remote list has all new batches, and return how many seconds that took.

    Reads the list every `poll_first` seconds.

    Args:
        check_run: The run of this check, which has only invented rows.
        batch_numbers: Batches that were just sent. A batch without a remote name is ignored.

    Returns:
        0.0 if the first list has them, or None if no batch has a remote name.

    Raises:
        RemoteError: A batch is not in the list after MAX_LIST_LAG_S, or the list cannot be read.
    """
    started_at_s = check_run.workspace.monotonic()
    with check_run.workspace.store.read() as tx:
        sent_batches = [batches.get_batch(tx, number) for number in batch_numbers]
    remote_names = {batch.remote_name for batch in sent_batches} - {None}
    if not remote_names:
        return None

    list_lag_s = 0.0
    while not remote_names <= {batch.name for batch in check_run.client.list_batches()}:
        if check_run.workspace.monotonic() - started_at_s > MAX_LIST_LAG_S:
            raise RemoteError(
                f"a new batch is not listed after {MAX_LIST_LAG_S:.0f} s",
                hint="run the same command again later",
            )
        check_run.workspace.sleep(check_run.workspace.settings.poll_first)
        list_lag_s = check_run.workspace.monotonic() - started_at_s
    return list_lag_s
