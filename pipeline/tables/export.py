"""Write rows as CSV, JSON lines, a JSON list, .xlsx or Parquet, in pieces that never split a row, at flat memory.

Answers stand each beside its row, as that came, or as a row for each member of a list. Parquet is written group by
group by pyarrow, which is an extra; its last bytes make the file whole.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, select

from pipeline.core import text
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.quotes import is_stored_quotation
from pipeline.store import claims
from pipeline.store.claims import PARKED
from pipeline.store.database import PAGE, pages, streamed
from pipeline.store.rows import NO_HASH
from pipeline.store.schema import TaskRecord, answers, time_of
from pipeline.tables import workbook
from pipeline.tables.answer_views import ANSWERED_AT, EXTRACTOR, stored_cell
from pipeline.tables.answer_views import beside as named_beside
from pipeline.tables.cells import (
    common_kind,
    kind_of_value,
    loaded,
    number_of,
    pyarrow_for,
    value_text,
)
from pipeline.tables.lists import RowTable
from pipeline.tables.row_sync import HASH, KEY, SEEN, UNUSABLE, VALUES

GROUP = 10_000  # rows in one group; what is read at once from such a file
STATE = "state"  # columns of an export
REASON = "reason"
TEXTS = "texts"  # the kind of a column with lists of texts; all others are those of the fields of answers
_READ: Mapping[str, Callable[[str], Any]] = {"date": date.fromisoformat, "time": time_of}
_COSTS = {
    "tokens_in": "integer",
    "tokens_out": "integer",
    "cost": "real",
}  # what an answer took, and the kinds of it
_Row = dict[str, Any]
_Rows = tuple[
    Iterator[_Row], dict[str, str]
]  # by the names of their columns, and the kinds of these


def encoded(
    rows: Iterable[Mapping[str, Any]],
    format_: str,
    guard: Callable[[str], str] = text.neutralize_formula,
    *,
    kinds: Mapping[str, str],
) -> Iterator[bytes]:
    """Return the bytes of a file with these rows, in pieces that never split a row; `kinds` are those of the columns.

    `format_` is "csv", "json", "jsonl", "xlsx" or "parquet"; in CSV texts are as the `guard` has them. A file of no
    rows has a header, or an empty list. Where pyarrow is missing is said before anything is read.
    """
    if format_ == "jsonl":
        return (orjson.dumps(row) + b"\n" for row in rows)
    if format_ == "json":
        return _json_list(rows)
    if format_ == "csv":
        return csv(
            (
                [cell(row[name], texts=kind == TEXTS) for name, kind in kinds.items()]
                for row in rows
            ),
            kinds,
            guard,
        )
    if format_ == "xlsx":
        return workbook.written(rows, kinds, lambda value, kind: cell(value, texts=kind == TEXTS))
    return _parquet(rows, kinds, pyarrow_for("Parquet"))


def csv(
    rows: Iterable[Sequence[str | float]],
    header: Iterable[str],
    guard: Callable[[str], str] = text.neutralize_formula,
) -> Iterator[bytes]:
    """Yield the bytes of a CSV file; no cell of it is a formula unless the `guard` lets it."""
    yield text.csv_line(list(header), guard)
    for row in rows:
        yield text.csv_line(row, guard)


def cell(value: Any, *, texts: bool) -> str | float:
    """Return a value as a cell of CSV: numbers as they are, for they are no formulas; a list of `texts` in one cell.

    A quotation is its text: who wants its place too takes JSON, or `ROWS=`.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if is_stored_quotation(value):
        return str(value["quote"])
    return "; ".join(value) if texts and isinstance(value, list) else _words_of(value)


