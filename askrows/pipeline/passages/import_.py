"""Import passages from a file of any length in one transaction.

The file has JSON lines, a JSON list, CSV with a header, or Parquet. A row is
`{"id", "text", "source"?, "metadata"?}`. Other fields go into the metadata. Texts are not changed.

- A passage with concepts keeps its text, because their quotations are slices of it. A row with
  another text is rejected.
- A passage in a running request gets the new text, and its answer will not be applied.
- A parked passage is unparked if its text changes.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.passages import table
from askrows.pipeline.passages.table import OPTIONAL_COLUMNS, PassagesShape, read_shape
from askrows.pipeline.rows.cells import cell_to_text, parse_cell_if_json, parse_strict_json
from askrows.pipeline.rows.columns import ColumnLayout
from askrows.pipeline.rows.row_findings import (
    Finding,
    FindingKind,
    SoundRow,
    SourceRow,
    make_excerpt,
    make_rejection,
    parse_key_or_reason,
)
from askrows.pipeline.rows.row_import import (
    DEFAULT_IMPORT_OPTIONS,
    ImportOptions,
    ImportReport,
    MappedFile,
    WrittenRows,
    import_rows,
)
from askrows.pipeline.store.database import Connection
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

TEXT_CONFLICT_REASON = (
    "differs from the stored text, which has concepts; the stored text was not changed"
)
# Passages that are written together.
WRITE_BLOCK_ROWS = 2000
FILE_HINT = (
    'write each passage as a line {"id": "…", "text": "…", "source": "…", "metadata": {…}}, '
    "or use CSV with these columns"
)
# An index of PostgreSQL takes 2,704 bytes, and the API must return the id in a request key.
MAX_ID_CHARS = 500
PASSAGE_COLUMNS = ("id", "text", "source", "metadata")
# What a value of another type than that of its column is not.
_OPTIONAL_KINDS = {"source": (str, "not text"), "metadata": (dict, "not a JSON object")}
# In files of these formats an empty cell is a missing value.
_CELL_FORMATS = frozenset({"csv", "xlsx", "parquet"})


class PassagesFile(MappedFile):
    """The passages of one file.

    If `shape` is set, ids are returned as the id column stores them, and an id that does not fit
    the column raises an InputError. A source or metadata of None leaves the stored value alone.
    """

    layout = ColumnLayout(
        "id",
        {name: name for name in PASSAGE_COLUMNS},
        FILE_HINT,
    )
    shape: PassagesShape | None = None

    def convert_and_check_row(self, row: SourceRow) -> SoundRow | Finding:
        """Return the passage of a row, or the finding that rejects the row.

        A row is rejected if it has no id, an id of more than MAX_ID_CHARS characters, or no text.
        Fields besides id, text, source and metadata are put into the metadata. A source or metadata
        of the wrong type is dropped, with a finding in `findings`. A blank text is kept.
        If the table is known (`self.shape`) and its id column contains UUIDs, the id is spelled as
        the database returns it.

        Raises:
            InputError: The id does not fit the type or length of the id column, so no row of the
                file can be imported.
        """
        cells = row.values
        column = "id"
        cell = cells.get("id", "")
        key, reason = parse_key_or_reason(cells.get("id"), max_chars=MAX_ID_CHARS)
        text = cells.get("text")
        if not reason and not isinstance(text, str):
            column = "text"
            cell = text or ""
            reason = "missing" if text is None else "not text"
        if reason:
            return make_rejection(row.line_number, reason, cell, column=column, key=key or None)

        values: dict[str, Any] = {
            "text": text,
            "source": cells.get("source"),
            "metadata": self._parse_metadata_cell_or_keep(cells.get("metadata")),
        }
        changes: list[Finding] = []
        for name, (kind, fault) in _OPTIONAL_KINDS.items():
            value = values[name]
            if value is None or isinstance(value, kind):
                continue
            reason = f"{fault}; left empty"
            excerpt = make_excerpt(value)
            changes.append(
                Finding(row.line_number, name, reason, excerpt, FindingKind.CHANGED, key)
            )
            values[name] = None
        # The other cells go into the metadata.
        other_fields = {name: cell for name, cell in cells.items() if name not in PASSAGE_COLUMNS}
        if other_fields:
            values["metadata"] = {**other_fields, **(values["metadata"] or {})}

        if self.shape is not None:
            key = _fit_key(self.shape, key, row.line_number)
        return SoundRow(key, values, row.line_number, tuple(changes))

    def _parse_metadata_cell_or_keep(self, metadata: object) -> object:
        """Return metadata as a JSON value.

        Only a text in a file with cells (CSV, .xlsx, Parquet) is parsed; a blank text becomes None.
        A text that is not JSON, or has an escaped NUL, is not changed.
        """
        if not isinstance(metadata, str) or self.format not in _CELL_FORMATS:
            return metadata
        if "\\u0000" in metadata:
            return metadata
        if not metadata.strip():
            return None
        try:
            return parse_strict_json(metadata)
        except ValueError:
            return metadata


def import_passages(
    workspace: OpenWorkspace,
    path: Path,
    options: ImportOptions = DEFAULT_IMPORT_OPTIONS,
) -> ImportReport:
    """Import the passages in a file, in one transaction, and return a report.

    A report is also returned if no passage was imported; its `require_imported_row` raises in that
    case. A note in it names columns that the table lacks. A dry import only checks and counts; it
    works without tables of passages. Any task may be in use.

    Raises:
        InputError: The file cannot be read, an id does not fit the id column, or the list of
            findings cannot be written. The database is unchanged.
    """
    file = PassagesFile(path, options)
    shape = workspace.store.query(read_shape, passages=workspace.settings.passages_table)
    file.shape = shape

    report = import_rows(
        workspace,
        file,
        write=partial(_write_passages_without_conflict, shape),
        task=table.TASK,
        max_page_rows=WRITE_BLOCK_ROWS,
    )

    missing_columns = [f"`{name}`" for name in OPTIONAL_COLUMNS if name not in shape.value_columns]
    if missing_columns:
        report.notes.append(
            f"`{shape.passages.name}` has no column {' and no column '.join(missing_columns)}; "
            "their values are not stored",
        )
    return report


def _fit_key(shape: PassagesShape, key: str, line: int) -> str:
    """Return an id as the id column of passages stores it.

    Raises:
        InputError: The id does not fit the type of the column.
    """
    stored_key = shape.ids.to_stored_row_id(key)
    if stored_key is not None:
        return stored_key

    raise InputError(
        f"line {line}: the id {make_excerpt(key)!r} does not fit the column `id` of "
        f"`{shape.passages.name}`, which accepts {shape.ids.kind}; nothing was written",
        hint=f"change the ids in the file, or set another table by {OptionHint('passages_table')}",
    )


def _write_passages_without_conflict(
    shape: PassagesShape,
    tx: Connection,
    passages: Sequence[SoundRow],
    is_dry: bool,  # noqa: FBT001 - called by `import_rows`
) -> WrittenRows:
    """Insert and update a block of passages; a dry import only counts.

    A passage whose text differs and that has concepts is rejected. A source or metadata of None
    keeps the stored value, and an equal passage is not written. Runs in the caller's transaction.

    Returns:
        The number of new and of changed passages, the ids of stored passages whose text changed,
        and the findings of rejected passages.
    """
    task_rows = table.make_passage_rows(shape)
    stored_rows: Mapping[str, Mapping[str, Any]] = {}
    if shape.passages.name not in shape.missing:
        stored_rows = task_rows.read_rows(
            tx,
            [passage.key for passage in passages],
            shape.value_columns,
        )

    new_rows = list[Mapping[str, Any]]()
    changed_rows = dict[str, Mapping[str, Any]]()
    changed_text_ids = list[str]()
    for passage in passages:
        stored_row = stored_rows.get(passage.key)
        if stored_row is None:
            new_rows.append({"id": passage.key, **passage.values})
            continue
        stored_values = {
            **stored_row,
            "text": cell_to_text(stored_row["text"]),
            "metadata": parse_cell_if_json(stored_row.get("metadata")),
        }
        # What the file lacks stays as stored.
        values = {
            name: stored_values[name] if passage.values[name] is None else passage.values[name]
            for name in shape.value_columns
        }
        if any(value != stored_values[name] for name, value in values.items()):
            changed_rows[passage.key] = {"id": passage.key, **values}
        if values["text"] != stored_values["text"]:
            changed_text_ids.append(passage.key)

    conflicting_ids: set[str] = set()
    if shape.concepts.name not in shape.missing:
        has_concepts = table.has_concepts(shape, None)
        conflicting_ids = task_rows.filter_ids(tx, changed_text_ids, has_concepts)
    written_rows = [row for key, row in changed_rows.items() if key not in conflicting_ids]
    if not is_dry:
        table.store_passages(tx, shape, new_rows, written_rows)
    conflicts = [_text_conflict(passage) for passage in passages if passage.key in conflicting_ids]
    asked_ids = [key for key in changed_text_ids if key not in conflicting_ids]
    return WrittenRows(len(new_rows), len(written_rows), asked_ids, conflicts)


def _text_conflict(passage: SoundRow) -> Finding:
    return make_rejection(
        passage.line_number,
        TEXT_CONFLICT_REASON,
        passage.values["text"],
        column="text",
        key=passage.key,
        cells={"id": passage.key, **passage.values},
    )
