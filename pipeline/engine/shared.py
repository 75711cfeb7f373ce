"""Answer an item from the answer to another one that asks the same, where that stands in the record; it costs nothing.

An answer that is not valid for the item, or cannot be read back as it was given, is not taken: then the item is asked.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.states import Outcome
from pipeline.engine.questions import PlannedRequest
from pipeline.engine.record import Asked, Judgement, Source, write_judgements
from pipeline.gemini.responses import Response, read_back
from pipeline.store import answers, claims

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.core.task import Task
    from pipeline.store.answers import GivenAnswer
    from pipeline.store.claims import Equal
    from pipeline.store.database import Connection


class Known(NamedTuple):
    """What asks the same as a request about to be made: `equal` is an open one, `given` what an answered one gives."""

    equal: "Equal | None" = None
    given: Judgement | None = None


UNKNOWN = Known()


class _Kept(NamedTuple):
    answer: "BaseModel"
    stored: "GivenAnswer"


def look_up(tx: "Connection", task: "Task", extractor: str, lines: Sequence[PlannedRequest]) -> dict[str, Known]:
    """Return what was asked already and is the same as requests of an extractor, by item; the others are not there.

    Raises:
        ConfigurationError: the task's file fails to judge an answer.
    """
    known = claims.find_equals(tx, [one.question for one in lines if one.question is not None])
    if not known:
        return {}
    stored = _stored_answers(tx, task, extractor, [one for one in known.values() if not one.is_open])
    found = {}
    for line in lines:
        equal = known.get(line.question or "")
        if equal is None:
            continue
        if equal.is_open:
            found[line.item.id] = Known(equal)
        elif (kept := stored.get((equal.item_id, equal.input_hash))) and (given := _given(task, line, equal, kept)):
            found[line.item.id] = Known(given=given)
    return found


def write_given(tx: "Connection", task: "Task", judged: Sequence[Judgement], *, source: Source, at: datetime) -> int:
    """Write what earlier answers are for items that can still be asked; return how many rows took theirs."""
    free = set(claims.askable_among(tx, task, [one.asked.item_id for one in judged]))
    ready = [one for one in judged if one.asked.item_id in free]
    written = write_judgements(tx, task, ready, source=source, at=at)
    return len(ready) - len(written.blocked)


def _stored_answers(
    tx: "Connection", task: "Task", extractor: str, closed: Sequence["Equal"]
) -> Mapping[tuple[str, str], _Kept]:
    """Return the answers to closed requests, by item and hash of its input, that can be read back as they were."""
    ids = [one.item_id for one in closed]
    if not ids:
        return {}
    written = task.hooks.written_answers(tx, extractor, ids)
    found = {}
    for key, stored in answers.given_answers(tx, task.name, extractor, task.fingerprint, ids).items():
        answer = written.get(key[0]) or read_back(stored.answer, task.hooks.kept_model(task.rows.answer))
        if answer is not None and task.hooks.stored_json(answer, applied=stored.applied) == stored.answer:
            found[key] = _Kept(answer, stored)
    return found


def _given(task: "Task", line: PlannedRequest, equal: "Equal", kept: _Kept) -> Judgement | None:
    """Return what an answer to the same question is for an item, None where it is not valid for it.

    Its own is one that its row did not take, and says something: what it took, or an empty answer, is asked for anew.
    """
    item, stored = line.item, kept.stored
    if equal.item_id == item.id and (stored.applied or not any(kept.answer.model_dump().values())):
        return None
    valid, _ = task.rows.judged(kept.answer, item.context, input_hash=item.input_hash)
    if valid is None:
        return None
    reply = Response(Outcome.ANSWERED, "ok", model_version=stored.model_version, response_id=stored.response_id)
    asked = Asked(item.id, item.input_hash, equal.id)
    return Judgement(asked, Outcome.ANSWERED, "ok", answer=valid, reply=reply)
