"""Find values for a scalar schema in a text: choices, numbers and dates."""

import datetime as dt
import re
from contextlib import suppress
from typing import Any

from emulator.answers.encoder import measure_likeness
from emulator.schema import SchemaNode

# Values of the formats of a text if the text has no value.
PLACEHOLDERS_BY_FORMAT = {
    "date": "1970-01-01",
    "date-time": "1970-01-01T00:00:00Z",
    "time": "00:00:00",
    "duration": "PT0S",
}
# A choice may be explained in the description: "billing: invoices; delivery: parcels".
_EXPLANATION = re.compile(r"([^;:.\n]+): ([^;.\n]+)")
# A number that is no part of a word, a date or a longer number.
_NUMBER = re.compile(r"(?<![\w.,-])-?\d{1,15}(?:\.\d{1,15})?(?![\w.,-]*\d)")
_DATE = re.compile(r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)")


def find_choice(node: SchemaNode, text: str) -> Any:
    """Return the choice of a schema whose words and explanation are most similar to a text."""
    explanations = {
        name.strip(" -"): explanation
        for name, explanation in _EXPLANATION.findall(node.description)
    }
    return max(
        node.choices,
        key=lambda choice: max(
            measure_likeness(choice.replace("_", " "), text),
            measure_likeness(explanations.get(choice, ""), text),
        ),
    )


def find_number(node: SchemaNode, text: str) -> float | None:
    """Return the first number of a text within the bounds of a schema, an int if it is whole."""
    for match in _NUMBER.finditer(text):
        number = float(match[0])
        is_right_kind = node.kind == "NUMBER" or number.is_integer()
        if is_right_kind and node.minimum <= number <= node.maximum:
            return int(number) if number.is_integer() else number
    return None


def find_date(node: SchemaNode, text: str) -> str | None:
    """Return the first date such as 2024-05-01, as midnight UTC if the format is "date-time"."""
    for match in _DATE.finditer(text):
        # The calendar may have no such date.
        with suppress(ValueError):
            date = dt.date.fromisoformat(match[0]).isoformat()
            return f"{date}T00:00:00Z" if node.format == "date-time" else date
    return None


def fit_length(node: SchemaNode, text: str) -> str:
    """Return a text with a length that the schema allows: cut, or followed by dots."""
    return text[: node.max_size].ljust(node.min_size, ".")


def get_fallback_value(node: SchemaNode) -> Any:
    """Return the value for a number or a formatted text if the text has none.

    It is the number nearest to 1 within the bounds, or the earliest date or time.
    """
    if node.kind == "STRING":
        return PLACEHOLDERS_BY_FORMAT[node.format]
    return min(max(1, node.minimum), node.maximum)
