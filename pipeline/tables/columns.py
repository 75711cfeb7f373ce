"""Map the names in a file to the columns of a task.

A name is matched in this order:

1. MAP= names it.
2. It is a column's own name or label.
3. It is in `column_names.toml`, which lists names in a dozen languages.

Names are compared by their letters and digits only. A name that is merely similar to a known name
is not matched; a note shows the MAP= that would match it.
"""

import csv
import io
import sqlite3
import tomllib
import unicodedata
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import DEFAULT_READ_OPTIONS, ReadOptions
from pipeline.core.errors import InputError
from pipeline.tables.row_findings import (
    Finding,
    SoundRow,
    SourceRow,
    find_unsound_text,
    make_excerpt,
    make_rejection,
)
from pipeline.tables.row_import import ImportOptions, ReportT, report_interrupt
from pipeline.tables.source_file import MAX_LINE_CHARS, SourceFile

# Share of common letters, in percent, from which two names are similar.
_MIN_SIMILARITY = 80
_MAX_LISTED_NAMES = 12
_COLUMN_NAMES_TOML = Path(__file__).with_name("column_names.toml").read_text(encoding="utf-8")
# Other names of columns in files, by column.
KNOWN_COLUMN_NAMES: Mapping[str, Sequence[str]] = tomllib.loads(_COLUMN_NAMES_TOML)
# Letters that Unicode does not decompose into an ASCII letter and an accent. U+0131 is a dotless i.
_LETTER_REPLACEMENTS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"},
)


@lru_cache(maxsize=4096)
def fold_name(name: str) -> str:
    """Return the letters and digits of a name in lower case and without accents.

    For example, `E-Mail` becomes `email`.
    """
    replaced = name.casefold().translate(_LETTER_REPLACEMENTS)
    decomposed = unicodedata.normalize("NFKD", replaced).casefold()
    return "".join(letter for letter in decomposed if letter.isalnum())


@dataclass(frozen=True)
class ColumnLayout:
    """Columns that the import of a task reads. Other columns are kept under their own names."""

    # Column that every row must have.
    key: str
    # Labels for messages, by column.
    columns: Mapping[str, str]
    # Hint on the expected file, for errors.
    file_hint: str
    # Command that imports such a file, and its option for the file, for hints.
    import_command: str
    import_option: str
    # Format of a file whose name does not show the format.
    default_format: str = "csv"
    # Most characters of a line.
    max_line_chars: int = MAX_LINE_CHARS
    # Columns that are kept under their name in the file, too, if the file calls them by a name
    # from `column_names.toml`.
    columns_kept_twice: frozenset[str] = frozenset()

    @cached_property
    def columns_by_own_name(self) -> dict[str, str]:
        """Return the columns by their names and labels, folded."""
        columns: dict[str, str] = {}
        for column, label in self.columns.items():
            columns[fold_name(column)] = column
            columns[fold_name(label)] = column
        return columns

    @cached_property
    def columns_by_known_name(self) -> dict[str, str]:
        """Return the columns by all their names, folded; own names take precedence."""
        columns: dict[str, str] = {}
        for column in self.columns:
            for name in KNOWN_COLUMN_NAMES.get(column, ()):
                columns[fold_name(name)] = column
        return columns | self.columns_by_own_name


