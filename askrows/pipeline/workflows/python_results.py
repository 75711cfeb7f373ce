"""Results of the Python API, with their text form and their conversion to pandas."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from askrows.pipeline.core.declaration import A_co
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.text import make_short_repr, shorten

T = TypeVar("T")
# Types that a flat row keeps. Values of other types become their JSON form.
FLAT_TYPES = frozenset({str, int, float, bool, date, datetime, Decimal})


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

    __repr__ = make_short_repr


@dataclass(frozen=True, repr=False)
class AnsweredRow(Generic[A_co]):
    """One answer, with the row that was asked about.

    Quotations in it are located: `row["text"][quote.start:quote.end] == quote`.
    """

    # Key of the row, as commands take it.
    key: str
    # The answer, an instance of the task's model.
    answer: A_co
    # Version that answered, such as `reviews@1`.
    version: str
    answered_at: datetime
    # The row as the source has it now. Empty if the row was removed or the task is built in.
    row: Mapping[str, Any]
    # Names of the columns of the row's key.
    key_columns: Sequence[str] = ()

    def __repr__(self) -> str:
        return shorten(f"<{self.key}: {self.answer!r}>")

    @property
    def document(self) -> dict[str, Any]:
        """Return a flat row: key columns, fields of the answer, version and time.

        The version that answered is in the member `answer_version`, the time in `answered_at`.
        Texts, numbers, booleans and dates of the answer keep their Python types. Fields of any
        other type have their JSON form: a quotation is {quote, start, end}. If `row` is empty,
        because the row was removed from the source or the task is built in, the column `key` has
        the key. A field of the answer replaces a key column of the same name.
        """
        json_fields = self.answer.model_dump(mode="json")

        answer_fields = dict[str, Any]()
        for name, json_form in json_fields.items():
            field_value = getattr(self.answer, name)
            is_flat = type(field_value) in FLAT_TYPES
            answer_fields[name] = field_value if is_flat else json_form

        key_fields = {name: self.row[name] for name in self.key_columns if name in self.row}
        if not key_fields:
            key_fields = {"key": self.key}

        return {
            **key_fields,
            **answer_fields,
            "answer_version": self.version,
            "answered_at": self.answered_at,
        }
