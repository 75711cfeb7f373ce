"""What a subject's file looks like, in any format, and what a row of it is."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from pipeline.tables.findings import Finding, rejected
from pipeline.tables.made_keys import KeyRule
from pipeline.tables.names import fold
from pipeline.tables.text_file import MAX_LINE


def _as_it_is(cell: str) -> str:
    return cell


class CellKind(StrEnum):
    """What the cells of a column look like, by which a column without a known name is guessed."""

    TEXT = "short text"
    LONG = "long text"
    NUMBER = "numbers"
    URL = "addresses of pages"
    EMAIL = "e-mail addresses"


@dataclass(frozen=True)
class ColumnSpec:
    """A column that a subject reads: its name, the one that messages show, other names for it, and its cells.

    `either` are names that mean this column or, where only one of its `parts` has a column, the other part: "Name"
    beside "First name" is the last name. The text of a column with `parts` is split into them. A `sought` column is
    guessed by its cells, too. A column with `helps_key` is read only where the file has no key.
    """

    name: str
    label: str
    kind: CellKind = CellKind.TEXT
    aliases: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    sought: bool = False
    helps_key: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name by which the column is known."""
        return (self.name, self.label, *self.aliases, *self.either)


@dataclass(frozen=True)
class Layout:
    """The columns that a subject reads, and how.

    `key` is the column that every row has. `columns` are the subject's own, each with the name that messages show, and
    `column_of` says which one a name in a file means (None: not read). `specs` say by which other names a column is
    known, `unread` are folded names that are never guessed to be one, and `key_rule` of what a key is made where there
    is none. `cell` is what a CSV cell becomes. `command` imports a file, whose name stands in its place.

    `guesses` says that a file of another encoding or format than its name says is read all the same, and that a quote
    left open is recognised by the rows in it; without, all that is read is as it stands in the file, to the letter.
    """

    key: str
    columns: Mapping[str, str]
    column_of: Callable[[str], str | None]
    hint: str
    guesses: bool
    format: str = "csv"  # of a file whose name does not say it
    max_line: int = MAX_LINE
    cell: Callable[[str], str] = _as_it_is
    specs: tuple[ColumnSpec, ...] = ()
    unread: frozenset[str] = frozenset()
    key_rule: KeyRule | None = None
    command: str = ""

    @cached_property
    def known_names(self) -> frozenset[str]:
        """Return every folded name by which a column is known."""
        return frozenset(fold(name) for spec in self.specs for name in spec.names)

    def has_key(self, columns: Collection[str | None]) -> bool:
        """Return whether rows with these columns have a key, or what one can be made of."""
        if self.key in columns or self.key_rule is None:
            return self.key in columns
        sources = self.key_rule.sources
        wholes = {spec.name for spec in self.specs if not sources.isdisjoint(spec.parts)}
        return not (sources | wholes).isdisjoint(columns)

    def label(self, column: str) -> str:
        """Return a column's name in messages."""
        return next((spec.label for spec in self.specs if spec.name == column), self.columns.get(column, column))


@dataclass(frozen=True)
class TextRow:
    """One row: values by column, text or outside CSV any JSON value; `changes` are findings that do not keep it out."""

    line: int
    values: Mapping[str, Any]
    changes: tuple[Finding, ...] = ()


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
