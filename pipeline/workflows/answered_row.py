"""One answer as Python code gets it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic

from pipeline.core.declaration import A_co
from pipeline.core.text import cut

PLAIN = frozenset(
    {str, int, float, bool, date, datetime, Decimal}
)  # which a flat row has as they are


@dataclass(frozen=True, repr=False)
class AnsweredRow(Generic[A_co]):
    """One answer: the item's key as commands take it, the model, its extractor, when, and the row that was asked about.

    Quotations in it are located: `row["text"][quote.start:quote.end] == quote`. `row` is as the source is now, empty
    where the item was removed or is of a built-in task; `key_columns` are those of its key.
    """

    key: str
    answer: A_co
    extractor: str
    answered_at: datetime
    row: Mapping[str, Any]
    key_columns: Sequence[str] = ()

    def __repr__(self) -> str:
        return cut(f"<{self.key}: {self.answer!r}>")

    @property
    def document(self) -> dict[str, Any]:
        """Return a flat row: the columns of the key, the fields of the answer, the extractor, and when.

        Texts, numbers and dates are themselves; all else is as JSON has it, quotations as {quote, start, end}.
        """
        as_json = self.answer.model_dump(mode="json")
        values = {name: getattr(self.answer, name) for name in as_json}
        fields = {
            name: value if type(value) in PLAIN else as_json[name] for name, value in values.items()
        }
        key_fields = {name: self.row[name] for name in self.key_columns if name in self.row} or {
            "key": self.key
        }
        return {
            **key_fields,
            **fields,
            "extractor": self.extractor,
            "answered_at": self.answered_at,
        }
