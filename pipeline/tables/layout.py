"""What a subject's file looks like, in any format, and what a row of it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.tables.findings import Finding, rejected
from pipeline.tables.text_file import MAX_LINE


def _as_it_is(cell: str) -> str:
    return cell


@dataclass(frozen=True)
class Layout:
    """The columns that a subject reads, and how.

    `key` is the column that every row has. `columns` are the subject's own, each with the name that messages show, and
    `column_of` says which one a name in a file means (None: not read). `cell` is what a CSV cell becomes.

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

    def label(self, column: str) -> str:
        """Return a column's name in messages."""
        return self.columns.get(column, column)


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
