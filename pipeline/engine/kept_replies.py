"""Judge live replies that came and could not be judged, for the fault of the task's file, before anything is asked.

So whichever way items are asked next, no answer that was paid for is asked for again.
"""

from typing import TYPE_CHECKING

from pipeline.core.states import CallEnd
from pipeline.engine.record import Asked, Source, judge_reply, write_judgements
from pipeline.gemini import responses, tokens
from pipeline.store import answers, claims, live_calls, versions

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.store.database import Connection


def judge_kept(ws: "OpenWorkspace") -> None:
    """Judge the replies that were kept of the extractor in use, and write what they say.

    Raises:
        ConfigurationError: the file is at fault still; those that were not judged are kept.
    """
    task = ws.task
    if task.fingerprint is None:
        return
    with ws.store.read() as tx:
        kept = live_calls.kept_replies(tx, task.name, ws.extractor, task.fingerprint)
    judged = 0
    for item_id, number in kept.items():
        with ws.store.write() as tx:
            judged += _judge(tx, ws, item_id, number)
    if judged:
        ws.display.say(f"{judged:,} live replies that had waited to be judged are judged now, and not asked for again")


def _judge(tx: "Connection", ws: "OpenWorkspace", item_id: str, number: int) -> bool:
    """Judge one kept reply, in the caller's transaction; return whether it could be, as its row stands now."""
    task = ws.task
    item = next(iter(task.items(tx, [item_id])), None)
    raw = live_calls.kept_reply(tx, number, input_hash=item.input_hash) if item is not None else None
    if item is None or raw is None or not _is_open(tx, task, item_id, model=ws.model.name):
        return False
    reply = responses.judge_response(raw)
    judgement = judge_reply(task, Asked(item.id, item.input_hash), reply, context=item.context)
    cost = tokens.usage_cost(ws.model, reply.usage, batch=False, on=ws.now().date())
    spent = (reply.usage.prompt, reply.usage.answer + reply.usage.thoughts)
    live_calls.end_call(tx, number, CallEnd(judgement.outcome.value), tokens=spent, cost=cost, at=ws.now())
    source = Source(None, ws.extractor, ws.model, task.fingerprint)
    write_judgements(tx, task, [judgement], source=source, at=ws.now())
    return True


def _is_open(tx: "Connection", task: "Task", item_id: str, *, model: str) -> bool:
    """Return whether an item may be answered: open, not parked, not asked elsewhere, its version not withdrawn."""
    version = versions.get_version(tx, task.name, task.label, model=model)
    is_free = not (answers.is_parked(tx, task.name, item_id) or claims.is_any_claimed(tx, task.name, [item_id]))
    return is_free and (version is None or version.withdrawn_at is None) and bool(task.pending_among(tx, [item_id]))
