"""What a clear refusal of a create means: the line that is named is charged, or the whole batch is given up.

Nothing was made at the API.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.core.errors import RefusedError
from pipeline.core.states import Outcome
from pipeline.engine.equals import park_equals
from pipeline.engine.record import Judgement, Source, write_judgements
from pipeline.gemini import responses
from pipeline.store import asks, batches
from pipeline.store.asks import Ask

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.gemini.models import Model
    from pipeline.store.batches import Batch
    from pipeline.store.database import Connection


MAX_REFUSALS = 2  # a request file that was refused so often is given up
AT_CREATE = "refused at create"  # how the reason of an item begins whose line was refused


def settle_refusal(
    tx: "Connection",
    batch: "Batch",
    error: RefusedError,
    *,
    task: "Task",
    model: "Model",
    asks_each: bool,
    at: datetime,
) -> str | RefusedError:
    """Charge the item on the line that the API named and end the batch, or end it at its second refusal as a whole.

    Returns what became of the item, where the rest can go into a new batch; else the error to raise.
    """
    submit = task.words.make("batch-submit")
    line = responses.line_at_fault(error.message)
    found = None if line is None else asks.claimed_at(tx, batch.number, line)
    if found is None:
        if batch.refusals >= MAX_REFUSALS:
            give_up_batch(tx, batch, why=f"refused {batch.refusals} times: {error.message}", at=at)
        return _whole_file(batch, error, submit=submit)
    said = error.message.partition(f"Error on line {line}")[2].lstrip(": ") or "it was not said why"
    why = f"line {line} was refused: {said}"
    source = Source(batch.number, batch.extractor, model, batch.fingerprint)
    charged = _charge(tx, task, found, source=source, said=said, asks_each=asks_each, at=at)
    rest = "; the rest goes into a new batch" if batch.requests > 1 else ""
    give_up_batch(tx, batch, why=why, at=at)
    return f"batch {batch.number}: {why}; {charged}{rest}"


def give_up_batch(tx: "Connection", batch: "Batch", *, why: str, at: datetime) -> int:
    """End a batch and let its items go, uncharged; return how many can be asked again."""
    batches.mark_failed(tx, batch, why=why, at=at)
    return asks.release_claims(tx, batch.number)


def _charge(
    tx: "Connection", task: "Task", found: Ask, *, source: Source, said: str, asks_each: bool, at: datetime
) -> str:
    judged = Judgement(found, Outcome.REFUSED, f"{AT_CREATE}: {said}")
    kept = write_judgements(tx, task, [judged], source=source, at=at)
    if not asks_each:
        park_equals(tx, task, [judged], kept, source=source, at=at)
    name = task.table(tx).names(tx, [found.item_id]).get(found.item_id, found.item_id)
    becomes = "is parked" if kept.parked else "is asked once more by a later run"
    return f"{name}, which stands there, {becomes}"


def _whole_file(batch: "Batch", error: RefusedError, *, submit: str) -> RefusedError:
    if batch.refusals >= MAX_REFUSALS:
        message = f"batch {batch.number} was refused {batch.refusals} times and given up, its claims released"
        hint = f"`{submit}` asks its items in a new batch; another FINDABLE_MODEL may help"
    else:
        message = f"batch {batch.number} was refused, and waits as prepared"
        hint = f"run `{submit}` again; a second refusal gives the batch up"
    return RefusedError(f"{message}: {error.message}", hint=hint, code=error.code, status=error.status)
