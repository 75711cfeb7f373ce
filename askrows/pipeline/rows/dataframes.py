"""Results of the Python API, with their text form and their conversion to pandas."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.text import format_object, shorten

T = TypeVar("T")


class RowCollection:
    """A collection of rows with the same columns; subclasses say how the rows are made."""

    def flat(self) -> Iterator[dict[str, Any]]:
        """Yield each row as a dict without nesting, by column."""
        raise NotImplementedError

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return all rows as dicts without nesting, by column."""
        return list(self.flat())

    def to_pandas(self) -> Any:
        """Return a pandas data frame with all rows.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ConfigurationError(
                "a data frame needs pandas, which is not installed; to_dicts() gives the same rows",
                hint=f"{sys.executable} -m pip install pandas",
            ) from error
        return pd.DataFrame(self.to_dicts())


class ResultTable(list[T], RowCollection):
    """A list of results that can be converted to rows."""

    def flat(self) -> Iterator[dict[str, Any]]:
        """Yield each result as a row: its items if it is a mapping, its document, or its fields."""
        for result in self:
            if isinstance(result, Mapping):
                yield dict(result)
            else:
                yield dict(getattr(result, "document", None) or vars(result))

    def __repr__(self) -> str:
        """Return one line with the number of rows and the columns of the first row."""
        column_list = f": {', '.join(next(self.flat()))}" if self else ""
        noun = "row" if len(self) == 1 else "rows"
        return shorten(f"<{len(self):,} {noun}{column_list}>")


class ResultDocument(dict[str, Any]):
    """Named values about a single subject."""

    __repr__ = format_object
