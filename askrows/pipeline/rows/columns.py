"""Map the names in a file to the columns of a task.

A known name of a column is its own name, its label, or a name that `column_names.toml` lists for it
in a dozen languages. A name in the file is matched in this order:

1. MAP= assigns it to a column, as `bio=Kurzbiografie` assigns `Kurzbiografie` to `bio`.
2. It is a column's own name or label.
3. It is another known name of a column.

Names are compared by their letters and digits only.
"""

import csv
import io
import tomllib
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.rows.answer_views import has_export_columns
from askrows.pipeline.rows.row_findings import (
    Finding,
    SourceRow,
    find_unstorable_text,
    make_excerpt,
    make_rejection,
)

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
    # Columns that are kept under their name in the file, too, if the file calls them by a name
    # from `column_names.toml`.
    columns_kept_twice: frozenset[str] = frozenset()
    # Names of columns that askrows makes. Their values in a file are ignored.
    made_names: Sequence[str] = ()
    # Further names that an export adds, each with the prefix that it gets beside a column of this
    # name. Only the values of an export are ignored.
    export_prefixes: Mapping[str, str] = field(default_factory=dict)

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
        """Return the columns by all their known names, folded; own names take precedence."""
        columns: dict[str, str] = {}
        for column in self.columns:
            for name in KNOWN_COLUMN_NAMES.get(column, ()):
                columns[fold_name(name)] = column
        return columns | self.columns_by_own_name

    def is_known_name(self, name: str) -> bool:
        """Return whether a name in a file means one of the columns, whatever its case."""
        return fold_name(name) in self.columns_by_known_name


class ColumnMapping:
    """Mapping of the names in a file to the columns of a layout.

    Attributes:
        layout: The columns of the task.
        notes: Lines for the user on matched names.
        ignored_names: Names in the rows read before whose values are ignored, in their order.
        kept_names: Names in the rows read before whose values are kept under these names.
    """

    def __init__(
        self,
        names: Sequence[str],
        mapped_names: Sequence[tuple[str, str]],
        *,
        layout: ColumnLayout,
        path: Path,
    ) -> None:
        """Match the names of a file, and add notes on names that were matched.

        MAP= comes first, then a column's own name and label, then a known name. In an export, names
        that the export added are not matched by known names, and their values are ignored.

        Args:
            names: The names in the file, in their order.
            mapped_names: Columns, each with a name in the file, from MAP=. A column with an empty
                name is not read.
            layout: The columns of the task.
            path: The file, for messages.

        Raises:
            InputError: MAP= names an unknown column or name, or a column or name twice.
        """
        self.layout = layout
        self.notes = list[str]()
        self.ignored_names = dict[str, None]()
        self.kept_names = dict[str, None]()
        self._file_names = list(dict.fromkeys(filter(None, names)))

        chosen_names = _map_columns_to_file_names(
            self._file_names,
            mapped_names,
            layout=layout,
            path=path,
        )
        self._columns_by_name = {name: column for column, name in chosen_names.items() if name}
        # Also matches names that appear in later rows only.
        self._columns_by_own_name = {
            folded_name: column
            for folded_name, column in layout.columns_by_own_name.items()
            if column not in chosen_names
        }
        self._made_names = {fold_name(name) for name in layout.made_names}
        excluded_names = set[str]()
        if has_export_columns(self._file_names):
            self._made_names |= self._find_names_added_by_exports()
            # In an export these are not other names of columns.
            excluded_names = self._made_names
        self._add_matches_by_known_names(chosen_names.keys(), excluded_names)

    def _find_names_added_by_exports(self) -> set[str]:
        """Return the folded names that an export adds, with their prefix if the file has it."""
        folded_names = {fold_name(name) for name in self._file_names}
        export_names = set[str]()
        for name, prefix in self.layout.export_prefixes.items():
            prefixed_name = fold_name(f"{prefix}{name}")
            is_prefixed = prefixed_name in folded_names
            export_names.add(prefixed_name if is_prefixed else fold_name(name))
        return export_names

    def _add_matches_by_known_names(
        self, chosen_columns: Collection[str], excluded_names: Collection[str]
    ) -> None:
        """Match other columns to the first name in the file that is a known name of the column.

        A column whose own name or label is in the file is not matched. A note lists the matched
        names.

        Args:
            chosen_columns: The columns in MAP=; they are not matched.
            excluded_names: Folded names that are not matched.
        """
        matched_columns = {*chosen_columns, *map(self.find_column, self._file_names)}
        columns_by_name: dict[str, str] = {}
        for name in self._file_names:
            folded_name = fold_name(name)
            column = self.layout.columns_by_known_name.get(folded_name)
            is_unmatched = column not in matched_columns and folded_name not in excluded_names
            if column is not None and is_unmatched:
                matched_columns.add(column)
                columns_by_name[name] = column

        self._columns_by_name = {**columns_by_name, **self._columns_by_name}
        pairs = [
            f"{make_excerpt(name)} → {self.layout.columns[column]}"
            for name, column in columns_by_name.items()
        ]
        if pairs:
            self.notes.append(f"columns matched by other names: {', '.join(pairs)}")

    def find_column(self, name: str) -> str | None:
        """Return the column of the layout that a name in the file means, or None."""
        return self._columns_by_name.get(name) or self._columns_by_own_name.get(fold_name(name))

    def find_stored_name(self, name: str) -> str | None:
        """Return the name under which values of a name in the file are kept.

        Returns:
            The layout's column; or the name itself if it means no column; or None if the values are
            ignored, because MAP= assigns another name or no name to the column that the name means,
            or because askrows makes them.
        """
        column = self.find_column(name)
        if column is not None:
            return column
        return name if self._is_name_of_no_column(name) else None

    def find_file_name(self, column: str) -> str:
        """Return the first name in the file that means a column, or ""."""
        return next((name for name in self._file_names if self.find_column(name) == column), "")

    def describe_columns(self) -> list[dict[str, str]]:
        """Return the column, label and name in the file of each column, for reports."""
        return [
            {"column": column, "label": label, "name": self.find_file_name(column)}
            for column, label in self.layout.columns.items()
        ]

    def map_row_and_record_names(self, row: SourceRow) -> SourceRow | Finding:
        """Rename the values of a row from the file's names to the layout's columns.

        - A name that means no column keeps its value under the file's name, and is added to
          `kept_names`.
        - A name of a column for which MAP= chose another name, or no name, is left out, and is
          added to `ignored_names`. So is a name of a column that askrows makes. For example,
          MAP=bio=Text ignores the file's column `bio`.
        - The value of a column in the layout's `columns_kept_twice` is stored a second time, under
          the file's name, unless that is a name or label of a column, also one that askrows makes.

        Returns:
            The renamed row; or the finding that rejects it, because two of its names mean the same
            column (even with equal or blank values), or because a text cannot be stored.
        """
        values: dict[str, Any] = {}
        for name, cell in row.values.items():
            find_stored_name = self.find_stored_name(name)
            if find_stored_name is None:
                self.ignored_names[name] = None
            elif find_stored_name in values:
                label = self.layout.columns.get(find_stored_name, find_stored_name)
                return make_rejection(
                    row.line_number,
                    "given twice, by two spellings",
                    cell,
                    column=label,
                )
            else:
                values[find_stored_name] = cell
                if find_stored_name not in self.layout.columns:
                    self.kept_names[name] = None

            if find_stored_name in self.layout.columns_kept_twice and self._is_name_of_no_column(
                name
            ):
                values[name] = cell

        finding = find_unstorable_text(
            row.line_number,
            values,
            self.layout.columns,
            key=values.get(self.layout.key),
        )
        return finding or SourceRow(row.line_number, values)

    def _is_name_of_no_column(self, name: str) -> bool:
        """Return whether a name is that of no column, also of none that askrows makes."""
        folded_name = fold_name(name)
        is_own_name = folded_name in self.layout.columns_by_own_name
        return not is_own_name and folded_name not in self._made_names


