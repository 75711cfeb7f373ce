"""Passages into the table: new ones are added, others are brought up to date where nothing was built on them.

A passage with concepts keeps its text, because their quotations are slices of it; a file that brings another text for
it is told so. A passage that is being asked about takes a new text: the answer will be of another input, and is not
applied. A parked one with another text goes again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.errors import InputError
from pipeline.passages import table
from pipeline.passages.read import Passage
from pipeline.passages.schema import Shape
from pipeline.passages.table import PassageRow
from pipeline.store import answers, claims, tables
from pipeline.tables.cells import loaded, words
from pipeline.tables.duplicates import Seen
from pipeline.tables.findings import Finding, excerpt, rejected

if TYPE_CHECKING:
    from pipeline.store.database import Connection

ANSWERED = "has concepts, and another text here; the one that is stored stays"


@dataclass
class Plan:
    """What is to be done with some passages of a file, in the light of one snapshot of the table.

    `texts` are the rows that get another text, `described` those that get another source or other metadata alone.
    """

    new: list[PassageRow] = field(default_factory=list)
    texts: list[PassageRow] = field(default_factory=list)
    described: list[PassageRow] = field(default_factory=list)
    unchanged: int = 0
    answered: list[Finding] = field(default_factory=list)


def fitted(shape: Shape, passages: Sequence[Passage]) -> list[Passage]:
    """Return passages with their ids as the table gives them back.

    Raises:
        InputError: one of them does not fit into the table's column.
    """
    found = []
    for one in passages:
        key = shape.ids.key(one.id)
        if key is None:
            most = f" of at most {shape.ids.length} characters" if shape.ids.length else ""
            raise InputError(
                f"line {one.line}: the id {excerpt(one.id)!r} does not fit into the column `id` of "
                f"`{shape.passages.name}`, which holds {shape.ids.kind}{most}; nothing was written",
                hint="give every line an id of that kind, or name another table with PASSAGES_TABLE=",
            )
        found.append(one._replace(id=key))
    return found


def firsts(seen: Seen, passages: Sequence[Passage]) -> tuple[list[Passage], list[Finding]]:
    """Return the passages whose ids did not come before in the file, and what is told of the others."""
    found: list[Passage] = []
    again: list[Finding] = []
    for one in passages:
        first = seen.first(one.id, one.line)
        if first is None:
            found.append(one)
        else:
            reason = f"duplicate id: already on line {first[0]}"
            again.append(rejected(one.line, reason, one.id, column="id", key=one.id))
    return found, again


def plan(tx: "Connection", shape: Shape, passages: Sequence[Passage]) -> Plan:
    """Return what is to be done with these passages; nothing is written."""
    known = table.rows(tx, shape, [one.id for one in passages])
    other = [one.id for one in passages if one.id in known and words(known[one.id]["text"]) != one.text]
    answered = table.with_concepts(tx, shape, other)
    done = Plan()
    for one in passages:
        row = known.get(one.id)
        if row is None:
            done.new.append(PassageRow(one.id, one.text, one.source, _json(one.metadata)))
        elif one.id in answered:
            done.answered.append(rejected(one.line, ANSWERED, one.text, column="text", key=one.id))
        elif words(row["text"]) != one.text:
            done.texts.append(_row(one, row))
        elif _is_described_otherwise(shape, one, row):
            done.described.append(_row(one, row))
        else:
            done.unchanged += 1
    return done


def carry_out(tx: "Connection", shape: Shape, planned: Plan) -> int:
    """Write what was planned in this transaction; return how many parked passages go again with another text."""
    table.insert_passages(tx, shape, planned.new)
    table.update_text(tx, shape, [*planned.texts, *planned.described])
    changed = [one.id for one in planned.texts]
    if not changed:
        return 0
    open_claims = claims.claimed_ids(table.TASK).where(tables.requests.c.item_id.in_(changed))
    claimed = set(tx.execute(open_claims).scalars())
    return len(answers.unpark(tx, table.TASK, ids=[one for one in changed if one not in claimed]))


def _row(one: Passage, row: Mapping[str, Any]) -> PassageRow:
    """Return the row of a passage that is there; what the file does not say stays."""
    source = words(row.get("source")) if one.source is None and row.get("source") is not None else one.source
    metadata = loaded(row.get("metadata")) if one.metadata is None else one.metadata
    return PassageRow(one.id, one.text, source, _json(metadata))


def _is_described_otherwise(shape: Shape, one: Passage, row: Mapping[str, Any]) -> bool:
    """Return whether the file says something else of a passage's source or metadata."""
    source = shape.has("source") and one.source is not None and one.source != row["source"]
    return source or (shape.has("metadata") and one.metadata is not None and one.metadata != loaded(row["metadata"]))


def _json(value: object) -> str | None:
    """Return a JSON value as text; whole numbers of any size stay what they are."""
    if value is None:
        return None
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a number past 64 bits
        return json.dumps(value, ensure_ascii=False)
