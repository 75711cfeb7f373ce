"""Meet the API once with five invented rows, by batch and live, the way that all rows go, and embed them.

They are a task of a workspace of their own, below the one in use, which goes when all is answered: where it is killed,
the next run goes on. How late a new batch was listed is kept in the workspace in use, which waits for twice as long.
"""

import contextlib
import shutil
from dataclasses import replace
from typing import Any

from pipeline.core.errors import RemoteError
from pipeline.core.states import Mode
from pipeline.engine.task_file import declaration_in, hand_over, place_in_python
from pipeline.engine.workspace import Access, WorkspaceSession, open_workspace
from pipeline.gemini.models import describe_cost
from pipeline.index import build
from pipeline.store import batches, money, workspace
from pipeline.workflows import preflight, rounds
from pipeline.workflows.rounds import TagRounds

NAME = "verify_gemini"
LONGEST_LAG_S = 300.0  # ours: so long a new batch is looked for in the list
ROWS = (
    "The kettle boils quickly and has not leaked in a year.",
    "Der Henkel brach am zweiten Tag, und niemand antwortete.",
    "Une lampe simple, solide, et agréable à l'œil.",
    "The manual is for another machine; two screws were missing.",
    "Warm, light, and it dries overnight. I bought a second one.",
)
TASK = """from typing import Literal
from pydantic import BaseModel
from findable import Task

class Verdict(BaseModel):
    verdict: Literal["praise", "blame"]

task = Task(name="verify_gemini", answer=Verdict, items=[], prompt="Praise or blame?\\n\\n{text}", index="{text}")
"""


def run(ws: WorkspaceSession) -> dict[str, Any]:
    """Ask about the rows, and return what was found for programs.

    Raises:
        InputError: it was not confirmed; nothing was sent.
        RemoteError: the key is refused, the API cannot be reached, or it does what findable cannot work with.
    """
    rows = [{"id": number, "text": text} for number, text in enumerate(ROWS, start=1)]
    place = hand_over(declaration_in(TASK.encode(), NAME, place_in_python(NAME)), rows)
    data = ws.data / NAME
    trusted = ws.settings.trust
    if ws.backend != "local":
        # The server is confirmed for the workspace in use, and so for the one below it.
        trusted = (*trusted, str(ws.settings.server).rstrip("/"))
    settings = replace(
        ws.settings,
        data=data,
        database_url=None,
        task=str(place),
        version=None,
        gates=None,
        trust=trusted,
    )
    with ws.lock(NAME):
        with open_workspace(settings, ws.display, access=Access.CREATE, agrees=ws.agrees) as beside:
            found = _met(ws, beside)
        shutil.rmtree(data)
    return found


def _met(ws: WorkspaceSession, beside: WorkspaceSession) -> dict[str, Any]:
    facts = dict[str, str]()
    began = ws.monotonic()
    rounds.begin(beside)
    going = TagRounds(beside, limit=len(ROWS) - 1, judges=False)
    cost = preflight.estimate(beside, limit=None, deadline_s=None).ways["live"].cost
    ws.display.say(
        f"{ws.model.name}: {len(ROWS)} invented rows, {describe_cost(ws.model, cost, tier=ws.settings.tier)}"
    )
    beside.spend(cost, nothing="nothing was sent", always=cost > 0)
    lag = _lag(beside, going.submit(patient=False).sent)
    if lag is not None:
        facts["a new batch in the list"] = f"after {lag:.1f} s" if lag else "at once"
        with ws.store.write() as tx:
            workspace.record_event(
                tx, workspace.LAG, NAME, old=None, new=f"{lag:.3f}", why="seen", at=ws.now()
            )
    live = TagRounds(beside, judges=False).ask_live(Mode.LIVE)
    if live.stopped is not None:
        raise live.stopped
    facts["live"] = f"{live.answered} answered, at {ws.monotonic() - began:.0f} s"
    going.advance(wait=True)
    for error in going.report.errors(beside.task.words):
        raise error
    facts["the batch"] = f"over at {ws.monotonic() - began:.0f} s"
    with beside.store.read() as tx:
        total, done, *_ = beside.task.table(tx).counts(tx).values()
        spent = money.sum_spent(tx).known
        names = [one.remote_name for one in batches.batches_in_states(tx)]
    if done < total:
        raise RemoteError(
            f"{total - done} of {total} rows got no valid answer", hint="run it again"
        )
    built = build.run(beside)
    facts["vectors"] = f"{built.count} of {ws.settings.dim} numbers"
    for name in filter(None, names):
        with contextlib.suppress(RemoteError):  # Gemini deletes it in two days
            beside.client.delete(name)
    models = [ws.model.name, ws.embedding_model.name]
    return {
        "backend": ws.backend,
        "models": models,
        "list_lag": lag,
        "cost": round(spent, 6),
        "facts": facts,
    }


def _lag(beside: WorkspaceSession, sent: dict[int, Any]) -> float | None:
    """Return after how many seconds a batch that was created now is listed; None where none was."""
    began = beside.monotonic()
    with beside.store.read() as tx:
        names = {batches.get_batch(tx, number).remote_name for number in sent} - {None}
    lag = 0.0
    while names and not names <= {one.name for one in beside.client.list_batches()}:
        if beside.monotonic() - began > LONGEST_LAG_S:
            raise RemoteError(
                f"a new batch is not listed after {LONGEST_LAG_S:.0f} s", hint="run it again later"
            )
        beside.sleep(beside.settings.poll_first)
        lag = beside.monotonic() - began
    return lag if names else None
