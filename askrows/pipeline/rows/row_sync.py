"""Sync the rows of a task with its source, all or nothing, and print the result.

The rows are stored in `askrows_rows`, each as a JSON object, and are read without the source. The
source is read to its end before anything is written, and the images of each row are inspected. So a
source that breaks off writes nothing and makes no row gone. Changes are written in one
transaction. To stage a row means to store it in a temporary table until then. A forgotten row is a
row that a user erased; it is not stored again.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.report import format_counts
from askrows.pipeline.core.text import plural
from askrows.pipeline.rows.answer_views import create_or_replace_views
from askrows.pipeline.rows.cells import (
    find_value_kind,
    hash_text,
    merge_kinds,
    to_compact_json,
)
from askrows.pipeline.rows.row_findings import (
    MAX_KEPT_FINDINGS,
    Finding,
    KeyLines,
    ReadRow,
    SourceRow,
    escape_unstorable_characters,
    find_unstorable_text,
    make_excerpt,
    make_refused_row,
    make_rejection,
)
from askrows.pipeline.rows.source import EXTRA_CELLS_COLUMN, RowSource, query_rows_by_id
from askrows.pipeline.rows.stored_rows import (
    has_only_blanks,
    hash_input,
    is_blank_cell,
    parse_stored_values,
    to_stored_value,
)
from askrows.pipeline.store import claims, journal, workspace
from askrows.pipeline.store import rows as stored_rows
from askrows.pipeline.store.database import Connection, Store, read_matching_rows, split_into_pages
from askrows.pipeline.store.locks import Locks
from askrows.pipeline.store.task_record import TaskRecord

# Rows in memory.
PAGE_ROWS = 2_000
# Rows that are looked up in a query at once; SQLite nests at most 1,000 conditions.
MAX_LOOKUP_KEYS = 200
# Bytes of a key that an index of PostgreSQL takes.
MAX_KEY_BYTES = 2_000
# Rows of a preview that would be gone.
MAX_MISSING_EXAMPLES = 10
# Refused rows that a report of a sync prints.
MAX_LISTED_REFUSED_ROWS = 3
# Kinds of columns that may be a key.
KEY_KINDS = frozenset({"text", "integer"})
# Hexadecimal digits of a hash that is the id of a row.
_ID_HASH_DIGITS = 32
_ESCAPED_NUL = b"\\u0000"

# A row as it is stored, by the columns of `askrows_rows`.
_StoredRow = dict[str, Any]


# Takes a row's values and the state of its last inspection as JSON. Returns the new values of the
# columns `input_hash`, `seen` (the state for the next inspection, as JSON) and `unusable`.
InspectImages = Callable[[Mapping[str, Any], str | None], Mapping[str, str | None]]


@dataclass
class RowSyncReport:
    """Result of a sync, in rows.

    Each row of the source is new, changed, the same, refused or forgotten.
    """

    counts: stored_rows.SyncCounts = field(default_factory=stored_rows.SyncCounts)
    # All rows of the source.
    rows: int = 0
    # Rows without anything to ask about.
    empty: int = 0
    # Of a task that is not registered: the requests for all its rows; equal rows share one.
    requests: int = 0
    # Rows that were left out because they were forgotten.
    forgotten: int = 0
    # Rows with an image that cannot be asked about.
    unusable: int = 0
    # The key of such a row, and the reason.
    unusable_example: tuple[str, str] = "", ""
    # Of a preview: id, input hash and values as JSON of the new and changed rows.
    changed_rows: list[tuple[str, str, str]] = field(default_factory=list)
    # Of a preview: the values as JSON of the first rows that would be gone.
    gone_rows: list[str] = field(default_factory=list)
    # Rows with an escape in a column that is not used, by the name of the column.
    escaped: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    # The first thousand refused rows.
    findings: list[Finding] = field(default_factory=list)

    @property
    def askable_rows(self) -> int:
        """Rows of a source that are neither refused nor empty, of a task that is not registered."""
        return self.rows - self.refused - self.empty

    @property
    def summary(self) -> str:
        """The counts in words, except unchanged rows; "" if no other row was counted.

        Rows without anything to ask about are mentioned only if rows are new or changed.
        """
        row_counts = {
            "new": self.counts.new,
            "changed": self.counts.changed,
            "gone": self.counts.gone,
            "back": self.counts.returned,
            "with an unusable image": self.unusable,
            "refused": self.refused,
            "left out, because they were forgotten": self.forgotten,
        }
        counts_text = format_counts(row_counts)
        if not counts_text:
            return ""
        if self.empty and (self.counts.new or self.counts.changed):
            row_count = self.counts.new + self.counts.changed + self.counts.unchanged
            counts_text += f"; empty: {self.empty:,} of {plural(row_count, 'row')}"
        return f"rows: {counts_text}"


@dataclass(frozen=True)
class RowSync:
    """A sync of the rows of a task with its source.

    - A row is empty if all columns that are asked about are blank, or if a required column is.
    - A row is refused, and stored as a refused row, if it has no valid key, the key of an earlier
      row, or text that cannot be stored in a column that is asked about. In another column such a
      text is escaped.
    - If the key is a hash of the row, equal rows are separate rows: the first has the hash as its
      id, the next have the hash with their number.
    - A forgotten row is left out.
    """

    store: Store
    record: TaskRecord
    # The time that is recorded for all changes.
    now: datetime
    # Inspects the images of a row; None if the task has no images.
    inspect_images: InspectImages | None = None
    # Called for each refused row.
    on_refused: Callable[[Finding], None] | None = None
    # Completes what follows from the stored rows, in the transaction that stores them.
    on_stored: Callable[[Connection], None] | None = None
    report: RowSyncReport = field(default_factory=RowSyncReport, init=False)
    # The kinds of the columns beside the table, by name, in the order of the rows.
    extra_kinds: dict[str, str] = field(default_factory=dict, init=False)

    def sync_rows(self, source: Any, display: Progress) -> RowSyncReport:
        """Read a source to its end, and update the rows of the task in one transaction.

        New rows are inserted, and changed rows are updated. Rows that the source lacks are marked
        as gone, unless its cursor left rows out. Rows that are back lose this mark. The source's
        hash, the state of its cursor, and a change of the rows are recorded. If the kinds of the
        columns beside the table changed, they are recorded, and the views are made anew. Parked
        rows that this sync changed are unparked, so that they may be asked again. Failed attempts
        of changed rows are forgiven. Last, `on_stored` is called in the same transaction.

        Args:
            source: Yields rows and findings; has `sha256`, and may have a `stamp` and a `cursor`.
            display: Shows the progress.

        Returns:
            The attribute `report`, with the counts.

        Raises:
            InputError: The source cannot be read to its end; nothing is written.
        """
        task_name = self.record.name
        cursor = getattr(source, "cursor", None)
        is_part = cursor is not None and cursor.is_part
        with stored_rows.open_staging_table(self.store) as staged_rows:
            self._stage_source(staged_rows, source, display)
            with staged_rows.sync_rows_in_transaction(task_name, now=self.now, is_part=is_part) as (
                tx,
                counts,
            ):
                if counts.rewritten:
                    workspace.record_row_change(tx, task_name)
                state = {
                    "items_sha256": source.sha256,
                    "items_stamp": getattr(source, "stamp", None),
                }
                if cursor is not None:
                    state["cursor"] = cursor.read
                workspace.update_task_record(tx, task_name, **state)
                if self.extra_kinds != self.record.extra_columns:
                    workspace.update_task_record(tx, task_name, extra_columns=self.extra_kinds)
                    create_or_replace_views(
                        tx, replace(self.record, extra_columns=self.extra_kinds)
                    )

                if counts.changed:
                    changed_ids = stored_rows.select_ids_changed_at(task_name, changed_at=self.now)
                    parked_ids = claims.list_ids_user_may_unpark(tx, task_name)
                    (row_id,) = changed_ids.selected_columns
                    changed_parked_rows = read_matching_rows(tx, changed_ids, row_id, parked_ids)
                    claims.unpark_and_forgive(
                        tx, task_name, row_ids=[row[0] for row in changed_parked_rows]
                    )
                    claims.forgive_attempts(tx, task_name, changed_ids)
                if self.on_stored is not None:
                    self.on_stored(tx)

        self.report.counts = counts
        return self.report

    def preview_sync(self, source: Any, display: Progress) -> RowSyncReport:
        """Read a source to its end, and return the report of `sync_rows`; write nothing.

        The report also has the rows that would change, and examples of those that would be gone.

        Args:
            source: Yields rows and findings of all rows of the task.
            display: Shows the progress.

        Raises:
            InputError: The source cannot be read to its end.
        """
        with stored_rows.open_staging_table(self.store) as staged_rows:
            self._stage_source(staged_rows, source, display)
            self.report.counts = staged_rows.preview_sync_counts(self.record.name)
            self.report.changed_rows = staged_rows.read_rows_that_would_change(self.record.name)
            self.report.gone_rows = staged_rows.read_rows_that_would_be_gone(
                self.record.name, limit=MAX_MISSING_EXAMPLES
            )
        return self.report

    def _stage_source(
        self, staged_rows: stored_rows.StagedRows, source: Any, display: Progress
    ) -> None:
        """Read a source to its end, and stage its rows, except forgotten rows.

        Empty rows are counted, and images of sound rows are inspected. Shows progress.
        """
        is_forgotten = self.store.query(journal.make_forgotten_check, self.record.name)
        rows = self.convert_rows(source, is_forgotten=is_forgotten)
        with display.bar("rows", None) as bar:
            for page in split_into_pages(rows, PAGE_ROWS):
                sound_rows = [row for row in page if row["input_hash"] != stored_rows.NO_HASH]
                self.report.empty += sum(row["is_empty"] for row in sound_rows)
                self._inspect_images_and_update_rows(sound_rows)
                staged_rows.insert_and_commit(page)
                bar.show(page[-1]["n"])

    def convert_rows(
        self,
        source: Iterable[ReadRow],
        *,
        is_forgotten: Callable[[str], bool] = lambda _row_id: False,
    ) -> Iterator[_StoredRow]:
        """Yield each row of a source as it is stored, also refused rows; store nothing.

        Only the ids are kept, in a temporary file, to find repeated ids. A row with the key of an
        earlier row is refused. If the id is a hash of the row, an equal row gets the id with the
        next suffix: `hash-2`, `hash-3`, …. Refused rows are counted in the report and passed to
        `on_refused`; forgotten rows are counted.

        Args:
            source: The rows and findings of the source.
            is_forgotten: Returns whether a user erased the row of an id. Such a row is left out,
                also if its key is repeated, because a refused row would store its cells.
        """
        key_lines = KeyLines()
        repeat_counts = Counter[str]()
        for row_number, source_row in enumerate(source, start=1):
            line = source_row[0]
            row = self._convert_row_or_record_refusal(source_row)
            row_id = row["row_id"]
            earlier_line = key_lines.find_or_add_line(row_id, line)
            # Equal rows share an id that is a hash.
            has_made_id = row["input_hash"] == stored_rows.NO_HASH or self.record.has_made_key
            if earlier_line is not None and not has_made_id and not is_forgotten(row_id):
                finding = make_rejection(
                    line,
                    f"the key is already on {self.record.line_noun} {earlier_line}",
                    row_id,
                    column=", ".join(name for name, _ in self.record.key),
                    key=row_id,
                    cells=parse_stored_values(row["row"]),
                )
                row = self._record_refusal_and_make_row(finding)
                row_id = row["row_id"]
                earlier_line = key_lines.find_or_add_line(row_id, line)
                has_made_id = True

            if earlier_line is not None and has_made_id:
                repeat_counts[row_id] += 1
                row["row_id"] = f"{row_id}-{repeat_counts[row_id] + 1}"
            row["n"] = row_number
            self.report.rows = row_number
            if is_forgotten(row["row_id"]):
                self.report.forgotten += 1
            else:
                yield row

    def store_inserted_row(
        self, tx: Connection, values: Mapping[str, Any], extra_cells: Mapping[str, Any]
    ) -> _StoredRow:
        """Store a row that was just inserted into the table of the task; return the stored row.

        If the cells have new columns, or other kinds, these are recorded, and the views are made
        anew. A row with an invalid key or unsound text is stored as a refused row.

        Args:
            values: The values of the row by column.
            extra_cells: The cells that are stored beside the table.
        """
        extra_json = {EXTRA_CELLS_COLUMN: json.dumps(extra_cells)}
        (row,) = self.convert_rows([SourceRow(1, {**values, **extra_json})])
        extra_kinds = {**self.record.extra_columns, **self.extra_kinds}
        if extra_kinds != self.record.extra_columns:
            workspace.update_task_record(tx, self.record.name, extra_columns=extra_kinds)
            create_or_replace_views(tx, replace(self.record, extra_columns=extra_kinds))
        del row["n"]
        stored_rows.insert_or_replace_row(tx, self.record.name, row)
        return row

    def _inspect_images_and_update_rows(self, rows: Sequence[_StoredRow]) -> None:
        """Inspect the images of rows, change the rows accordingly, and count unusable rows.

        The input hash of a row then also covers the contents of its images. The last unusable row
        becomes the example of the report.
        """
        if self.inspect_images is None:
            return
        row_ids = [row["row_id"] for row in rows]
        last_states = self.store.query(
            stored_rows.read_image_inspections, self.record.name, row_ids
        )
        for row in rows:
            row_id = row["row_id"]
            row.update(
                self.inspect_images(parse_stored_values(row["row"]), last_states.get(row_id))
            )
            if row["unusable"] is not None:
                self.report.unusable += 1
                self.report.unusable_example = row_id, row["unusable"]

    def _record_refusal_and_make_row(self, finding: Finding) -> _StoredRow:
        """Pass a refused row to `on_refused`, count it, and return it as it will be stored.

        The report counts the row, and keeps the first thousand findings, without their cells. The
        id of the stored row is `refused:` and the first digits of a hash of its cells.
        The returned row has no number yet.
        """
        if self.on_refused is not None:
            self.on_refused(finding)
        self.report.refused += 1
        if len(self.report.findings) < MAX_KEPT_FINDINGS:
            self.report.findings.append(finding._replace(cells={}))

        refused_row = make_refused_row(finding)
        cells_hash = hash_input(refused_row.cells, list(refused_row.cells))
        return refused_row.to_columns(f"refused:{cells_hash[:_ID_HASH_DIGITS]}")

    def _convert_row_or_record_refusal(self, row: ReadRow) -> _StoredRow:
        """Return a row as it is stored, without its number.

        The columns of the task and the cells beside the table are stored, without None. A finding,
        a row with unsound text in a column that is used, and a row without a valid key are recorded
        in the report as refused; their `input_hash` is NO_HASH. If unsound text is in another
        column only, it is escaped, and the report counts it.
        """
        if isinstance(row, Finding):
            return self._record_refusal_and_make_row(row)

        record = self.record
        get_value = row.values.get
        values = {
            name: value
            if value.__class__ is str and kind != "json"
            else to_stored_value(value, kind)
            for name, kind in record.columns.items()
            if (value := get_value(name)) is not None
        }
        values |= self._parse_extra_cells_and_note_kinds(get_value(EXTRA_CELLS_COLUMN))
        try:
            json_bytes = orjson.dumps(values)
        except TypeError:
            # A text contains a lone surrogate.
            json_bytes = _ESCAPED_NUL
        if _ESCAPED_NUL in json_bytes:
            used_columns = {
                *(name for name, _ in record.key),
                *record.asked_columns,
                *record.image_columns,
                *record.required_columns,
            }
            used_values = {name: values.get(name) for name in used_columns}
            finding = find_unstorable_text(row.line_number, used_values, {})
            if finding is not None:
                return self._record_refusal_and_make_row(finding._replace(cells=values))

            finding = find_unstorable_text(row.line_number, values, {})
            if finding is not None:
                self.report.escaped[finding.column] += 1
                values = {
                    name: escape_unstorable_characters(value) if isinstance(value, str) else value
                    for name, value in values.items()
                }
                json_bytes = orjson.dumps(values)

        row_id = self._make_row_id(row.line_number, values)
        if isinstance(row_id, Finding):
            return self._record_refusal_and_make_row(row_id)

        has_no_input = has_only_blanks(values, record.image_columns or record.asked_columns)
        lacks_value = any(is_blank_cell(values.get(name)) for name in record.required_columns)
        return {
            "row_id": row_id,
            "row": json_bytes.decode(),
            "is_empty": has_no_input or lacks_value,
            "input_hash": hash_input(values, record.asked_columns),
            "seen": None,
            "unusable": None,
        }

    def _parse_extra_cells_and_note_kinds(self, cells_json: str | None) -> dict[str, Any]:
        """Return the cells beside the table as they are stored, and note their columns' kinds.

        Cells of a column of the task, or of a derived value, are left out.
        """
        values = dict[str, Any]()
        for name, cell in json.loads(cells_json or "{}").items():
            # The task may have got a column of this name since.
            if name in self.record.columns or name in self.record.derived:
                continue
            kind = merge_kinds(self.extra_kinds.get(name), find_value_kind(cell))
            self.extra_kinds[name] = kind or "text"
            values[name] = to_stored_value(cell, kind or "text")
        return values

    def _make_row_id(self, line: int, values: Mapping[str, Any]) -> str | Finding:
        """Return the id of a row, made of its key columns, or the finding that it has no id.

        The id is the text of a single column (a whole number in decimal), a JSON array of several
        columns, or the first 32 digits of a SHA-256 of all values if the task has no key columns.
        There is no id if a key column is missing or blank, or if the id is longer than
        MAX_KEY_BYTES. The finding names the column, which is the first if the id is too long.
        """
        (first_column, _), *other_columns = self.record.key
        if self.record.has_made_key:
            return hash_text(to_compact_json(values, sort=True))[:_ID_HASH_DIGITS]

        for name, _ in self.record.key:
            value = values.get(name)
            if value is None:
                return make_rejection(line, "the key is missing", "", column=name, cells=values)
            if not str(value).strip():
                return make_rejection(line, "the key is blank", value, column=name, cells=values)

        row_id = str(values[first_column])
        if other_columns:
            parts = [
                str(values[name]) if kind == "text" else values[name]
                for name, kind in self.record.key
            ]
            row_id = to_compact_json(parts)

        # The exact length is computed only if the text may be too long: a character has at most
        # four bytes.
        may_be_too_long = len(row_id) * 4 > MAX_KEY_BYTES
        if may_be_too_long and len(row_id.encode()) > MAX_KEY_BYTES:
            reason = f"the key is longer than {MAX_KEY_BYTES:,} bytes"
            key = values[first_column]
            return make_rejection(line, reason, key, column=first_column, cells=values)
        return row_id


def sync_source_and_print_report(
    row_sync: RowSync, source: RowSource, locks: Locks, display: Progress
) -> None:
    """Sync the stored rows of a task with their source, and print notes and the report.

    New rows are inserted, changed rows updated, rows that left become gone, all in one
    transaction. If the source gave only new rows, because of `cursor=`, no row becomes gone.
    The images of the rows are read and checked. Waits for the lock of the task's rows.

    Raises:
        InputError: The source cannot be read to its end; nothing is written.
    """
    record = row_sync.record
    earlier_notes = list(source.notes)
    for note in earlier_notes:
        display.say(f"{record.name}: {note}")

    with locks.wait_for_lock(f"rows-{record.name}", announce=display.say, sleep=time.sleep):
        report = row_sync.sync_rows(source, display)
        for note in source.notes[len(earlier_notes) :]:
            display.say(f"{record.name}: {note}")
        items_command = CommandHint("items", task=record.name, state="refused")
        print_sync_report(report, record, display, list_hint=f"`{items_command}` lists all")


def print_sync_report(
    report: RowSyncReport,
    record: TaskRecord,
    display: Progress,
    *,
    list_hint: str,
) -> None:
    """Print the counts of a sync, an example of an unusable row, and the first refused rows.

    The counts are a message; the rest are warnings. At most MAX_LISTED_REFUSED_ROWS refused rows
    are printed, then how many there are. Counts of 0 are not printed. Columns with escapes are
    named.

    Args:
        list_hint: Says where all refused rows are. It is printed if there are more.
    """
    if report.summary:
        display.say(f"{record.name}: {report.summary}")
    if report.unusable:
        row_key, reason = report.unusable_example
        items_command = CommandHint("items", task=record.name, state="unusable")
        display.warn(
            f"{plural(report.unusable, 'row')} of {record.name} cannot be asked about "
            f"({row_key}: {reason}); `{items_command}` lists each reason",
        )

    for column, row_count in report.escaped.items():
        display.warn(
            f"{_format_source_name(record)}, column {column!r}: NUL or invalid UTF-8 in "
            rf"{plural(row_count, 'row')} is stored as escapes such as \xa7; the column is not sent"
        )
    for finding in report.findings[:MAX_LISTED_REFUSED_ROWS]:
        display.warn(format_refused_row_message(finding, record))
    if report.refused > MAX_LISTED_REFUSED_ROWS:
        display.warn(
            f"{_format_source_name(record)}: {report.refused:,} rows are refused; {list_hint}"
        )


def format_refused_row_message(finding: Finding, record: TaskRecord) -> str:
    """Return the message that a row is refused, with its line, column, reason and key.

    No task can ask about a refused row, for example because it has no key.
    """
    location = f"{record.line_noun} {finding.line}"
    if finding.column:
        location += f", column {finding.column!r}"
    reason = finding.reason
    if finding.key:
        reason += f" ({make_excerpt(finding.key)})"
    return f"{_format_source_name(record)}, {location}: {reason}; the row is refused"


def _format_source_name(record: TaskRecord) -> str:
    return f"the query of {record.name}" if record.is_query else record.items


def find_ids_changed_in_source(
    store: Store,
    record: TaskRecord,
    last_values_by_id: Mapping[str, Mapping[str, Any]],
) -> set[str]:
    """Return the ids of rows that a task's query lacks now, or returns with other values.

    Runs the query for these ids only; writes nothing. A row that is refused now counts as changed.
    So does a row whose key column has another type than most keys, because it may not be found.

    Args:
        store: The database of the query.
        record: The task's record.
        last_values_by_id: The values of each row at the last reading, by id. Only columns that are
            asked about are compared.
    """
    asked_columns = [*record.asked_columns, *record.image_columns]
    row_sync = RowSync(store, record, record.at)
    changed_ids = set(last_values_by_id)
    for ids in split_into_pages(sorted(last_values_by_id), MAX_LOOKUP_KEYS):
        rows = query_rows_by_id(store, record, ids)
        for row in row_sync.convert_rows(rows):
            values = parse_stored_values(row["row"])
            last_values = last_values_by_id.get(row["row_id"], {})
            if all(values.get(name) == last_values.get(name) for name in asked_columns):
                changed_ids.discard(row["row_id"])
    return changed_ids
