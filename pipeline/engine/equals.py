"""Rows that ask the same are asked once: the others are told what the one was, each judged by its own row, at no cost.

Rows of one input hash ask the same under a version. An answer that is not valid for another row is charged to that row
alone where it comes in, and later is not taken: then the row is asked itself.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.states import Outcome
from pipeline.engine.record import Judgement, Kept, Source, judge_reply, write_judgements
from pipeline.gemini.responses import Response, read_back
from pipeline.store import answers, asks
from pipeline.store.asks import Ask

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.engine.questions import PlannedRequest
    from pipeline.engine.task import Task
    from pipeline.store.answers import GivenAnswer
    from pipeline.store.database import Connection


Equals = Mapping[str, Sequence[str]]  # the ids of open rows, by the hash of their input


class Known(NamedTuple):
    """What was asked already, of some requests, by item: those that ask what is asked now, and what others are told."""

    waiting: frozenset[str] = frozenset()
    given: Mapping[str, Judgement] = {}


def look_up(tx: "Connection", task: "Task", extractor: str, lines: Sequence["PlannedRequest"]) -> Known:
    """Return what is known of requests about to be made under a version.

    Raises:
        ConfigurationError: the task's file fails to judge an answer.
    """
    found = asks.equal_asks(tx, task.name, extractor, [one.item.input_hash for one in lines])
    ended = {one.item.id: one.item.id for one in lines}  # an item's own answer may stand in no row
    ended |= {one.item.id: found[one.item.input_hash][1] for one in lines if one.item.input_hash in found}
    stored = _stored_answers(tx, task, extractor, list(dict.fromkeys([*ended, *ended.values()])))
    given = {}
    waiting = {one.item.id for one in lines if found.get(one.item.input_hash, ("", ""))[0] == asks.CLAIMED}
    for line in (one for one in lines if one.item.id not in waiting and stored):
        for who in dict.fromkeys((ended[line.item.id], line.item.id)):
            kept = stored.get((who, line.item.input_hash))
            if kept is not None and (judgement := _given(task, line, who, kept)) is not None:
                given[line.item.id] = judgement
                break
    return Known(frozenset(waiting), given)


def write_given(tx: "Connection", task: "Task", judged: Sequence[Judgement], *, source: Source, at: datetime) -> int:
    """Write what earlier answers are for items that can still be asked; return how many rows took theirs."""
    free = set(asks.askable_among(tx, task, [one.asked.item_id for one in judged]))
    ready = [one for one in judged if one.asked.item_id in free]
    kept = write_judgements(tx, task, ready, source=source, at=at)
    return len(ready) - len(kept.written.blocked)


def tell_equals(
    tx: "Connection",
    task: "Task",
    judged: Sequence[Judgement],
    kept: Kept,
    equals: Equals,
    *,
    source: Source,
    at: datetime,
) -> set[str]:
    """Tell open rows what the rows that ask the same were answered, or park them with these; return which ones.

    In the transaction in which `judged` were written.
    """
    ended = [one for one in judged if one.asked.input_hash in equals]
    ended = [one for one in ended if one.answer is not None or one.asked.item_id in kept.parked]
    free = set(asks.askable_among(tx, task, [key for one in ended for key in equals[one.asked.input_hash]]))
    rows = task.items(task.rows(tx, list(free)))
    same = {item.id: item for item in rows}
    told, parked = list[Judgement](), dict[Ask, str]()
    for one in ended:
        for key in equals[one.asked.input_hash]:
            item = same.get(key)
            if item is None or item.input_hash != one.asked.input_hash:
                continue
            del same[key]
            ask = Ask(key, item.input_hash, is_given=True)
            if one.answer is not None and one.reply is not None:
                told.append(judge_reply(task, ask, one.reply, context=item.context))
            elif one.answer is None:
                parked[ask] = kept.parked[one.asked.item_id]
    write_judgements(tx, task, told, source=source, at=at)
    asks.add_ended(tx, task.name, source.extractor, asks.Ends((), parked, ()), at=at)
    return {one.asked.item_id for one in told} | {one.item_id for one in parked}


def park_equals(
    tx: "Connection", task: "Task", judged: Sequence[Judgement], kept: Kept, *, source: Source, at: datetime
) -> None:
    """Park the open rows that ask the same as rows that were parked just now."""
    if kept.parked:
        equals = task.equals(tx, [one.asked.input_hash for one in judged if one.asked.item_id in kept.parked])
        tell_equals(tx, task, judged, kept, equals, source=source, at=at)


class _Kept(NamedTuple):
    answer: "BaseModel"
    stored: "GivenAnswer"


def _stored_answers(
    tx: "Connection", task: "Task", extractor: str, ids: Sequence[str]
) -> Mapping[tuple[str, str], _Kept]:
    """Return the answers of items, by item and hash of its input, that can be read back as they were."""
    kept = answers.given_answers(tx, task.name, extractor, task.fingerprint, ids)
    if not kept:
        return {}
    read = {key: (read_back(stored.answer, task.kept_model), stored) for key, stored in kept.items()}
    return {key: _Kept(answer, stored) for key, (answer, stored) in read.items() if answer is not None}


def _given(task: "Task", line: "PlannedRequest", who: str, kept: _Kept) -> Judgement | None:
    """Return what an answer to the same question is for an item, None where it is not valid for it.

    Its own is one that its row did not take, and says something: what it took, or an empty answer, is asked for anew.
    """
    item, stored = line.item, kept.stored
    if who == item.id and (stored.applied or not any(kept.answer.model_dump().values())):
        return None
    valid, _ = task.judged(kept.answer, item.context, input_hash=item.input_hash)
    if valid is None:
        return None
    reply = Response(Outcome.ANSWERED, "ok", model_version=stored.model_version, response_id=stored.response_id)
    asked = Ask(item.id, item.input_hash, is_given=True)
    return Judgement(asked, Outcome.ANSWERED, "ok", answer=valid, reply=reply)
