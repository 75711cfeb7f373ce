"""The single write path of an answer, whichever way it came: a batch or a live call.

A judgement says what became of one request. `write_judgements` puts them into the database through the task, in the
caller's transaction: answers with their provenance, attempts with their reasons, and items that are not asked again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import ConfigurationError, RefusedRowError
from pipeline.core.states import CallEnd, Outcome
from pipeline.core.task import Answered, Task, WriteResult
from pipeline.gemini import models, responses, tokens
from pipeline.gemini.models import Model
from pipeline.store import answers, claims, live_calls, versions, workspace
from pipeline.store.batches import Batch
from pipeline.store.claims import Request

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.store.database import Connection


# What a person reads where an item is parked for good, by google.rpc code
FINAL = "Gemini refused it for a reason that cannot get better"
SPENT = "it failed {n} times"
SERVICE = "{n} batches in a row gave nothing"
SILENT = "{n} calls got no reply, and each may have been paid for"


class Asked(NamedTuple):
    """One item that was asked: its id and the hash of the input it was asked with.

    `shares` is the request of another item that asked the same for it; then that one is paid for.
    """

    item_id: str
    input_hash: str
    shares: int | None = None


AnyAsked = Asked | Request


class Judgement(NamedTuple):
    """What became of one request.

    `charged` is false where the service failed and not the item; `forgiven` is true where it is held against neither,
    because a person wanted it so.
    """

    asked: AnyAsked
    outcome: Outcome
    reason: str
    answer: "BaseModel | None" = None
    reply: responses.Response | None = None
    charged: bool = True
    forgiven: bool = False


@dataclass(frozen=True)
class Source:
    """Where judgements come from: a batch's number (None when live), the extractor, the model that was asked.

    `fingerprint` is of the declaration that was asked with, None where the task is built in.
    """

    batch: int | None
    extractor: str
    model: Model
    fingerprint: str | None = None

    def prices(self, at: datetime) -> tuple[float, float]:
        """Return what a million tokens cost on a day, in and out."""
        return self.model.prices(batch=self.batch is not None, on=at.date())


def source_of(batch: Batch, *, models_file: Path | None) -> Source:
    """Return a batch as the source of judgements.

    Raises:
        ConfigurationError: the table of models does not hold the model any more that the batch was sent to.
    """
    model = models.load_models(models_file).get(batch.model)
    if model is None:
        raise ConfigurationError(
            f"batch {batch.number} was sent to {batch.model}, which is not in the table of models any more; "
            "nothing was changed",
            hint="describe it in the file of FINDABLE_MODELS_FILE",
        )
    return Source(batch.number, batch.extractor, model, batch.fingerprint)


@dataclass(frozen=True)
class MissingLine:
    """What it means that a result has no line for a request: the reason, and whose fault it is (see `Judgement`)."""

    reason: str
    charged: bool
    forgiven: bool = False


def judge_lines(
    task: Task, asked: AnyAsked, lines: Iterable[bytes], *, missing: MissingLine, context: Any = None
) -> Judgement:
    """Judge the result lines of one key, in file order: the first valid answer wins, else the first failure counts.

    `context` is what the task's `contexts` gave for the item.
    """
    first: Judgement | None = None
    for line in lines:
        found = judge_reply(task, asked, responses.judge_line(line), context=context)
        if found.outcome is Outcome.ANSWERED:
            return found
        first = first or found
    return first or Judgement(
        asked, Outcome.MISSING, missing.reason, charged=missing.charged, forgiven=missing.forgiven
    )


def judge_reply(task: Task, asked: AnyAsked, reply: responses.Response, *, context: Any = None) -> Judgement:
    """Judge one reply: refused and invalid ones keep their reason, the rest must validate as the task's answer.

    Raises:
        ConfigurationError: the user's own code, that of a validator or `check`, failed on it.
    """
    if reply.outcome is not Outcome.ANSWERED:
        return Judgement(asked, reply.outcome, reply.reason, reply=reply)
    try:
        answer, reason = responses.parse_answer(reply, task.rows.answer)
    except (Exception, SystemExit) as error:
        task.hooks.blame(error, asked.item_id)
        raise
    if answer is not None:
        answer, why = task.rows.judged(answer, context, input_hash=asked.input_hash)
        reason = reason if answer is not None else why
    outcome = Outcome.INVALID if answer is None else Outcome.ANSWERED
    return Judgement(asked, outcome, reason, answer, reply)


def write_judgements(
    tx: "Connection", task: Task, judgements: Sequence[Judgement], *, source: Source, at: datetime
) -> WriteResult:
    """Write judgements, in the caller's transaction; return what the task applied."""
    good = [(one, one.answer) for one in judgements if one.answer is not None]
    bad = [one for one in judgements if one.answer is None]
    told = [Answered(one.asked.item_id, answer, one.asked.input_hash) for one, answer in good]
    written = _written(tx, task, told, source=source, at=at) if told else WriteResult()
    if written.applied:
        workspace.touch_revision(tx, task.name)
    prices = source.prices(at)
    whose = {"task": task.name, "batch": source.batch, "at": at}
    of_source = {**whose, "extractor": source.extractor, "fingerprint": source.fingerprint}
    rows = (_answer_row(task, one, answer, written, prices=prices) for one, answer in good)
    answers.add_answers(tx, [of_source | one for one in rows])
    answers.add_attempts(tx, [whose | _attempt_row(one, prices) for one in bad])
    answers.park(tx, task.name, written.blocked, at=at)
    parked = _park(tx, task, bad, live=source.batch is None, at=at)
    tagged = {one.item_id for one in told} - written.blocked.keys()
    answers.end_retries(tx, task.name, {"tagged": tagged, "parked": parked | written.blocked.keys()}, at=at)
    return written


