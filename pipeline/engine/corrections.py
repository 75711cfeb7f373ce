"""Correct an answer by hand, field by field: a person's word, before every model's.

It is kept as an answer of the extractor `person`, whole and valid as a model's must be, and no ingest, rollback or
other version touches it. Every edit stays, with who and when, and is undone by its number: that takes back what it
changed and leaves what was changed since. Where all are undone, what models said counts again.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import first_accepted_value, validate_answer
from pipeline.core.errors import ChangedMeanwhileError, FindableError, InputError
from pipeline.core.text import MAX_CLEANED_CHARS, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.store import claims, edits, workspace
from pipeline.store.database import Connection
from pipeline.store.edits import AnswerEdit

STATE = 16  # hex digits of the hash of a state
NOTHING = "nothing was changed"

Document = dict[str, Any]


def history(ws: WorkspaceSession, name: str) -> Document:
    """Return the answer to the item of that name that counts, and every edit by hand.

    Its keys: `item` (id), `answer` (by field, empty where there is none), `state` (from which it can be edited) and
    `edits`, oldest first, each with `number`, `who`, `at`, `before`, `after`, `undoes`, and `changes`: of each field
    (before, after). InputError where there is no such item.
    """
    with ws.store.read() as tx:
        return _told(tx, ws.task, ws.task.id_of(tx, name))


def correct(
    ws: WorkspaceSession,
    name: str,
    change: Mapping[str, Any] | int,
    *,
    who: str,
    of_state: str | None = None,
) -> Document:
    """Put a person's values of some fields into the answer to the item of that name, or undo the edit of a number.

    That is an edit, too. Return what `history` tells, afterwards; `edit` is its number, None where nothing was to be
    changed. `of_state` is the state that the editor was shown. ChangedMeanwhileError where the answer is not in that
    state any more.
    """
    with ws.store.write() as tx:
        task = ws.task
        item_id = ws.task.id_of(tx, name)
        if claims.parked_reason(tx, task.name, item_id) == claims.BEING_FORGOTTEN:
            raise InputError(f"{item_id!r} is being forgotten; {NOTHING}")
        now = _told(tx, task, item_id)
        row_edits = edits.list_edits(tx, task.name, item_id)
        if of_state not in {None, now["state"]}:
            last = "".join(f", last by {one.who!r} (edit {one.number})" for one in row_edits[-1:])
            raise ChangedMeanwhileError(
                f"the answer was changed meanwhile{last}; {NOTHING}",
                hint="look at what is there now, and say again what is to be changed",
                now=now,
            )
        if not isinstance(change, int):
            for field in change.keys() - task.answer.model_fields.keys():
                raise _no_field(task, field)
            said = {**now["answer"], **change}
            undoes = None
        elif 1 <= change <= len(row_edits):
            said = _without(now["answer"], row_edits[change - 1])
            undoes = change
        else:
            there = f"{len(row_edits)} were made, and count from 1"
            raise InputError(f"there is no edit {change} of {item_id!r}; {NOTHING}", hint=there)
        if (row := task.rows(tx, [item_id]).get(item_id)) is None:
            raise InputError(f"the row of {item_id!r} is not there any more; {NOTHING}")
        made = AnswerEdit(len(row_edits) + 1, name_of(who), ws.now(), now["answer"], said, undoes)
        if stands := _in_force([*row_edits, made]):
            made = made._replace(after=_valid(task, item_id, said, row))
        if made.after == made.before:  # nothing is to be changed
            return {**now, "edit": None}
        edits.add_edit(
            tx, task.name, item_id, made, input_hash=task.input_hash(row), is_applied=stands
        )
        task.show_corrected(tx, item_id, made, stands=stands)
        claims.unpark(tx, task.name, prompt_version=task.own, ids=[item_id])
        workspace.record_row_change(tx, task.name)
        return {**_told(tx, task, item_id), "edit": made.number}


def typed(task: Task, text: str) -> Document:
    """Return the fields of `tone=praise; topics=price, delivery; stars=4` with their values.

    A value that begins with a quotation mark or a bracket is JSON; else a number, true, false or null is one where the
    field takes it, a list has commas, and nothing is null, or the empty text or list.
    """
    found = Document()
    rest = text.strip()
    while rest:
        name, is_set, rest = (part.strip() for part in rest.partition("="))
        if not is_set:
            like = OptionHint(set="tone=praise; stars=4")
            said = f"write it like {like}; a text with ; in it stands between quotation marks"
            raise InputError(f"{name[:MAX_CLEANED_CHARS]!r} sets no field; {NOTHING}", hint=said)
        if name not in task.answer.model_fields:
            raise _no_field(task, name)
        if rest[:1] in tuple('"[{'):
            try:
                found[name], end = json.JSONDecoder().raw_decode(rest)
            except ValueError as error:
                raise InputError(
                    f"{name}= is no JSON: {error}; {NOTHING}", hint="leave out its first mark"
                ) from error
            behind, _, rest = (part.strip() for part in rest[end:].partition(";"))
            if behind:
                said = f"{name}= has {behind[:MAX_CLEANED_CHARS]!r} behind its JSON; {NOTHING}"
                raise InputError(said, hint="separate them by ;")
            continue
        value, _, rest = (part.strip() for part in rest.partition(";"))
        readings: list[Any] = [value, [one for part in value.split(",") if (one := part.strip())]]
        with contextlib.suppress(ValueError):
            readings.insert(1, json.loads(value or "null"))
        found[name] = first_accepted_value(task.answer, name, readings)
    return found


def _told(tx: Connection, task: Task, item_id: str) -> Document:
    answer = task.standing(tx, item_id)
    row_edits = edits.list_edits(tx, task.name, item_id)
    state = hashlib.sha256(json.dumps([item_id, len(row_edits), answer]).encode()).hexdigest()[
        :STATE
    ]
    shown = [{**one._asdict(), "changes": _changes(one)} for one in row_edits]
    return {"item": item_id, "answer": answer, "state": state, "edits": shown}


def _valid(task: Task, item_id: str, answer: Document, row: Mapping[str, Any]) -> Document:
    said = {
        name: value
        for name, value in task.as_given(answer).items()
        if name in task.answer.model_fields
    }
    try:
        read = partial(task.answer.model_validate_json, by_alias=True, by_name=True)
        found, why = validate_answer(read, json.dumps(said))
        if found is not None:
            found, left_out_values = task.bounded(found)
            excess = f"it has {plural(left_out_values, 'value')} too many"
            found, why = (
                (None, excess) if left_out_values else task.judged(found, row, input_hash="")
            )
    except FindableError:
        raise
    except (Exception, SystemExit) as error:
        if (fault := task.fault_of(error, item_id)) is not None:
            raise fault from error
        raise
    if found is None:
        raise InputError(f"that is no valid answer about {item_id!r}: {why}; {NOTHING}")
    document: Document = found.model_dump(mode="json")
    return document


def name_of(name: str) -> str:
    """Return the name of who edits, with single blanks; InputError where it is none."""
    who = " ".join(name.split())
    if not who or len(who) > MAX_CLEANED_CHARS or not who.isprintable():
        raise InputError(
            f"{name[:MAX_CLEANED_CHARS]!r} is no name of who edits; {NOTHING}",
            hint=f"give it by {OptionHint('who')}",
        )
    return who


def _no_field(task: Task, name: str) -> InputError:
    there = list(task.answer.model_fields)
    near = get_close_matches(name, there, n=1)
    return InputError(
        f"the answer has no field {name[:MAX_CLEANED_CHARS]!r}; {NOTHING}",
        hint=f"did you mean {near[0]!r}?" if near else f"it has {', '.join(there)}",
    )


def _changes(edit: AnswerEdit) -> dict[str, tuple[Any, Any]]:
    both = {
        name: (edit.before.get(name), edit.after.get(name)) for name in (*edit.before, *edit.after)
    }
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def _without(answer: Document, edit: AnswerEdit) -> Document:
    """Return an answer without what an edit changed; what was changed since stays, but for texts of a list."""
    found = dict(answer)
    for name, (before, after) in _changes(edit).items():
        now = found.get(name)
        if found.get(name) == after:
            found[name] = before
        elif isinstance(before, list) and isinstance(after, list) and isinstance(now, list):
            found[name] = kept = [one for one in now if one not in after or one in before]
            for place, one in enumerate(before):  # what was removed goes to its place
                if one not in after and one not in kept:
                    kept.insert(place, one)
    return {
        name: value for name, value in found.items() if value is not None or name in edit.before
    }


def _in_force(edits: list[AnswerEdit]) -> bool:
    """Return whether any edit is left that was not undone; to undo an undoing is to do it again."""
    left = dict[int, bool]()
    for one in edits:
        target = one
        is_done = True
        while target.undoes is not None:
            target = edits[target.undoes - 1]
            is_done = not is_done
        left[target.number] = is_done
    return any(left.values())
