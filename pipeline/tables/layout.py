"""What a subject's file looks like, in any format, and what a row of it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.tables.column_names import fold
from pipeline.tables.findings import Finding, rejected
from pipeline.tables.text_file import MAX_LINE


@dataclass(frozen=True)
class ColumnSpec:
    """A column that a subject reads: its name, the one that messages show, and other names for it.

    `either` are names that mean this column or, where only one of its `parts` has a column, the other part: "Name"
    beside "First name" is the last name. The text of a column with `parts` is split into them.
    """

    name: str
    label: str
    aliases: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name by which the column is known."""
        return (self.name, self.label, *self.aliases, *self.either)


@dataclass(frozen=True)
class Layout:
    """The columns that a subject reads, and how.

    `key` is the column that every row has. `columns` are the subject's own, each with the name that messages show, and
    `column_of` says which one a name in a file means (None: not read). `specs` say by which other names a column is
    known. `cell` is what a CSV cell becomes. `command` imports a file, whose name stands in its place.
    """

    key: str
    columns: Mapping[str, str]
    column_of: Callable[[str], str | None]
    hint: str
    format: str = "csv"  # of a file whose name does not say it
    max_line: int = MAX_LINE
    cell: Callable[[str], str] = str
    specs: tuple[ColumnSpec, ...] = ()
    command: str = ""

    @cached_property
    def known_names(self) -> frozenset[str]:
        """Return every folded name by which a column is known."""
        return frozenset(fold(name) for spec in self.specs for name in spec.names)

    def label(self, column: str) -> str:
        """Return a column's name in messages."""
        return next((spec.label for spec in self.specs if spec.name == column), self.columns.get(column, column))


@dataclass(frozen=True)
class TextRow:
    """One row: values by column, text or outside CSV any JSON value."""

    line: int
    values: Mapping[str, Any]


def row_of(value: object, *, line: int, layout: Layout, ignored: dict[str, None]) -> TextRow | Finding:
    """Return the row that a JSON value is, or why it is none; names that are not read are added to `ignored`."""
    if not isinstance(value, Mapping):
        return rejected(line, "not an object", value)
    values: dict[str, object] = {}
    for name, cell in value.items():
        column = layout.column_of(name)
        if column is None:
            ignored[name] = None
        elif column in values:
            return rejected(line, "given twice, in two spellings", cell, column=layout.label(column))
        else:
            values[column] = cell
    return TextRow(line, values)
