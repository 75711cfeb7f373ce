"""Read single columns of a build's `metadata.json`, without parsing the rest of it.

The entries of a build have the same keys, as those of one collection. So a column is what stands behind its key in
every line, found by one pass over the bytes, and each different cell is parsed once. Inside of a JSON text no bare
quotation mark stands, so a key that is found is a key. Where that does not give one cell for each entry, every entry is
parsed.
"""

import mmap
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.files import ReadHandle
from pipeline.core.where import Comparison
from pipeline.index.columns import Column, column_named, column_of

_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_CELL = (
    rb"(" + _TEXT + rb"|\[(?:" + _TEXT + rb'|[^"\[\]{}])*+\]|[^",\[\]{}]++)'
)  # a text, a flat list, or what is short


class MetadataColumns:
    """The columns of an open build's metadata, each read when it is first asked for, and kept."""

    def __init__(self, handle: ReadHandle, count: int, row: Callable[[int], Mapping[str, Any]]) -> None:
        """Keep the open file, how many entries it has, and how one of them is read."""
        self._handle, self._count, self._row = handle, count, row
        self._kept: dict[str, Column] = {}
        self._names: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns; of one that holds others, `answer`, theirs behind its own: `answer.mood`."""
        if self._names is None:
            found = [(name, cell) for name, cell in self._row(0).items()]
            inner = [f"{name}.{key}" for name, cell in found if isinstance(cell, dict) for key in cell]
            self._names = (*(name for name, cell in found if not isinstance(cell, dict)), *inner)
        return self._names

    def meant(self, comparison: Comparison) -> Column:
        """Return the column that a comparison means.

        Raises:
            InputError: there is none of that name; the message says where it stands, and which there are.
        """
        name = column_named(comparison.column, self.names)
        if name is None:
            raise InputError(
                f"{comparison.place}: there is no column {comparison.column!r}",
                hint=f"there are {', '.join(self.names)}",
            )
        return self._column(name)

    def has_text(self, name: str) -> bool:
        """Return whether any cell of a column is a text, or a list with one."""
        return any(isinstance(one, str) for one in self._column(name).scalars)

    def _column(self, name: str) -> Column:
        if name not in self._kept:
            self._kept[name] = self._read(name)
        return self._kept[name]

    def _read(self, name: str) -> Column:
        """Return one column, by its key in the bytes; the key stands once in each entry, or all are parsed."""
        import orjson

        path = name.split(".") if name not in self._row(0) else [name]
        with closing(mmap.mmap(self._handle.descriptor, 0, access=mmap.ACCESS_READ)) as content:
            found = re.findall(re.escape(orjson.dumps(path[-1])) + rb":" + _CELL, content)
        if len(found) != self._count:
            return column_of([_inside(self._row(row), path) for row in range(self._count)])
        cells: dict[bytes, int] = {}
        entries = [cells.setdefault(cell, len(cells)) for cell in found]
        return column_of(orjson.loads(b"[%b]" % b",".join(cells)), entries)


def _inside(row: Mapping[str, Any], path: list[str]) -> Any:
    cell: Any = row
    for key in path:
        cell = cell.get(key) if isinstance(cell, Mapping) else None
    return cell
