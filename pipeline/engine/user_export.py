"""Export of the rows and answers of a user's task.

A confidence is the stored probability that a field is right.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, RowMapping

from pipeline.core.row_listing import RowFilter
from pipeline.core.states import describe_reason
from pipeline.engine.task_parts import ExportOptions, ExportRows, TaskExport
from pipeline.engine.user_rows import UserRows
from pipeline.store import claims
from pipeline.store.answers import PERSON, count_by_version
from pipeline.store.claims import PARKED
from pipeline.store.confidences import decode_confidences, has_confidences
from pipeline.store.database import PAGE_ROWS, stream_rows
from pipeline.store.rows import NO_HASH
from pipeline.store.schema import answers, to_utc_time
from pipeline.store.task_record import TaskRecord
from pipeline.tables.answer_views import (
    ANSWERED_AT,
    EXTRACTOR,
    name_added_columns,
    name_confidence_columns,
)
from pipeline.tables.cells import parse_json_cell
from pipeline.tables.column_values import to_column_value
from pipeline.tables.export import REASON_COLUMN, encode_rows
from pipeline.tables.row_table import (
    GONE_STATE,
    REFUSED_STATE,
    STALE_STATE,
    STATE_COLUMN,
    describe_stale_row,
)
from pipeline.tables.stored_rows import (
    HASH_COLUMN,
    IMAGE_STATE_COLUMN,
    KEY_COLUMN,
    UNUSABLE_COLUMN,
    VALUES_COLUMN,
)

ANSWERED_STATE = "answered"
# State of a row without an answer of the exported version, but with another answer.
OTHER_VERSION_STATE = "other_version"
_ROW_COLUMNS = (VALUES_COLUMN, KEY_COLUMN, HASH_COLUMN, IMAGE_STATE_COLUMN, UNUSABLE_COLUMN)
_ANSWER_COLUMNS = ("answer", "at", "confidences", EXTRACTOR, "tokens_in", "tokens_out", "cost")
# Kinds whose cells are converted from text.
_CELL_READERS: Mapping[str, Callable[[str], Any]] = {
    "date": date.fromisoformat,
    "time": to_utc_time,
}
# Columns with the tokens and the cost of an answer, with their kinds.
_COST_KINDS = {"tokens_in": "integer", "tokens_out": "integer", "cost": "real"}
# Column of the query: a person asked for the row again.
_MARKED = "findable_marked"
# Column of the query: the version of the row's preferred answer.
_PREFERRED_VERSION = "findable_preferred_version"


@dataclass(eq=False, kw_only=True)
class UserExport(TaskExport):
    """Rows of a user's task with their answers."""

    row_noun = "row"
    options = frozenset({"extractor", "cost", "gone"})

    rows: UserRows

    def read_rows(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return the rows to export in the source's order, each with its state and its answer.

        The answer is the preferred answer of the row or, with `options.extractor`, its answer of
        this version or prompt version. Rows without it are included, with None.

        Rows that are no longer in their source are left out, unless `options.gone` is set or the
        row filter asks for their state or names ids.

        The columns are, in this order:

        1. the source's columns, under their own names; a refused row has its cells as read;
        2. the key columns that are no source columns;
        3. the answer's fields, its version, its time, and with `options.cost` its tokens and cost;
        4. the confidence of each field for which any answer of the task has one;
        5. the state, and the reason why the row is refused, parked, stale or unusable (such as an
           image that cannot be read), else None.

        If a name is taken, `answer_` precedes it, and `row_` precedes the state or reason.

        Returns:
            The rows, which are read when iterated. The counts by version are complete after that.

        Raises:
            InputError: `options.extractor` has no answers.
        """
        record = self.rows.record
        sources = record.columns
        field_names = [name for name, _ in record.fields]
        cost_kinds = _COST_KINDS if options.cost else {}
        answer_kinds = {name: kind for name, kind in record.key if name not in sources}
        answer_kinds |= {**dict(record.fields), EXTRACTOR: "text", ANSWERED_AT: "time"}
        answer_names = name_added_columns(sources, answer_kinds, "answer_")
        # A field may be called `cost`, so tokens and cost are named apart.
        taken_names = [*sources, *answer_names.values()]
        cost_names = name_added_columns(taken_names, cost_kinds, "answer_")
        taken_names += cost_names.values()
        confidence_names = name_confidence_columns(
            taken_names, field_names if has_confidences(tx, record.name) else []
        )
        taken_names += confidence_names.values()
        state_names = name_added_columns(taken_names, (STATE_COLUMN, REASON_COLUMN), "row_")

        version_counts = Counter[str]()
        left_out_corrections = 0
        if options.extractor is not None:
            counts = {count.version: count.items for count in count_by_version(tx, record.name)}
            self.check_version(options.extractor, counts)
            if options.extractor != PERSON:
                left_out_corrections = counts.get(PERSON, 0)
        stored_rows = self._select_rows(tx, options)
        parked_reasons = {
            key: describe_reason(reason)
            for key, reason, _ in claims.parked_rows(
                tx, record.name, prompt_version=self.rows.prompt_version
            )
        }

        def iterate_rows() -> Iterator[dict[str, Any]]:
            """Yield each row with its cells, and count its answer."""
            for stored_row in stored_rows:
                if stored_row[EXTRACTOR] is not None:
                    version_counts[stored_row[EXTRACTOR]] += 1
                row = _read_source_cells(stored_row, sources)
                answer_cells = _read_answer_cells(stored_row, record)
                row |= {name: answer_cells[part] for part, name in answer_names.items()}
                row |= {name: stored_row[part] for part, name in cost_names.items()}
                confidences = {}
                if confidence_names:
                    confidences = decode_confidences(stored_row["confidences"])
                for field, name in confidence_names.items():
                    is_known = field in confidences
                    row[name] = confidences[field].probability if is_known else None
                state, reason = _describe_state(stored_row, parked_reasons, record.line_noun)
                if options.extractor is not None:
                    state, reason = _describe_version(
                        stored_row, options.extractor, state=state, reason=reason
                    )
                state_cells = {STATE_COLUMN: state, REASON_COLUMN: reason}
                yield row | {name: state_cells[part] for part, name in state_names.items()}

        kinds = {
            **sources,
            **{name: answer_kinds[part] for part, name in answer_names.items()},
            **{name: cost_kinds[part] for part, name in cost_names.items()},
            **dict.fromkeys(confidence_names.values(), "real"),
            **dict.fromkeys(state_names.values(), "text"),
        }
        return ExportRows(
            iterate_rows(),
            partial(encode_rows, kinds=kinds),
            version=options.extractor,
            version_counts=version_counts,
            left_out_corrections=left_out_corrections,
        )

    def _select_rows(self, tx: Connection, options: ExportOptions) -> Iterator[RowMapping]:
        """Return the rows with the columns of the export, which are read when iterated.

        Raises:
            InputError: The row filter is invalid.
        """
        grid = self.rows.grid(tx)
        row_table = grid.table
        columns = [row_table.table.c[name] for name in _ROW_COLUMNS]
        columns += [answers.c[name] for name in _ANSWER_COLUMNS]
        columns += [
            row_table.state_expression.label(STATE_COLUMN),
            row_table.is_marked.label(_MARKED),
        ]
        if options.extractor is not None:
            columns.append(grid.preferred_version.label(_PREFERRED_VERSION))
        query = grid.select_rows(
            tx,
            options.row_filter or RowFilter(),
            *columns,
            version=options.extractor,
            has_gone_rows=options.gone,
        )
        query = query.order_by(row_table.table.c[row_table.order_column])
        return stream_rows(tx, query, page=PAGE_ROWS).mappings()


def _describe_version(
    stored_row: RowMapping, version: str, *, state: str, reason: str | None
) -> tuple[str, str | None]:
    """Return state and reason of a row in an export of one version.

    - With an answer of that version the state is answered. If the row also has a correction, which
      the export does not contain, the reason says so.
    - With only another answer, the state is OTHER_VERSION_STATE. The reason names that answer, then
      the row's own reason if it has one.
    - All other rows, and rows that are gone or refused, keep their own state and reason.
    """
    preferred_version = stored_row[_PREFERRED_VERSION]
    other_answer = f"answered by {preferred_version or 'another program'}"
    if preferred_version == PERSON:
        other_answer = "corrected by a person; an export of one version has no corrections"

    if stored_row["answer"] is not None:
        is_left_out = preferred_version == PERSON and version != PERSON
        return ANSWERED_STATE, other_answer if is_left_out else reason
    has_other_answer = preferred_version is not None or state == ANSWERED_STATE
    if state in {GONE_STATE, REFUSED_STATE} or not has_other_answer:
        return state, reason
    if reason:
        other_answer += f"; {state}: {reason}"
    return OTHER_VERSION_STATE, other_answer


def _read_source_cells(stored_row: RowMapping, column_kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return the cells of the source's columns by name; None for a missing value.

    The cells of JSON columns are parsed.

    Args:
        stored_row: The row; its VALUES_COLUMN has the cells as a JSON object.
        column_kinds: Kinds of the source's columns by name.
    """
    values = orjson.loads(stored_row[VALUES_COLUMN])
    cells: dict[str, Any] = {name: values.get(name) for name in column_kinds}
    for name, kind in column_kinds.items():
        if kind == "json":
            cells[name] = parse_json_cell(cells[name])
    return cells


def _read_answer_cells(stored_row: RowMapping, task: TaskRecord) -> dict[str, Any]:
    """Return the key of a row, and the fields, version and time of its answer, by name.

    Without an answer all cells except the key are None; a refused row has no key either.

    The cell of each key column is the whole row id. This is right only if the key is not a column
    of the source, such as a hash of the row. Callers replace the cells of key columns that the
    source has by those of the source.
    """
    answer = orjson.loads(stored_row["answer"] or "{}")
    cells = {name: _read_field(answer.get(name), kind) for name, kind in task.fields}
    # The stored id of a refused row is not its key.
    key = None
    if stored_row[HASH_COLUMN] != NO_HASH:
        key = stored_row[KEY_COLUMN]
    cells |= dict.fromkeys(dict(task.key), key)
    cells[ANSWERED_AT] = stored_row["at"]
    cells[EXTRACTOR] = stored_row[EXTRACTOR]
    return cells


def _describe_state(
    stored_row: RowMapping, parked_reasons: Mapping[str, str], line_noun: str
) -> tuple[str, str | None]:
    """Return the state of a row, and why it is refused, unusable, parked or stale, else None.

    The reason for a refused row begins with its line in the source, as in `line 7: missing id`. The
    reason for an unusable row takes precedence over the reason for parking it.

    Args:
        stored_row: The row with its state.
        parked_reasons: Reasons of parked rows by id.
        line_noun: What a number of the source counts: lines or rows.
    """
    state: str = stored_row[STATE_COLUMN]
    reason: str | None = stored_row[UNUSABLE_COLUMN] or None
    if not reason and state == PARKED:
        reason = parked_reasons.get(stored_row[KEY_COLUMN])
    if state == STALE_STATE:
        reason = describe_stale_row(is_marked=bool(stored_row[_MARKED]))
    if stored_row[HASH_COLUMN] == NO_HASH:
        reason = f"{line_noun} {stored_row[IMAGE_STATE_COLUMN]}: {reason}"
    return state, reason


def _read_field(value: Any, kind: str) -> Any:
    """Return the value of an answer field for an export, or None if it is not of its kind.

    JSON stays as it is. Dates and times become Python's date and datetime.
    """
    if kind == "json":
        return value
    stored_value = to_column_value(kind, value)
    if kind in _CELL_READERS and stored_value is not None:
        return _CELL_READERS[kind](stored_value)
    return stored_value
