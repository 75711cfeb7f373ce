"""Judge the cells of one row of a file: texts, rates and currencies, with a finding for what was dropped or altered."""

import math
from collections.abc import Mapping

from pipeline.tables import rates
from pipeline.tables.cells import is_placeholder
from pipeline.tables.findings import Finding, FindingKind, excerpt


class JudgedCells:
    """The cells of one row while they are judged; `changes` are the findings so far.

    `labels` are the names of columns that messages show, `key` is the row's, and `names` are columns of people's names.
    """

    def __init__(self, line: int, labels: Mapping[str, str], *, key: str, names: frozenset[str] = frozenset()) -> None:
        """Start with nothing changed."""
        self.changes: list[Finding] = []
        self._line, self._labels = line, labels
        self._key, self._names = key, names

    def text(self, column: str, cell: object) -> str | None:
        """Return a text cell without the white space around it; None where it is empty, a placeholder or no text."""
        text = self._text(column, cell)
        if text is not None and is_placeholder(text, in_name=column in self._names):
            self._change(column, f"placeholder {text!r} read as empty", value=cell)
            return None
        return text

    def rate(self, column: str, cell: object) -> rates.Rate:
        """Return the rate in a cell, with a finding where it is not as a machine writes it."""
        if isinstance(cell, (int, float)) and not isinstance(cell, bool):
            rate = rates.rate_of_number(cell)
        else:
            rate = rates.parse_rate(self.text(column, cell) or "")
        if rate.reason is not None:
            self._change(column, f"{rate.reason}; stored without a rate", value=cell)
        elif not rate.is_plain and rate.value is not None:
            self._change(column, f"read as {rates.rate_text(rate.value)}", value=cell)
        return rate

    def currency(self, column: str, cell: object, *, rate: rates.Rate) -> str | None:
        """Return the currency: that of its own column, else that beside the rate."""
        text = self.text(column, cell)
        if text is None:
            if rate.currency is not None:
                self._change(column, f"empty; {rate.currency} taken from the rate", value="")
            return rate.currency
        codes = rates.currencies_of(text)
        code = next(iter(codes)) if len(codes) == 1 else text
        if len(codes) != 1:
            reason = "shared by several currencies" if codes else "not a known currency"
            self._change(column, f"{reason}; kept as it is", value=cell, kind=FindingKind.NOTED)
        elif code != text:
            self._change(column, f"read as {code}", value=cell)
        if rate.currency is not None and not (codes or {text}) & rates.currencies_of(rate.currency):
            reason = f"the rate says {rate.currency}; the column's {code} is kept"
            self._change(column, reason, value=cell, kind=FindingKind.NOTED)
        return code

    def _text(self, column: str, cell: object) -> str | None:
        if cell is None or isinstance(cell, str):
            return (cell or "").strip() or None
        if isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell):
            self._change(column, "a number, stored as text", value=cell)
            return str(cell)
        self._change(column, f"{kind_said(cell)}, not text; left empty", value=cell)
        return None

    def _change(self, column: str, reason: str, *, value: object, kind: FindingKind = FindingKind.CHANGED) -> None:
        """Remember that a value was dropped or altered, or (noted) that it goes in and should be looked at."""
        self.changes.append(Finding(self._line, self._labels[column], reason, excerpt(value), kind, self._key))


def kind_said(cell: object) -> str:
    """Return what a JSON value that is no text is, in words."""
    if isinstance(cell, bool):
        return "true or false"
    if isinstance(cell, float) and not math.isfinite(cell):
        return "not a finite number"
    return {list: "a list", dict: "an object", float: "a number with decimals"}.get(type(cell), "a number")
