"""Read the rows of a file by the columns of a layout, with a finding for each faulty row.

A layout lists the columns that a task imports. The key column identifies a row: the first valid row
of a key is imported, and later ones are rejected. A finding describes why a row is rejected.
"""

import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Self

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import DEFAULT_READ_OPTIONS, ReadOptions
from pipeline.core.errors import InputError
from pipeline.tables.columns import (
    ColumnLayout,
    ColumnMapping,
    fold_name,
    list_names,
    make_map_option,
    parse_map,
)
from pipeline.tables.row_findings import (
    Finding,
    SoundRow,
    SourceRow,
    make_excerpt,
    make_rejection,
)
from pipeline.tables.row_import import ImportOptions, ReportT, report_interrupt
from pipeline.tables.source import SourceFile

# Precedes the key of a rejected row. No key contains NUL.
_REJECTED_PREFIX = "\0"
# Keys of earlier rows with their lines, in a temporary file: 60 bytes a key, constant memory.
_SEEN_KEYS_SCHEMA = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE seen (key TEXT PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID; BEGIN
"""
_INSERT_SEEN_KEY = "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING"


class MappedFile(SourceFile):
    """A file whose rows are read by the columns of a layout. Each `iter` reads the file again."""

    layout: ClassVar[ColumnLayout]

    def __init__(
        self,
        path: Path,
        map_names: Mapping[str, str] | None = None,
        options: ReadOptions = DEFAULT_READ_OPTIONS,
    ) -> None:
        """Detect the format of the file, and match its names.

        The key column, and columns that occur twice, are checked in all formats but JSON, whose
        objects can each have other names.

        Args:
            path: The file.
            map_names: Names in the file by column, from MAP=.
            options: How to read the file.

        Raises:
            InputError: The file cannot be read, MAP= does not fit the file, or a table has no key
                column or has a column twice.
        """
        layout = self.layout
        map_names = map_names or {}
        super().__init__(
            path,
            layout.file_hint,
            layout.default_format,
            max_line_chars=layout.max_line_chars,
            options=options,
            is_known_column=lambda name: fold_name(name) in layout.columns_by_known_name,
        )
        self.mapping = ColumnMapping(self.names, map_names, layout=layout, path=path)
        self.notes += self.mapping.notes
        # Objects of JSON can each have other names.
        if self.format not in {"json", "jsonl"}:
            self._check_key_column(path, map_names)
            self._check_no_column_twice(path)

    def _check_key_column(self, path: Path, map_names: Mapping[str, str]) -> None:
        """Raise InputError if no name in the file means the key column.

        If a name in the file is similar, the hint is the import command with a MAP= that assigns
        this name to the key column.

        Args:
            path: The file.
            map_names: Names in the file by column, from MAP=, which the hint repeats.
        """
        layout = self.layout
        if self.mapping.find_file_name(layout.key):
            return

        option = OptionHint(map=f"{layout.key}=…")
        ask_command = CommandHint("ask", from_=path, q="What is it about?")
        hint = f"name the column with {option}; for a table of another kind, use `{ask_command}`"
        similar_name = self.mapping.similar_names.get(layout.key)
        if similar_name:
            map_value = make_map_option({**map_names, layout.key: similar_name}).value
            hint = str(
                CommandHint(
                    layout.import_command,
                    **{layout.import_option: path, "map": map_value},
                ),
            )

        raise InputError(
            f"{path} has no {layout.columns[layout.key]} column; nothing was imported. "
            f"Found: {make_excerpt(list_names(self.names))}",
            hint=hint,
        )

    def _check_no_column_twice(self, path: Path) -> None:
        """Raise InputError if two names in the file mean the same column, or are equal."""
        value_names = Counter(self.mapping.value_name(name) for name in self.names if name)
        repeated_names = (
            name for name, count in value_names.items() if name is not None and count > 1
        )
        repeated_name = next(repeated_names, "")
        if repeated_name:
            label = self.layout.columns.get(repeated_name, repeated_name)
            raise InputError(
                f"{path} has the column {label} more than once; nothing was imported",
                hint="remove or rename one of these columns",
            )

    @classmethod
    def check(cls, path: Path, options: ImportOptions) -> None:
        """Check that a file can be read, and has a row or a finding. Stores nothing.

        Raises:
            InputError: The file cannot be read, or has neither a valid nor a rejected row.
            KeyboardInterrupt: The check was interrupted.
        """
        with report_interrupt():
            file = cls(path, parse_map(options.mapping), options.reading)
            if next(iter(file), None) is None:
                raise InputError(
                    f"{path}: no row could be imported; nothing was changed",
                    hint="the file has no rows; add rows below the header",
                )

    @classmethod
    def open_for_import(
        cls,
        path: Path,
        options: ImportOptions,
        report_class: type[ReportT],
    ) -> tuple[Self, ReportT]:
        """Open a file for an import, and return (file, new report). No rows are imported.

        The report has the options of the import, the matched columns, and the file's format and
        encoding. Its list `notes` is that of the file, so notes that are added to the file during
        reading are in the report, too.

        Raises:
            InputError: The file cannot be read; see `__init__`.
            KeyboardInterrupt: The opening was interrupted; the message says that nothing was
                imported.
        """
        with report_interrupt():
            file = cls(path, parse_map(options.mapping), options.reading)

        report_path = str(options.report) if options.report else None
        report = report_class(
            str(path),
            report_path,
            options.dry,
            options.strict,
            file.mapping.describe_columns(),
            format=file.format,
            encoding=file.encoding,
            notes=file.notes,
        )
        return file, report

    def check_row(self, row: SourceRow) -> SoundRow | Finding:
        """Return a row by column as it is imported, or the finding that rejects it."""
        raise NotImplementedError

    def fold_key(self, key: str) -> str:
        """Return a text that is equal for keys that count as the same, such as spellings."""
        return key

    def final_notes(self) -> Iterator[str]:
        """Yield notes that are known after the whole file was read."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[SoundRow | Finding]:
        """Yield each row as it is imported, or the finding that rejects it, in the file's order.

        A row is mapped to columns, checked by `check_row`, and compared with the keys before it. If
        several valid rows have the same key, only the first is imported. A finding that rejects a
        row contains its cells. Adds the final notes at the end.

        Raises:
            InputError: The file cannot be read; see `SourceFile.read_rows`.
        """
        self._seen_keys = sqlite3.connect("", isolation_level=None)
        weakref.finalize(self, self._seen_keys.close)
        self._seen_keys.executescript(_SEEN_KEYS_SCHEMA)

        for row in self.read_rows():
            mapped_row = row if isinstance(row, Finding) else self.mapping.map_row(row)
            outcome = mapped_row if isinstance(mapped_row, Finding) else self.check_row(mapped_row)
            outcome = self._register_key(outcome)
            if isinstance(outcome, Finding) and isinstance(row, SourceRow):
                source_row = mapped_row if isinstance(mapped_row, SourceRow) else row
                outcome = outcome._replace(cells=source_row.values)
            yield outcome
        self.notes += self.final_notes()

    def _register_key(self, outcome: SoundRow | Finding) -> SoundRow | Finding:
        """Return a row or finding unchanged, or reject a row whose key an earlier row has.

        Only valid rows count as earlier rows: after a rejected row, a row with its key is accepted.
        The keys of valid rows, and of findings that have a key, are stored in a temporary file,
        where `has_key` looks for them.
        """
        if isinstance(outcome, Finding):
            if outcome.key:
                rejected_key = _REJECTED_PREFIX + self.fold_key(outcome.key)
                self._seen_keys.execute(_INSERT_SEEN_KEY, (rejected_key, outcome.line))
            return outcome

        identity = self.fold_key(outcome.key)
        if self._seen_keys.execute(_INSERT_SEEN_KEY, (identity, outcome.line_number)).rowcount:
            return outcome

        query = "SELECT line FROM seen WHERE key = ?"
        (first_line,) = self._seen_keys.execute(query, (identity,)).fetchone()
        key_column = self.layout.key
        return make_rejection(
            outcome.line_number,
            f"duplicate {key_column}: already on line {first_line}",
            outcome.key,
            column=self.layout.columns[key_column],
            key=outcome.key,
        )

    def has_key(self, key: str) -> bool:
        """Return whether the last `iter` read a row with this key, imported or rejected."""
        identity = self.fold_key(key)
        query = "SELECT 1 FROM seen WHERE key IN (?, ?)"
        keys = (identity, _REJECTED_PREFIX + identity)
        return self._seen_keys.execute(query, keys).fetchone() is not None
