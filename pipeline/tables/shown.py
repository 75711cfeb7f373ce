"""What Python shows of a result: one line, in a notebook a table, and a frame of pandas where that is installed."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from pipeline.core.errors import ConfigurationError
from pipeline.core.quotes import shown_value
from pipeline.core.text import cut
from pipeline.tables.cells import plain_value

T = TypeVar("T")
ROWS, CELL = 30, 200  # rows of a table in a notebook, and characters of a cell


class Rows:
    """Rows with the same columns, however they are come by."""

    def flat(self) -> Iterator[dict[str, Any]]:
        """Yield a flat row for each."""
        raise NotImplementedError

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a flat row for each."""
        return list(self.flat())

    def to_pandas(self) -> Any:
        """Return a data frame of pandas. ConfigurationError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            said = "a data frame needs pandas, which is not installed; to_dicts() gives the same rows"
            raise ConfigurationError(said, hint="pip install -e '.[pandas]'") from error
        return pd.DataFrame(self.to_dicts())

    def _repr_html_(self) -> str:
        rows = list(islice(self.flat(), ROWS + 1))
        names = list(dict.fromkeys(name for row in rows for name in row))
        more = "<p>…</p>" if len(rows) > ROWS else ""
        return _table(([row.get(name) for name in names] for row in rows[:ROWS]), names) + more


class Table(list[T], Rows):
    """Results as a list."""

    def flat(self) -> Iterator[dict[str, Any]]:
        """Yield each as a flat row: its document, where it has one, else what it holds."""
        for one in self:
            found = one if isinstance(one, Mapping) else getattr(one, "document", None) or vars(one)
            yield dict(found)

    def __repr__(self) -> str:
        """Return in a line how many there are, and their columns."""
        names = f": {', '.join(next(self.flat()))}" if self else ""
        return cut(f"<{len(self):,} {'row' if len(self) == 1 else 'rows'}{names}>")


class Document(dict[str, Any]):
    """What is known of one thing, by name."""

    def __repr__(self) -> str:
        """Return in a line what is plain in it."""
        plain = (f"{name}={value!r}" for name, value in self.items() if value and isinstance(value, str | int | float))
        return cut(f"<{', '.join(plain)}>")

    def _repr_html_(self) -> str:
        return _table(([name, value] for name, value in self.items()), ())


def _table(rows: Iterable[Iterable[Any]], names: Iterable[str]) -> str:
    from html import escape

    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ("".join(f"<td>{escape(cut(shown_value(plain_value(one)), CELL))}</td>" for one in row) for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in body)}</tbody></table>"