def parse_column_map(text: str) -> list[tuple[str, str]]:
    """Parse the value of MAP=, which assigns names in a file to columns.

    For example, `bio=Kurzbiografie,username=` gives ("bio", "Kurzbiografie") and ("username", "").
    Pairs are separated by commas, and column and name by the first equals sign. As in CSV, a pair
    may be in quotation marks and then contain commas. Blanks around columns and names are removed.
    Blank pairs are skipped.

    Returns:
        Columns, each with the name in the file, both unchecked. The name is empty for a pair like
        `username=`, which means that the column is not read.

    Raises:
        InputError: A pair has no equals sign or no column.
    """
    pairs = next(csv.reader(io.StringIO(text), skipinitialspace=True), [])
    mapped_names = list[tuple[str, str]]()
    for pair in filter(str.strip, pairs):
        column, equals_sign, name = pair.partition("=")
        if not equals_sign or not column.strip():
            example = OptionHint(map="bio=Kurzbiografie,username=Mail")
            raise InputError(
                f"{OptionHint('map')} has {make_excerpt(pair)!r}, which is not column=name; "
                "nothing was imported",
                hint=f"write {example}, with the names of the file after each =",
            )
        mapped_names.append((column.strip(), name.strip()))
    return mapped_names


def _map_columns_to_file_names(
    file_names: Sequence[str],
    mapped_names: Sequence[tuple[str, str]],
    *,
    layout: ColumnLayout,
    path: Path,
) -> dict[str, str]:
    """Return the pairs of MAP= with the layout's columns.

    The user may give a column by any of its known names (own name, label, or a name in
    `column_names.toml`). A name is spelled as in the file.

    Args:
        file_names: The names in the file.
        mapped_names: The pairs of MAP=; see `parse_column_map`.
        layout: The columns of the task.
        path: The file, for messages.

    Returns:
        Names in the file by column; empty for a column that is not read.

    Raises:
        InputError: A column or name is unknown, or is given twice.
    """
    names_by_column: dict[str, str] = {}
    for chosen_column, name in mapped_names:
        column = layout.columns_by_known_name.get(fold_name(chosen_column))
        if column is None:
            raise InputError(
                f"{OptionHint('map')} names {make_excerpt(chosen_column)!r}, "
                "which is not a column; nothing was imported",
                hint=f"the columns are {', '.join(layout.columns)}",
            )
        if name and name not in file_names:
            raise InputError(
                f"{path} has no column {make_excerpt(name)!r}, "
                f"which {OptionHint('map')} names for {chosen_column}; nothing was imported. "
                f"Found: {join_first_excerpts(file_names)}",
                hint=f"set {OptionHint(map=f'{chosen_column}=…')} to one of these names",
            )
        if name and name in names_by_column.values():
            raise InputError(
                f"{OptionHint('map')} names {make_excerpt(name)!r} twice; nothing was imported",
                hint="leave out one of the two",
            )
        if column in names_by_column:
            other_name = names_by_column[column]
            raise InputError(
                f"{OptionHint('map')} names both {make_excerpt(other_name)!r} and "
                f"{make_excerpt(name)!r} for {chosen_column}; nothing was imported",
                hint="leave out one of the two",
            )
        names_by_column[column] = name
    return names_by_column


def join_first_excerpts(names: Sequence[str]) -> str:
    """Return the first twelve names, separated by commas and safe to print."""
    return ", ".join(make_excerpt(name) for name in names[:_MAX_LISTED_NAMES])
