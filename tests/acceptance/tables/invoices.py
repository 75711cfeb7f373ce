"""What does a scanned invoice ask for, and until when?"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from findable import Task


class Currency(StrEnum):
    """The currencies that are paid in."""

    EURO = "EUR"
    POUND = "GBP"
    DOLLAR = "USD"
    YEN = "JPY"


class Answer(BaseModel):
    """The head of an invoice."""

    issued: date = Field(description="YYYY-MM-DD")
    due: date | None = Field(default=None, description="YYYY-MM-DD, or null where nothing is said")
    total: Decimal = Field(description="with taxes, as a number with a point")
    net: float | None = None
    currency: Currency
    is_credit: bool = Field(description="whether it gives money back")


def check(answer: Answer, row: Mapping[str, Any]) -> str | None:
    """Refuse days that stand nowhere on the scan."""
    return (
        None if answer.issued.isoformat() in row["scan"] else f"{answer.issued} is not on the scan"
    )


task = Task(
    answer=Answer,
    items="invoices.jsonl",
    key=["vendor", "number"],
    prompt="Invoice {number} of {vendor}, as it was scanned. "
    "Braces such as {} or {1} are only braces.\n\n{scan}",
    check=check,
    version=3,
    label="{vendor} {number}",
)
