"""What a clear refusal of a create means: the line that is named is charged, or the whole batch is given up.

Nothing was made at the API. Batches that are refused alike in a row show that the question is wrong, and no item.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.core.errors import RefusedError
from pipeline.core.states import BatchState, Outcome
from pipeline.engine.record import Judgement, Source, write_judgements
from pipeline.gemini import responses
from pipeline.store import answers, batches, claims

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.gemini.models import Model
    from pipeline.store.batches import Batch
    from pipeline.store.database import Connection


MAX_REFUSALS = 2  # a request file that was refused so often is given up
MAX_ALIKE = 3  # batches in a row that are refused alike for the same line: the question is at fault, and no item of it
AT_CREATE = "refused at create"  # how the reason of an item begins whose line was refused


def settle_refusal(
    tx: "Connection", batch: "Batch", error: RefusedError, *, task: "Task", model: "Model", at: datetime
) -> str | RefusedError:
    """Charge the item on the line that the API named and end the batch, or end it at its second refusal as a whole.

    Returns what became of the item, where the rest can go into a new batch; else the error to raise.
    """
    submit = task.words.make("batch-submit")
    line = responses.line_at_fault(error.message)
    found = [] if line is None else claims.requests_at(tx, batch.number, line)
    if not found:
        if batch.refusals >= MAX_REFUSALS:
            give_up_batch(tx, batch, why=f"refused {batch.refusals} times: {error.message}", at=at)
        return _whole_file(batch, error, submit=submit)
    said = error.message.partition(f"Error on line {line}")[2].lstrip(": ") or "it was not said why"
    why = f"line {line} was refused: {said}"
    if _is_alike(tx, batch, found[0], why):
        result: str | RefusedError = _wrong_question(batch, error, why=why, submit=submit)
    else:
        source = Source(batch.number, batch.extractor, model, batch.fingerprint)
        charged = _charge(tx, task, found, source=source, said=said, at=at)
        rest = "; the rest goes into a new batch" if batch.requests > 1 else ""
        result = f"batch {batch.number}: {why}; {charged}{rest}"
    give_up_batch(tx, batch, why=why, at=at)
    return result


def give_up_batch(tx: "Connection", batch: "Batch", *, why: str, at: datetime) -> int:
    """End a batch and let its items go, uncharged; return how many can be asked again."""
    batches.mark_failed(tx, batch, why=why, at=at)
    return len(claims.release_claims(tx, batch.number, reason=why))


def _is_alike(tx: "Connection", batch: "Batch", found: claims.Request, why: str) -> bool:
    """Return whether the batches sent before were refused as this one, in a row and but for figures in the reason.

    Not for an item that was refused once and others were taken since: that one is at fault.
    """
    sent = [
        one
        for one in batches.batches_in_states(tx, *BatchState, task=batch.task)
        if one.create_sent_at is not None and one.state is not BatchState.PREPARED and one.extractor == batch.extractor
    ]
    taken = max((one.number for one in sent if one.remote_name), default=0)
    _, failed = answers.of_item(tx, batch.task, found.item_id)
    if any(one["reason"].startswith(AT_CREATE) and one["batch"] < taken for one in failed):
        return False
    last = sorted(sent, key=lambda one: (one.create_sent_at, one.number))[1 - MAX_ALIKE :]
    return [_plain(one.reason or "") for one in last] == [_plain(why)] * (MAX_ALIKE - 1)


def _plain(why: str) -> tuple[str, str]:
    """Return a reason as its line and what was said of it, without figures: columns differ from item to item."""
    line, _, said = why.partition(": ")
    return line, re.sub(r"\d+", "", said)


def _charge(
    tx: "Connection", task: "Task", found: Sequence[claims.Request], *, source: Source, said: str, at: datetime
) -> str:
    """Charge the items on a line that was refused; return the name of the first and what becomes of it."""
    reason, first = f"{AT_CREATE}: {said}", found[0].item_id
    judged = [Judgement(one, Outcome.REFUSED, reason) for one in found]
    write_judgements(tx, task, judged, source=source, at=at)
    claims.record_outcomes(tx, [(one, Outcome.REFUSED, reason) for one in found])
    name = task.names(tx, [first]).get(first, first)
    becomes = "is parked" if answers.is_parked(tx, task.name, first) else "is asked once more by a later run"
    others = f" (with {len(found) - 1:,} that ask the same)" if len(found) > 1 else ""
    return f"{name}, which stands there{others}, {becomes}"


def _wrong_question(batch: "Batch", error: RefusedError, *, why: str, submit: str) -> RefusedError:
    """Return the error for batches that were refused alike: it is not for what they ask about."""
    return RefusedError(
        f"batch {batch.number} was refused as the {MAX_ALIKE - 1} before it ({why}), so the question itself is "
        "wrong; it was given up, uncharged",
        hint=f"another FINDABLE_MODEL may help; `{submit}` asks again",
        code=error.code,
        status=error.status,
    )


def _whole_file(batch: "Batch", error: RefusedError, *, submit: str) -> RefusedError:
    """Return the error for a request file that was refused as a whole."""
    if batch.refusals >= MAX_REFUSALS:
        message = f"batch {batch.number} was refused {batch.refusals} times and given up, its claims released"
        hint = f"`{submit}` asks its items in a new batch; another FINDABLE_MODEL may help"
    else:
        message = f"batch {batch.number} was refused, and waits as prepared"
        hint = f"run `{submit}` again; a second refusal gives the batch up"
    return RefusedError(f"{message}: {error.message}", hint=hint, code=error.code, status=error.status)
