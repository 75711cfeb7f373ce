"""Draw the examples of a prompt from labelled rows: `Task(examples="corrections")`.

An example shows a whole answer, so a row is drawn only if all its fields are labelled. A field that
nobody looked at may have an error of the model, which an example would teach.

The examples of a version are drawn again until its first request. Then they stay, whatever is
corrected later. They are stored with the task's record, with the values that the prompt shows.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from pipeline.core.answer_fields import list_answer_fields
from pipeline.core.answer_types import make_answer_validator
from pipeline.core.column_placeholders import find_column
from pipeline.core.command_hint import CommandHint
from pipeline.core.declaration import Declaration, validate_answer
from pipeline.engine.user_task import make_user_task
from pipeline.store import claims, edits
from pipeline.store.database import Connection
from pipeline.store.task_record import TaskRecord
from pipeline.tables.cells import to_prompt_text

MAX_EXAMPLES = 8


class _Candidate(NamedTuple):
    """A labelled row that can be an example."""

    row_id: str
    # Values by column.
    row: Mapping[str, Any]
    # As it is stored.
    answer: Mapping[str, Any]


def with_drawn_examples(tx: Connection, record: TaskRecord, declaration: Declaration) -> TaskRecord:
    """Return a copy of a task's record with examples, drawn at random from labelled rows.

    Up to MAX_EXAMPLES rows are drawn, and none if there are no such rows. A person must have set or
    confirmed each field of a drawn row. The prompt version is the seed, so a repeated draw from the
    same rows gives the same examples. The record is returned unchanged if it has examples of its
    version and a row was asked under the version already, or if the declaration does not have
    `examples="corrections"`. Nothing is stored.
    """
    if not declaration.draws_examples:
        return record
    examples_by_version = record.members.drawn_examples
    version = record.prompt_version
    if version in examples_by_version and claims.is_version_used(tx, record.name, version):
        return record

    candidates = _read_labelled_candidates(tx, record, declaration)
    # Fields whose values are choices.
    closed_fields = [
        field.name for field in list_answer_fields(declaration.answer) if field.has_only_choices()
    ]
    drawn = _draw_spread(candidates, closed_fields, seed=version)
    examples = [
        [candidate.row_id, dict(candidate.row), dict(candidate.answer)] for candidate in drawn
    ]
    examples_by_version = {**examples_by_version, version: examples}
    return replace(record, members=replace(record.members, drawn_examples=examples_by_version))


def describe_missing_examples(record: TaskRecord, declaration: Declaration) -> list[str]:
    """Return a line if the prompt should have examples, but no row has labels of all fields."""
    drawn_examples = record.members.drawn_examples.get(record.prompt_version)
    if not declaration.draws_examples or drawn_examples:
        return []
    line = (
        f"{record.prompt_version} has no examples: no row has labels of all fields; review answers "
        f"on the page (`{CommandHint('web')}`), or set all fields by `correct`"
    )
    return [line]


def _read_labelled_candidates(
    tx: Connection,
    record: TaskRecord,
    declaration: Declaration,
) -> list[_Candidate]:
    """Return the rows whose labels form a valid answer with all fields, in any order.

    A candidate contains this answer and the row's texts for the prompt. Rows that changed since
    they were labelled are left out. If all labelled rows changed, all are candidates, because then
    the prompt has other columns now.
    """
    rows = make_user_task(record).rows
    field_names = declaration.answer.model_fields.keys()
    row_labels = {
        row_id: label
        for row_id, label in edits.read_labels(tx, record.name).items()
        if field_names <= label.values.keys()
    }
    labelled_rows = rows.read(tx, list(row_labels))
    unchanged_ids = {
        row_id
        for row_id, row in labelled_rows.items()
        if rows.input_hash(row) == row_labels[row_id].input_hash
    }

    candidates = []
    for row_id in unchanged_ids or labelled_rows:
        row = labelled_rows[row_id]
        answer = {name: row_labels[row_id].values[name] for name in field_names}
        valid_answer, _ = validate_answer(
            make_answer_validator(declaration.answer).validate_python, answer
        )
        if valid_answer is not None:
            values = {
                name: to_prompt_text(row.get(find_column(name, row) or name))
                for name in declaration.prompt_columns
            }
            candidates.append(_Candidate(row_id, values, answer))
    return candidates


def _draw_spread(
    candidates: Sequence[_Candidate],
    closed_fields: Sequence[str],
    *,
    seed: str,
) -> list[_Candidate]:
    """Draw up to MAX_EXAMPLES candidates, so that the values of closed fields differ.

    Candidates with equal values in the closed fields are a group, and the groups take turns.
    Without closed fields there is a single group. The order is random by the seed; an equal seed
    draws the same rows.
    """

    def hash_row(candidate: _Candidate) -> bytes:
        key = f"{seed}:{candidate.row_id}".encode("utf-8", "replace")
        return hashlib.blake2b(key, digest_size=8).digest()

    groups: dict[str, list[_Candidate]] = {}
    for candidate in sorted(candidates, key=hash_row):
        values = [candidate.answer.get(name) for name in closed_fields]
        groups.setdefault(json.dumps(values), []).append(candidate)
    turns = chain.from_iterable(zip_longest(*groups.values()))
    return [candidate for candidate in turns if candidate is not None][:MAX_EXAMPLES]
