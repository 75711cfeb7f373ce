"""Read tags of many people from a file, as an export wrote it or a person edited it since."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.experts.columns import HEADERS, USERNAME, column_of
from pipeline.experts.read import cell_of
from pipeline.experts.tags import listed
from pipeline.tables.cells import list_of
from pipeline.tables.findings import Finding
from pipeline.tables.layout import Layout
from pipeline.tables.names import fold
from pipeline.tables.table_file import TableFile

TAGS = "tags"


class TagsOfLine(NamedTuple):
    """What one line of a file says: whose tags, and which."""

    line: int
    username: str
    tags: Sequence[str]


def _column_of(name: str) -> str | None:
    return {TAGS: TAGS, USERNAME: USERNAME}.get(column_of(name) or fold(name))


class TagsFile(TableFile):
    """The rows of one file that have tags."""

    layout = Layout(
        USERNAME,
        columns={USERNAME: HEADERS[USERNAME], TAGS: TAGS},
        column_of=_column_of,
        hint="give a file with the columns Username and tags, as `make export` writes it",
        guesses=True,
        cell=cell_of,
        command="make tags FROM={}",
    )

    def __init__(self, path: Path) -> None:
        """Find out what the file is; its columns have these names.

        Raises:
            InputError: there is no such file, or it has no such columns.
        """
        try:
            super().__init__(path)
        except InputError as error:
            raise InputError(error.message, hint=self.layout.hint) from None

    def lines(self) -> Iterator[TagsOfLine]:
        """Yield whose tags are given, in the order of the file; a row without tags says nothing of them.

        Raises:
            InputError: a row cannot be read, or its tags are none, or a username comes twice.
        """
        seen: dict[str, int] = {}
        for row in self:
            if isinstance(row, Finding):
                raise refused(self.path, row.line, f"{row.reason} ({row.value})")
            username, tags = _text(row.values.get(USERNAME)), _tags(row.values.get(TAGS))
            if tags is None or not username:
                said = "there is no username" if tags is not None else f"the tags are no list: {row.values[TAGS]!r}"
                raise refused(self.path, row.line, said)
            if first := seen.get(username):
                raise refused(self.path, row.line, f"{username!r} stands on line {first}, too")
            seen[username] = row.line
            if tags:
                yield TagsOfLine(row.line, username, tags)


def refused(path: Path, line: int, said: str) -> InputError:
    """Return the error of one line of a file."""
    return InputError(f"{path}, line {line}: {said}; nothing was changed")


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int) else ""


def _tags(value: Any) -> Sequence[str] | None:
    """Return the tags of a cell, a JSON list or `ml; water law`, or of a list; None where it is neither."""
    if value is None or isinstance(value, Mapping):
        return None if value else ()
    if isinstance(value, list):
        return value if all(isinstance(one, str) for one in value) else None
    if not isinstance(value, str):
        return None
    found = list_of(value)
    return listed(value) if found is None and not value.startswith("[") else found