def _written(tx: "Connection", task: Task, told: Sequence[Answered], *, source: Source, at: datetime) -> WriteResult:
    """Write answers; those whose rows the database refuses are found by halves, and blocked with what it says."""
    try:
        with tx.begin_nested():
            return task.rows.write(tx, told, extractor=source.extractor, at=at)
    except RefusedRowError as error:
        if len(told) == 1:
            return WriteResult(blocked={told[0].item_id: error.reason})
    middle = len(told) // 2
    one, other = (_written(tx, task, some, source=source, at=at) for some in (told[:middle], told[middle:]))
    return one | other


def _park(tx: "Connection", task: Task, failed: Sequence[Judgement], *, live: bool, at: datetime) -> set[str]:
    """Park what failed for good: a final code, too many charged attempts, or too many batches or calls gave nothing."""
    ids = [one.asked.item_id for one in failed]
    if not ids:
        return set()
    spent = answers.count_charged(tx, task.name, ids)
    unserved = answers.service_failures(
        tx, task.name, [one.asked.item_id for one in failed if not one.charged], live=live
    )
    most, unserved_by = (answers.MAX_LOST_CALLS, SILENT) if live else (answers.MAX_SERVICE_FAILURES, SERVICE)
    reasons = {}
    for one in failed:
        key = one.asked.item_id
        if one.charged and one.reply is not None and responses.is_final(one.reply.code):
            reasons[key] = f"{FINAL}: {_said(one)}"
        elif one.charged and spent.get(key, 0) >= answers.MAX_ATTEMPTS:
            reasons[key] = f"{SPENT.format(n=spent[key])}; last: {_said(one)}"
        elif unserved.get(key, 0) >= most:
            reasons[key] = f"{unserved_by.format(n=unserved[key])}; last: {_said(one)}"
    answers.park(tx, task.name, reasons, at=at)
    return set(reasons)


def _said(judgement: Judgement) -> str:
    """Return the reason of a failure with what the API said of it: its error's code and text, or its finish word."""
    reply = judgement.reply
    if reply is not None and reply.code is not None:
        return f"error {reply.code}: {reply.excerpt}"
    return f"{judgement.reason} ({reply.finish})" if reply is not None and reply.finish else judgement.reason


def _usage(one: Judgement) -> tokens.Usage:
    return one.reply.usage if one.reply and one.asked.shares is None else tokens.NO_USAGE


def _answer_row(
    task: Task, one: Judgement, answer: "BaseModel", written: WriteResult, *, prices: tuple[float, float]
) -> dict[str, Any]:
    asked, reply, usage = one.asked, one.reply, _usage(one)
    is_applied = asked.item_id in written.applied
    return {
        "item_id": asked.item_id,
        "input_hash": asked.input_hash,
        "answer": task.hooks.stored_json(answer, applied=is_applied),
        "applied": is_applied,
        "outdated": asked.item_id in written.outdated,
        "model_version": reply.model_version if reply else "",
        "response_id": reply.response_id if reply else "",
        "tokens_in": usage.prompt,
        "tokens_out": usage.answer + usage.thoughts,
        "cost": tokens.cost_at(prices, usage),
        "shares": asked.shares,
    }


def _attempt_row(one: Judgement, prices: tuple[float, float]) -> dict[str, Any]:
    usage = _usage(one)
    return {
        "tokens_in": usage.prompt,
        "tokens_out": usage.answer + usage.thoughts,
        "cost": tokens.cost_at(prices, usage),
        "shares": one.asked.shares,
        "item_id": one.asked.item_id,
        "charged": one.charged,
        "forgiven": one.forgiven,
        "outcome": one.outcome.value,
        "reason": one.reason,
        "code": one.reply.code if one.reply else None,
        "excerpt": one.reply.excerpt if one.reply else None,
    }


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
