"""Import people from a CSV, .xlsx, JSON, JSON lines or Parquet file, in one transaction.

- All valid rows are imported, or none if the file cannot be read.
- Formulas, HTML, odd URLs, any script, emoji and control characters are stored unchanged.
- A row with bad bytes, NUL or no usable username is rejected. A value of the wrong kind is dropped
  or altered, with a finding.
- If several rows have the same username, the first is imported. The comparison ignores case and the
  form of accents: stored usernames are exact keys, but within one file such rows are almost surely
  the same person, and asking twice costs money.
- Unknown columns are stored beside the table, under their own names, and are exported again.
- Tags are never written. A parked person with a new biography is asked again. A tagged person with
  a new biography becomes stale.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.text import join_first, plural
from askrows.pipeline.experts import table
from askrows.pipeline.experts.person_rows import (
    EXPECTED_HEADERS,
    LAYOUT,
    filter_export_columns,
    read_person_row,
)
from askrows.pipeline.experts.table import HEADERS, USERNAME
from askrows.pipeline.rows.cells import parse_json, parse_number, stripped_text
from askrows.pipeline.rows.columns import ColumnMapping
from askrows.pipeline.rows.row_findings import Finding, SoundRow, SourceRow, make_excerpt
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

# People per write.
PEOPLE_PER_WRITE = 500
# Usernames that a note lists.
MAX_LISTED_USERNAMES = 3
# Column names that a note lists.
MAX_LISTED_COLUMNS = 10


# ---- validate the cells of a row


# ---- read a file, or a JSON document


class PeopleFile(MappedFile):
    """A file of people with its columns mapped to those of the table."""

    layout = LAYOUT

    def check_row(self, row: SourceRow) -> SoundRow | Finding:
        """Return the person that a row describes, or the finding that rejects the row."""
        return read_person_row(row)

    def fold_key(self, key: str) -> str:
        """Return a username in the form that equal usernames of one file share.

        The form ignores case and the encoding of accents.
        """
        return unicodedata.normalize("NFC", key).casefold()


def _describe_other_columns(mapping: ColumnMapping) -> Iterator[str]:
    """Yield notes on the columns of a file that are not columns of people.

    A note lists the columns that are only stored, and another note those that are ignored. Ignored
    are columns that MAP= leaves out, and columns that our own export added.
    """
    export_columns = filter_export_columns((*mapping.kept_names, *mapping.ignored_names))
    stored_columns = [name for name in mapping.kept_names if name not in export_columns]
    ignored_columns = {*mapping.ignored_names, *export_columns}
    if stored_columns:
        yield (
            f"other columns, stored for exports and {OptionHint('where')}: "
            f"{_list_columns(stored_columns)}; {OptionHint('index_columns')} searches them"
        )
    if ignored_columns:
        edits = CommandHint("correct", row="…")
        yield (
            f"columns ignored: {_list_columns(sorted(ignored_columns))}; `{edits}` changes the "
            "tags of a person"
        )


def _list_columns(names: Sequence[str]) -> str:
    return join_first([make_excerpt(name) for name in names], MAX_LISTED_COLUMNS)


def read_person(
    data: bytes,
    column_map: Mapping[str, str],
    *,
    document_name: str,
) -> tuple[SoundRow, list[str]]:
    """Return the person in a JSON document, and notes to print about it; store nothing.

    Args:
        data: The document: a JSON object.
        column_map: Names in the document by column, from MAP=.
        document_name: File name of the document, or "-" for standard input.

    Raises:
        InputError: The document is not a JSON object, or an import would reject the person. The
            error names the field. MAP= names an unknown column or name.
    """
    source_name = "standard input" if document_name == "-" else document_name
    try:
        document = parse_json(data.decode("utf-8-sig", "surrogateescape"))
    except ValueError as error:
        raise _refuse(source_name, str(error)) from None

    if not isinstance(document, dict):
        raise _refuse(source_name, "not a JSON object")

    mapping = ColumnMapping(list(document), column_map, layout=LAYOUT, path=Path(source_name))
    mapped_row = mapping.map_row(SourceRow(1, document))
    person = mapped_row if isinstance(mapped_row, Finding) else read_person_row(mapped_row)
    if isinstance(person, Finding):
        found_value = f" (found {person.value!r})" if person.value else ""
        reason = f"{person.column}: {person.reason}{found_value}"
        raise _refuse(source_name, reason, field=_column_of(person.column))

    return person, [*mapping.notes, *_describe_other_columns(mapping)]


def _refuse(source_name: str, reason: str, *, field: str = "") -> InputError:
    hint = f"write a JSON object with the keys {EXPECTED_HEADERS}"
    return InputError(f"{source_name}: {reason}; nothing was stored", hint=hint, field=field)


def _column_of(header: str) -> str:
    """Return the table column of a header, or ""."""
    columns = (column for column, column_header in HEADERS.items() if column_header == header)
    return next(columns, "")


def refuse_altered_values(person: SoundRow, *, name: str) -> None:
    """Refuse a person if any value would be stored altered.

    Args:
        person: Person of `read_person`.
        name: Name of the document in the message.

    Raises:
        InputError: A value would be changed or dropped; the error names the first.
    """
    for change in person.findings:
        reason = change.reason.removesuffix("; stored without a rate")
        raise InputError(
            f"{name}: {change.column}: {reason} ({change.value}); nothing was stored",
            hint=f"correct {change.column} in the document, or remove it",
            field=_column_of(change.column),
        )


# ---- write the people of a file


def import_people_file(
    workspace: OpenWorkspace,
    path: Path,
    options: ImportOptions = DEFAULT_IMPORT_OPTIONS,
) -> ImportReport:
    """Import the people in a file, in one transaction.

    Adds a note to the report if stored people are not in the file. A dry import writes nothing.

    Returns:
        The report, even if no row was imported; `ImportReport.check` then raises an error.

    Raises:
        InputError: The file cannot be read as people, or the report cannot be written. Nothing was
            changed.
    """
    file = PeopleFile(path, options)
    report = import_rows(
        workspace,
        file,
        write=_write_people,
        task=table.TASK,
        max_page_rows=PEOPLE_PER_WRITE,
        list_gone=partial(_find_gone_usernames, file),
    )
    report.notes += _describe_other_columns(file.mapping)
    if report.gone:
        report.notes.append(_describe_gone_people(path, report))
    return report


def _find_gone_usernames(
    file: PeopleFile,
    tx: Connection,
    report: ImportReport,
) -> Iterator[str]:
    """Yield the usernames of stored people whom the file does not name.

    A rejected row of the file names its person, too. If the file names no person who was stored
    before, nothing is yielded: the file is then an addition, not a newer version of the stored
    list. If the table has only as many people as the import counted (added, updated and unchanged),
    nobody is gone, and the table is not read.

    Args:
        file: The file, which was read to its end.
        tx: The transaction of the import.
        report: The report, with the counts of the import.
    """
    stored_before = report.updated + report.unchanged
    if not stored_before:
        return
    expected_total = stored_before + (0 if report.dry else report.added)
    if table.people_table(tx).count_rows(tx) == expected_total:
        return

    for (cell,) in table.people_table(tx).read_cells(tx, (USERNAME,)):
        username = stripped_text(cell)
        if not file.has_key(username):
            yield username


def _describe_gone_people(path: Path, report: ImportReport) -> str:
    """Return a note on people of earlier files who are not in this file, with commands.

    The commands list these people in a file, and delete them.
    """
    usernames = join_first(report.gone_keys, MAX_LISTED_USERNAMES)
    list_file = report.report or "gone.csv"
    list_command = CommandHint("import", experts=path, dry=True, report=list_file)
    return (
        f"{path} lacks {plural(report.gone, 'person', 'people')} from earlier files "
        f"({usernames}); nobody was deleted; {list_command} lists them in {list_file}, and "
        f"{CommandHint('forget', file=list_file)} deletes them"
    )


def _write_people(
    tx: Connection,
    people: Sequence[SoundRow],
    is_dry: bool,  # noqa: FBT001 - called by `import_rows`
) -> WrittenRows:
    """Insert new people, update changed people, and store other cells; a dry import only counts.

    Tags are never written; an updated person gets a new score. Runs in the caller's transaction.
    """
    stored_rows = _read_stored_rows(tx, people)
    new_people = [person for person in people if person.key not in stored_rows]
    if not is_dry:
        table.insert_people(tx, [(person.key, person.values) for person in new_people])

    updated_usernames = _write_extra_cells(tx, people, stored_rows, dry=is_dry)
    new_bio_ids: list[str] = []
    for person in people:
        row = stored_rows.get(person.key, {})
        values = _find_changed_values(tx, person, row)
        if not values:
            continue
        if not is_dry:
            table.update_person(tx, row, values)
        updated_usernames.add(person.key)
        if values.get("bio"):
            new_bio_ids.append(str(row["id"]))

    return WrittenRows(len(new_people), len(updated_usernames), new_bio_ids)


def _find_changed_values(
    tx: Connection,
    person: SoundRow,
    row: Mapping[Any, Any],
) -> dict[str, str | float | None]:
    """Return the values of a person that differ from the stored row; none if the row is empty."""
    if not row:
        return {}
    stored_values = table.to_stored_values(tx, person.values)
    return {
        column: value
        for column, value in person.values.items()
        if _comparable(column, stored_values[column]) != _comparable(column, row[column])
    }


def _write_extra_cells(
    tx: Connection,
    people: Sequence[SoundRow],
    stored_rows: Mapping[str, Mapping[Any, Any]],
    *,
    dry: bool,
) -> set[str]:
    """Store the cells of columns that are not columns of people; a dry import only compares them.

    People without such cells are skipped.

    Args:
        tx: Transaction in which new people are already inserted, unless the import is dry.
        people: People of the file.
        stored_rows: Rows of the people who were stored before, by username.
        dry: Nothing is written.

    Returns:
        Usernames of the people in `stored_rows` whose cells differ.
    """
    people_with_cells = [person for person in people if person.extra_cells]
    rows = dict(stored_rows)
    if not dry:
        new_people = [person for person in people_with_cells if person.key not in stored_rows]
        if new_people:
            rows |= _read_stored_rows(tx, new_people)

    cells_by_person = []
    for person in people_with_cells:
        if person.key in rows:
            row = rows[person.key]
            cells_by_person.append(
                (str(row["id"]), stripped_text(row[USERNAME]), person.extra_cells),
            )
    changed_ids = table.store_extra_cells(tx, cells_by_person, dry=dry)
    return {username for username, row in stored_rows.items() if str(row["id"]) in changed_ids}


def _read_stored_rows(tx: Connection, people: Sequence[SoundRow]) -> dict[str, Mapping[Any, Any]]:
    """Return the stored rows of people by username, spelled as in the file, without new people.

    If the username column of an adopted table ignores case, a stored username in another case is
    a match, too, because the database would refuse to insert the person. An exact match takes
    precedence.
    """
    usernames = {person.key for person in people}
    rows = table.read_rows_by_username(tx, list(usernames))
    rows_by_folded_name = {
        username.casefold(): row for username, row in rows.items() if username not in usernames
    }

    folded_rows = {
        username: rows_by_folded_name[username.casefold()]
        for username in usernames
        if username.casefold() in rows_by_folded_name
    }
    exact_rows = {username: row for username, row in rows.items() if username in usernames}
    return folded_rows | exact_rows


def _comparable(column: str, cell: Any) -> str | float | None:
    """Return a cell in a form in which equal contents are equal, whatever the column's type."""
    if column == "hourly_rate":
        return parse_number(cell)
    return stripped_text(cell) or None
