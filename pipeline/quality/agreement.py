"""Say how far two answers to the same item agree, field by field.

A field that holds one value agrees where both are equal. What stands in lists is compared as overlap (Jaccard): the
share of all values that both have, whatever their order. Of lists of objects each field of theirs is one such list. Of
quotations the text counts, and not the place.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.core.answer_paths import is_quotation, leaves

EQUAL, OVERLAP = "equal", "overlap"
IN_LIST = "[]"  # in the name of a field, behind each list


class SideAnswer(NamedTuple):
    """What one side says of an item: an answer, or None and why there is none, with tokens and cost (USD).

    `is_stored` where it was not asked for the comparison.
    """

    answer: Mapping[str, Any] | None
    reason: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    is_stored: bool = False


class ComparedItem(NamedTuple):
    """One item with its name, and what both sides say of it."""

    id: str
    name: str
    sides: tuple[SideAnswer, SideAnswer]

    @property
    def answers(self) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """Return both answers, None where one is missing."""
        a, b = (one.answer for one in self.sides)
        return None if a is None or b is None else (a, b)


class FieldAgreement(NamedTuple):
    """How far both sides agree on one field: the measure, its mean from 0 to 1, and of how many items."""

    field: str
    measure: str
    share: float
    items: int


class FieldValues(NamedTuple):
    """What both sides have in one field of one item, each value as text, and how far that agrees."""

    field: str
    a: list[str]
    b: list[str]

    @property
    def agreement(self) -> float:
        """Return the share from 0 to 1."""
        one, other = Counter(self.a), Counter(self.b)
        every = (one | other).total()
        return (one & other).total() / every if every else 1.0


def field_values(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[FieldValues]:
    """Return what two answers have in each field, in the order of the answers."""
    one, other = _values(a), _values(b)
    names = list(dict.fromkeys([*one, *other]))
    # an empty list, or an object that is not there, says nothing where the other side has fields in it
    whole = [name for name in names if not any(inner.startswith((f"{name}.", f"{name}[")) for inner in names)]
    return [FieldValues(name, one.get(name, []), other.get(name, [])) for name in whole]


def field_agreements(items: Sequence[ComparedItem]) -> list[FieldAgreement]:
    """Return how far both sides agree on each field, over the items that both answered."""
    shares: dict[str, list[float]] = {}
    for one in items:
        for values in field_values(*one.answers) if one.answers else ():
            shares.setdefault(values.field, []).append(values.agreement)
    return [
        FieldAgreement(name, OVERLAP if IN_LIST in name else EQUAL, sum(found) / len(found), len(found))
        for name, found in shares.items()
    ]


def _values(answer: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the values of each field as text; of what is not in a list there is one."""
    found: dict[str, list[str]] = {}
    for path, value in leaves(answer):
        name = "".join(IN_LIST if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
        if value == [] and isinstance(value, list):
            found.setdefault(name + IN_LIST, [])
        else:
            found.setdefault(name, []).append(_text(value))
    return found


def _text(value: Any) -> str:
    """Return a value as it is compared, and shown."""
    if is_quotation(value):
        return str(value["quote"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