def _words_of(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if hasattr(value, "isoformat") else value_text(value)


def _json_list(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    before = b"[\n"
    for row in rows:
        yield before + orjson.dumps(row)
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _parquet(
    rows: Iterable[Mapping[str, Any]], kinds: Mapping[str, str], pa: Any
) -> Iterator[bytes]:
    from pyarrow.parquet import ParquetWriter

    known = {
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    known |= {TEXTS: pa.list_(pa.string()), "real": pa.float64()}
    schema = pa.schema([(name, known.get(kind, pa.string())) for name, kind in kinds.items()])
    typed = ({name: _typed(row[name], kind) for name, kind in kinds.items()} for row in rows)
    with tempfile.TemporaryFile() as file:
        with ParquetWriter(file, schema, compression="zstd") as writer:
            for group in pages(typed, GROUP):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
        file.seek(0)
        yield from iter(partial(file.read, 1 << 20), b"")


def _typed(value: Any, kind: str) -> Any:
    if value is None or kind in {"integer", "boolean", "date", "time"}:
        return value
    if kind == TEXTS:
        some = value if isinstance(value, list) else [value]
        return [one if isinstance(one, str) else _words_of(one) for one in some]
    return number_of(value) if kind == "real" else _words_of(value)


def answers_rows(
    tx: Connection,
    task: TaskRecord,
    items: RowTable,
    *,
    is_answer: ColumnElement[bool],
    field: str | None,
    cost: bool,
    gone: bool,
    own: str,
) -> _Rows:
    """Return every row of a task's source with its state and one answer, and the kinds of its columns.

    They are in the order of the source, and read in the caller's transaction. `is_answer` says which answer it is; at
    most one of a row may be it. First stand the source's columns, under its names; last the state, and why
    a row is refused, parked or unusable. A refused row has its cells as they were read. With `gone` rows that left
    the source are among them. With `field` each member of that list is a row, with `list.inner` each of the lists in
    its members; with `cost` what the whole answer took stands in each. `own` is as `asks.parked` has it.
    """
    sources = task.columns
    kinds = {name: kind for name, kind in task.key if name not in sources} | dict(task.fields)
    kinds |= {EXTRACTOR: "text", ANSWERED_AT: "time"} | (_COSTS if cost else {})
    named = named_beside(sources, kinds, "answer_")
    state_named = named_beside([*sources, *named.values()], (STATE, REASON), "row_")
    row = items.table.c
    told = [answers.c[name] for name in ("answer", "at", EXTRACTOR, *_COSTS)]
    query = select(
        row[VALUES], row[KEY], row[HASH], row[SEEN], row[UNUSABLE], items.state.label(STATE), *told
    )
    query = query.select_from(
        items.table.outerjoin(answers, (answers.c.item_id == row[KEY]) & is_answer)
    ).order_by(row[items.order])
    if not gone:
        query = query.where(row.findable_gone_at.is_(None))
    parked = {key: reason for key, reason, _ in claims.parked_rows(tx, task.name, own=own)}

    def found() -> Iterator[_Row]:
        for row in streamed(tx, query, page=PAGE).mappings():
            values = orjson.loads(row[VALUES])
            given = orjson.loads(row["answer"] or "{}")
            said = {name: values.get(name) for name in sources}
            said |= {name: loaded(said[name]) for name, kind in sources.items() if kind == "json"}
            cells = {name: _answered(given.get(name), kind) for name, kind in task.fields}
            is_refused = row[HASH] == NO_HASH
            cells |= dict.fromkeys(dict(task.key), None if is_refused else row[KEY]) | {
                ANSWERED_AT: row["at"]
            }
            cells |= {name: row[name] for name in (EXTRACTOR, *(_COSTS if cost else ()))}
            said |= {place: cells[name] for name, place in named.items()}
            reason = row[UNUSABLE] or (parked.get(row[KEY]) if row[STATE] == PARKED else None)
            reason = f"line {row[SEEN]}: {reason}" if is_refused else reason
            states = {STATE: row[STATE], REASON: reason}
            yield said | {place: states[name] for name, place in state_named.items()}

    kinds = {**sources, **{named[name]: kind for name, kind in kinds.items()}}
    kinds |= dict.fromkeys(state_named.values(), "text")
    if field is None:
        return found(), kinds
    lists = [name for name, kind in task.fields if kind == "json"]
    field, *inner = field.split(".")
    if field not in lists:
        said = f"{OptionHint(rows=field)} names no list of these answers; nothing was written"
        raise InputError(
            said, hint=f"lists may be {', '.join(lists)}" if lists else "they have none"
        )
    return _exploded(found, kinds, named[field], inner)


def _exploded(
    found: Callable[[], Iterator[_Row]], kinds: Mapping[str, str], field: str, inner: Sequence[str]
) -> _Rows:
    seen: dict[str, str | None] = {}
    for row in found():
        for name, value in (
            pair for member in _members(row[field], field, inner) for pair in member.items()
        ):
            seen[name] = common_kind(seen.get(name), kind_of_value(value))
    # an object, missing wherever else it could stand, is told by its parts
    some = {
        name
        for name, of in seen.items()
        if of or not any(other.startswith(f"{name}_") for other in seen)
    }
    taken = {one.casefold() for one in kinds if one != field}
    named = {
        name: f"{field}_{name}" if name.casefold() in taken else name
        for name in seen
        if name in some
    }
    whole: dict[str, str] = {}
    for name, kind in kinds.items():
        whole |= (
            {one: seen[own] or "text" for own, one in named.items()}
            if name == field
            else {name: kind}
        )

    def exploded() -> Iterator[_Row]:
        for row in found():
            for member in _members(row.pop(field), field, inner):
                yield (
                    dict.fromkeys(whole)
                    | row
                    | {named[name]: one for name, one in member.items() if name in named}
                )

    return exploded(), whole


def _answered(value: Any, kind: str) -> Any:
    cell = value if kind == "json" else stored_cell(kind, value)
    return _READ[kind](cell) if kind in _READ and cell is not None else cell


def _members(members: Any, field: str, inner: Sequence[str] = ()) -> Iterator[_Row]:
    """Yield the members of a list by the names of their columns; of none there are none.

    Of lists `inner` to them, each has the values of what it stands in beside its own.
    """
    members = [members] if inner and isinstance(members, dict) else members
    if members is not None and not isinstance(members, list):
        said = f"{OptionHint(rows=field)}: an answer has no list there; nothing was written"
        raise InputError(said, hint=f"export without {OptionHint('rows')}")
    for one in members or ():
        own = dict(one) if isinstance(one, dict) else {field: one}
        if not inner:
            yield dict(_spread(own))
            continue
        if inner[0] not in own:
            said = f"{OptionHint('rows')}: a member of {field!r} has no {inner[0]!r}; nothing was written"
            raise InputError(said, hint=f"they have {', '.join(own)}")
        within = own.pop(inner[0])
        own = dict(_spread(own))
        for member in _members(within, inner[0], inner[1:]):
            yield own | {
                f"{inner[0]}_{name}" if name in own else name: value
                for name, value in member.items()
            }


def _spread(
    document: Mapping[str, Any], prefix: str = "", own: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        full = prefix if name == own else f"{prefix}_{name}" if prefix else name
        if isinstance(value, dict) and value:
            yield from _spread(value, full, name)
        else:
            yield full, value
