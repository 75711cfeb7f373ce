"""Import passages from a file of any length in one transaction: all sound rows, or none where something stops it.

A passage with concepts keeps its text, because their quotations are slices of it; another text is refused. One that is
being asked about takes a new text, and the answer is not applied; a parked one with another text goes again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from pipeline.core.errors import InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.passages import table
from pipeline.passages.read import Passage, Passages
from pipeline.passages.schema import OPTIONAL, PassagesShape, read_shape
from pipeline.passages.table import PassageRow
from pipeline.store import asks, workspace
from pipeline.tables.cells import cell_words, loaded
from pipeline.tables.findings import Finding, FindingKind, SeenIds, excerpt, rejected
from pipeline.tables.headers import parse_map
from pipeline.tables.imports import ImportReport, all_or_nothing, import_rows

if TYPE_CHECKING:
    from pipeline.store.database import Connection

ANSWERED = "has concepts, and another text here; the one that is stored stays"


@dataclass
class ImportPlan:
    """What is to be done with some passages of a file: `texts` get another text, `described` other metadata alone."""

    new: list[PassageRow] = field(default_factory=list)
    texts: list[PassageRow] = field(default_factory=list)
    described: list[PassageRow] = field(default_factory=list)
    unchanged: int = 0
    answered: list[Finding] = field(default_factory=list)


def _fit_ids(shape: PassagesShape, passages: Sequence[Passage]) -> list[Passage]:
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


def _first_occurrences(seen: SeenIds, passages: Sequence[Passage]) -> tuple[list[Passage], list[Finding]]:
    """Return the passages whose ids did not come before in the file, and the findings about the others."""
    found: list[Passage] = []
    again: list[Finding] = []
    for one in passages:
        if (first := seen.first(one.id, one.line)) is None:
            found.append(one)
        else:
            reason = f"duplicate id: already on line {first[0]}"
            again.append(rejected(one.line, reason, one.id, column="id", key=one.id))
    return found, again


def plan_import(tx: "Connection", shape: PassagesShape, passages: Sequence[Passage]) -> ImportPlan:
    """Return what is to be done with these passages; nothing is written."""
    known = {} if shape.passages.name in shape.missing else table.passage_rows(tx, shape, [one.id for one in passages])
    other = [one.id for one in passages if one.id in known and cell_words(known[one.id]["text"]) != one.text]
    answered = set() if shape.concepts.name in shape.missing else table.with_concepts(tx, shape, other)
    done = ImportPlan()
    for one in passages:
        row = known.get(one.id)
        if row is None:
            done.new.append(PassageRow(one.id, one.text, one.source, _json(one.metadata)))
        elif one.id in answered:
            done.answered.append(rejected(one.line, ANSWERED, one.text, column="text", key=one.id))
        elif cell_words(row["text"]) != one.text:
            done.texts.append(_row(one, row))
        elif _is_described_otherwise(shape, one, row):
            done.described.append(_row(one, row))
        else:
            done.unchanged += 1
    return done


def write_passages(tx: "Connection", shape: PassagesShape, planned: ImportPlan) -> int:
    """Write what was planned in this transaction; return how many parked passages go again with another text."""
    free = parked_of(tx, planned)
    table.insert_passages(tx, shape, planned.new)
    table.update_text(tx, shape, [*planned.texts, *planned.described])
    if planned.new or planned.texts:
        workspace.touch_revision(tx, table.TASK)
    return len(asks.unpark(tx, table.TASK, ids=free))


def parked_of(tx: "Connection", planned: ImportPlan) -> list[str]:
    """Return the ids of parked passages that go again with another text."""
    changed = [one.id for one in planned.texts]
    claimed = asks.claimed_among(tx, table.TASK, changed)
    return asks.unparkable(tx, table.TASK, ids=[one for one in changed if one not in claimed])


def _row(one: Passage, row: Mapping[str, Any]) -> PassageRow:
    """Return the row of a passage that is there; what the file does not say stays."""
    source = cell_words(row.get("source")) if one.source is None and row.get("source") is not None else one.source
    metadata = loaded(row.get("metadata")) if one.metadata is None else one.metadata
    return PassageRow(one.id, one.text, source, _json(metadata))


def _is_described_otherwise(shape: PassagesShape, one: Passage, row: Mapping[str, Any]) -> bool:
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


BLOCK = 2000  # passages written at a time


@dataclass
class PassagesImportReport(ImportReport):
    """What an import of passages did.

    `lines` hold anything; `updated` have another text, `described` another source or other metadata; `answered` have
    concepts and another text, `duplicates` came before in the file. The last two are among the rejected.
    """

    FIELDS: ClassVar = (
        "path", "lines", "dry", "added", "updated", "described", "unchanged", "released", "duplicates", "answered",
        "refused", "notes", "report",
    )  # fmt: skip
    KINDS: ClassVar = (FindingKind.REJECTED, FindingKind.CHANGED, FindingKind.NOTED)
    NAMES: ClassVar = ("line", "field", "reason", "value", "kind", "id")
    NO_KEY: ClassVar = ""
    WORD: ClassVar = "passage"

    lines: int = 0
    described: int = 0
    duplicates: int = 0
    answered: int = 0

    @property
    def rows_in(self) -> int:
        """Return how many passages of the file stand in the table as it has them, whether or not they did before."""
        return 0 if self.refused else super().rows_in + self.described

    @property
    def changes(self) -> int:
        """Return how many passages were written."""
        return super().changes + self.described

    def count(self, planned: ImportPlan, *, lines: int, duplicates: int, released: int) -> None:
        """Add what was done with one block."""
        self.lines += lines
        self.added += len(planned.new)
        self.updated += len(planned.texts)
        self.described += len(planned.described)
        self.unchanged += planned.unchanged
        self.answered += len(planned.answered)
        self.duplicates += duplicates
        self.released += released


def run(
    ws: OpenWorkspace,
    path: Path,
    *,
    mapping: str = "",
    strict: bool = False,
    report: Path | None = None,
    dry: bool = False,
) -> PassagesImportReport:
    """Import the passages in a file.

    A report says what happened also where nothing went in; `ImportReport.check` raises then. Where it is only to say
    what would go in (`dry`), the tables need not be there yet, and any task may be in use.

    Raises:
        InputError: the file cannot be read, an id in it does not fit into the table,
            or the list cannot be written. Nothing was changed.
    """
    with all_or_nothing():
        passages = Passages(path, parse_map(mapping))
    with ws.store.read() as tx:
        shape = read_shape(tx, passages=ws.settings.passages_table)
    listed = str(report) if report else None
    done = PassagesImportReport(str(path), listed, dry=dry, strict=strict, columns=passages.mapping.listed)
    with SeenIds() as seen:

        def write(tx: "Connection", sound: list[Passage], findings: list[Finding]) -> list[Finding]:
            first, again = _first_occurrences(seen, _fit_ids(shape, sound))
            planned = plan_import(tx, shape, first)
            released = len(parked_of(tx, planned)) if done.dry else write_passages(tx, shape, planned)
            done.count(planned, lines=len(sound) + len(findings), duplicates=len(again), released=released)
            return [*(change for one in first for change in one.changes), *again, *planned.answered]

        import_rows(
            ws.store,
            ws.display,
            passages,
            passages.passages(),
            done,
            write=write,
            at=ws.now(),
            block=BLOCK,
            size=lambda one: len(one.text),
        )
    done.notes = [*passages.notes, *_left_out(shape)]
    return done


def _left_out(shape: PassagesShape) -> list[str]:
    """Return a note where the table has no place for what a file may bring."""
    missing = [f"`{name}`" for name in OPTIONAL if not shape.has(name)]
    return [f"`{shape.passages.name}` has no column for {' and '.join(missing)}; not kept"] if missing else []