class ColumnMapping:
    """Mapping of the names in a file to the columns of a layout.

    Attributes:
        layout: The columns of the task.
        notes: Lines for the user on matched, ambiguous and similar names.
        ignored_names: Names in the rows read before whose values are ignored, in their order.
        kept_names: Names in the rows read before whose values are kept under these names.
        similar_names: Names that are similar to a name of a column without a match, by column.
    """

    def __init__(
        self,
        names: Sequence[str],
        map_names: Mapping[str, str],
        *,
        layout: ColumnLayout,
        path: Path,
    ) -> None:
        """Match the names of a file, and add notes on names that were matched or look similar.

        MAP= comes first, then a column's own name and label, then a known name.

        Args:
            names: The names in the file, in their order.
            map_names: Names in the file by column, from MAP=. A column with an empty name is not
                read.
            layout: The columns of the task.
            path: The file, for messages.

        Raises:
            InputError: MAP= names an unknown column or name, or one of them twice.
        """
        self.layout = layout
        self.notes = list[str]()
        self.ignored_names = dict[str, None]()
        self.kept_names = dict[str, None]()
        self.similar_names = dict[str, str]()
        self._file_names = list(dict.fromkeys(filter(None, names)))

        chosen_names = _check_chosen_names(self._file_names, map_names, layout=layout, path=path)
        self._columns_by_name = {name: column for column, name in chosen_names.items() if name}
        # Also matches names that appear in later rows only.
        self._columns_by_own_name = {
            folded_name: column
            for folded_name, column in layout.columns_by_own_name.items()
            if column not in chosen_names
        }
        self._add_note(f"matched by {OptionHint('map')}", self._columns_by_name)

        unmatched_columns = [
            column
            for column in layout.columns
            if column not in chosen_names and not self.find_file_name(column)
        ]
        self._match_known_names(unmatched_columns)
        self._note_similar_names(
            [column for column in unmatched_columns if not self.find_file_name(column)],
        )

    def _match_known_names(self, columns: Sequence[str]) -> None:
        """Match each of these columns if a single name in the file is a known name of it.

        A note lists the matched names. If several names could be matched, no name is matched, and a
        note shows the MAP= to use.
        """
        columns_by_name: dict[str, str] = {}
        for column in columns:
            matching_names = [
                name
                for name in self._file_names
                if self.layout.columns_by_known_name.get(fold_name(name)) == column
                and name not in self._columns_by_name
            ]
            if len(matching_names) == 1:
                columns_by_name[matching_names[0]] = column
            elif matching_names:
                quoted_names = " and ".join(repr(make_excerpt(name)) for name in matching_names)
                option = _map_option({column: matching_names[0]})
                label = self.layout.columns[column]
                self.notes.append(
                    f"{quoted_names} both mean {label}: add {option} to use the first",
                )

        self._columns_by_name |= columns_by_name
        self._add_note("matched by other names", columns_by_name)

    def _note_similar_names(self, columns: Sequence[str]) -> None:
        """Note the names in the file that are similar to a name of one of these columns.

        Only names are noted that mean no column. Only the first similar name of a column is noted,
        and put into `similar_names`. Nothing is matched.
        """
        columns_by_known_name = {
            name: column
            for name, column in self.layout.columns_by_known_name.items()
            if column in columns
        }
        known_names = list(columns_by_known_name)
        for name in self._file_names:
            if self.find_column(name) is not None:
                continue
            similar_name = _find_most_similar(
                fold_name(name),
                known_names,
                min_similarity=_MIN_SIMILARITY,
            )
            if not similar_name:
                continue
            column = columns_by_known_name[similar_name]
            if self.similar_names.setdefault(column, name) == name:
                label = self.layout.columns[column]
                option = _map_option({column: name})
                self.notes.append(
                    f"column {make_excerpt(name)!r} looks like {label}: add {option} to use it",
                )

    def _add_note(self, reason: str, columns_by_name: Mapping[str, str]) -> None:
        """Add a note that lists matched names, if there are any."""
        pairs = [
            f"{make_excerpt(name)} → {self.layout.columns[column]}"
            for name, column in columns_by_name.items()
        ]
        if pairs:
            self.notes.append(f"columns {reason}: {', '.join(pairs)}")

    def find_column(self, name: str) -> str | None:
        """Return the column of the layout that a name in the file means, or None."""
        return self._columns_by_name.get(name) or self._columns_by_own_name.get(fold_name(name))

    def value_name(self, name: str) -> str | None:
        """Return the name under which values of a name in the file are kept.

        Returns:
            The layout's column; or the name itself if it means no column; or None if the values are
            ignored, because MAP= assigns another name or no name to the column that the name means.
        """
        column = self.find_column(name)
        if column is None and fold_name(name) not in self.layout.columns_by_own_name:
            return name
        return column

    def find_file_name(self, column: str) -> str:
        """Return the first name in the file that means a column, or ""."""
        return next((name for name in self._file_names if self.find_column(name) == column), "")

    def describe_columns(self) -> list[dict[str, str]]:
        """Return the column, label and name in the file of each column, for reports."""
        return [
            {"column": column, "label": label, "name": self.find_file_name(column)}
            for column, label in self.layout.columns.items()
        ]

    def map_row(self, row: SourceRow) -> SourceRow | Finding:
        """Return a row with its values by column, or the finding that rejects it.

        A name that means no column of the layout is kept under its own name, and is added to
        `kept_names`. A name of a column that MAP= assigns to another name is skipped, and is added
        to `ignored_names`. A column of `columns_kept_twice` is also kept under the file's name if
        that is not its own name. A row is rejected if two of its names mean the same column, even
        with equal or blank values, or if it has text that cannot be stored.
        """
        values: dict[str, Any] = {}
        for name, cell in row.values.items():
            value_name = self.value_name(name)
            if value_name is None:
                self.ignored_names[name] = None
            elif value_name in values:
                label = self.layout.columns.get(value_name, value_name)
                return make_rejection(
                    row.line_number,
                    "given twice, by two spellings",
                    cell,
                    column=label,
                )
            else:
                values[value_name] = cell
                if value_name not in self.layout.columns:
                    self.kept_names[name] = None

            should_keep_file_name = value_name in self.layout.columns_kept_twice
            if should_keep_file_name and fold_name(name) not in self.layout.columns_by_own_name:
                values[name] = cell

        key = values.get(self.layout.key)
        finding = find_unsound_text(row.line_number, values, self.layout.columns, key=key)
        return finding or SourceRow(row.line_number, values)


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

        The hint shows the import with the MAP= of a similar name, if there is one.
        """
        layout = self.layout
        if self.mapping.find_file_name(layout.key):
            return

        option = OptionHint(map=f"{layout.key}=…")
        ask_command = CommandHint("ask", from_=path, q="…")
        hint = f"name the column with {option}; for a table of another kind, use `{ask_command}`"
        similar_name = self.mapping.similar_names.get(layout.key)
        if similar_name:
            map_value = _map_option({**map_names, layout.key: similar_name}).value
            hint = str(
                CommandHint(
                    layout.import_command,
                    **{layout.import_option: path, "map": map_value},
                ),
            )

        raise InputError(
            f"{path} has no {layout.columns[layout.key]} column; nothing was imported. "
            f"Found: {make_excerpt(_list_names(self.names))}",
            hint=hint,
        )

    def _check_no_column_twice(self, path: Path) -> None:
        """Raise InputError if two names in the file mean the same column, or are equal."""
        value_names = [self.mapping.value_name(name) for name in self.names if name]
        repeated_names = (
            name for name in value_names if name is not None and value_names.count(name) > 1
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
        """Open a file for an import, and return it with a new report. No rows are imported.

        The report has the options of the import, the matched columns, and the file's format and
        encoding. It has the list `notes` of the file itself, so notes that are added during reading
        are in the report, too.

        Raises:
            InputError: The file cannot be read; see `__init__`.
            KeyboardInterrupt: The opening was interrupted.
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
        )
        report.format = file.format
        report.encoding = file.encoding
        report.notes = file.notes
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
                source_row = row
                if isinstance(mapped_row, SourceRow):
                    source_row = mapped_row
                outcome = outcome._replace(cells=source_row.values)
            yield outcome
        self.notes += self.final_notes()

    def _register_key(self, outcome: SoundRow | Finding) -> SoundRow | Finding:
        """Store the key of a row or finding, and return it.

        A row with the key of an earlier valid row gives the finding for a repeated key instead. The
        key of a rejected row does not count as a repetition.
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


def parse_map(text: str) -> dict[str, str]:
    """Parse the value of MAP=, such as `bio=Kurzbiografie,username=Mail`.

    A pair that contains a comma is in quotation marks, as in CSV. Blank pairs are skipped. The last
    of two pairs of a column counts.

    Returns:
        Names in the file by column, both unchecked; the name is empty in `bio=`.

    Raises:
        InputError: A pair has no equals sign or no column.
    """
    pairs = next(csv.reader(io.StringIO(text), skipinitialspace=True), [])
    names: dict[str, str] = {}
    for pair in filter(str.strip, pairs):
        column, equals_sign, name = pair.partition("=")
        if not equals_sign or not column.strip():
            example = OptionHint(map="bio=Kurzbiografie,username=Mail")
            raise InputError(
                f"{OptionHint('map')} has {make_excerpt(pair)!r}, which is not column=name; "
                "nothing was imported",
                hint=f"write {example}, with the names of the file after each =",
            )
        names[column.strip()] = name.strip()
    return names


def _map_option(names: Mapping[str, str]) -> OptionHint:
    """Return the option MAP= with these names by column."""
    text = io.StringIO()
    pairs = [f"{column}={name}" for column, name in names.items()]
    csv.writer(text, lineterminator="").writerow(pairs)
    return OptionHint(map=text.getvalue())


def _check_chosen_names(
    file_names: Sequence[str],
    map_names: Mapping[str, str],
    *,
    layout: ColumnLayout,
    path: Path,
) -> dict[str, str]:
    """Resolve the pairs of MAP= to columns of the layout and names in the file.

    A column may be given by any known name, without regard to case and punctuation.

    Args:
        file_names: The names in the file.
        map_names: The pairs of MAP=, by column. Columns and names may be spelled differently.
        layout: The columns of the task.
        path: The file, for messages.

    Returns:
        Names in the file by column; empty for a column that is not read.

    Raises:
        InputError: A column or name is unknown, or is given twice.
    """
    names_by_column: dict[str, str] = {}
    for chosen_column, chosen_name in map_names.items():
        column = layout.columns_by_known_name.get(fold_name(chosen_column))
        if column is None:
            raise InputError(
                f"{OptionHint('map')} names {make_excerpt(chosen_column)!r}, "
                "which is not a column; nothing was imported",
                hint=f"the columns are {', '.join(layout.columns)}",
            )

        name = ""
        if chosen_name:
            name = _find_chosen_name(file_names, chosen_column, chosen_name, path=path)
        if column in names_by_column or (name and name in names_by_column.values()):
            repeated = repr(make_excerpt(name))
            if column in names_by_column:
                repeated = layout.columns[column]
            raise InputError(
                f"{OptionHint('map')} names {repeated} twice; nothing was imported",
                hint="leave out one of the two",
            )
        names_by_column[column] = name
    return names_by_column


def _find_chosen_name(
    file_names: Sequence[str],
    chosen_column: str,
    chosen_name: str,
    *,
    path: Path,
) -> str:
    """Return the name in a file that a pair of MAP= means: the same or a similar spelling.

    Case, accents and punctuation do not matter.

    Raises:
        InputError: The name is not in the file, or several names are spelled like it. The hint
            shows the most similar name.
    """
    if chosen_name in file_names:
        return chosen_name

    matching_names = [name for name in file_names if fold_name(name) == fold_name(chosen_name)]
    if len(matching_names) == 1:
        return matching_names[0]

    similar_name = _find_most_similar(chosen_name, file_names, min_similarity=0)
    raise InputError(
        f"{path} has no column {make_excerpt(chosen_name)!r}, "
        f"which {OptionHint('map')} names for {chosen_column}; nothing was imported. "
        f"Found: {_list_names(file_names)}",
        hint=f"did you mean {_map_option({chosen_column: similar_name})}?" if similar_name else "",
    )


def _list_names(names: Sequence[str]) -> str:
    """Return the first names, safe to print."""
    return ", ".join(make_excerpt(name) for name in names[:_MAX_LISTED_NAMES])


def _find_most_similar(
    name: str,
    candidates: Sequence[str],
    *,
    min_similarity: float,
) -> str | None:
    """Return the candidate with most letters in common with a name, or None.

    Args:
        name: The name to compare with.
        candidates: The names to choose from.
        min_similarity: Smallest similarity, in percent, that counts.
    """
    from rapidfuzz import fuzz, process

    match = process.extractOne(name, candidates, scorer=fuzz.ratio, score_cutoff=min_similarity)
    return match[0] if match else None
