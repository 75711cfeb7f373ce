"""What an address asks of a list of items, and the addresses that ask for a little more or less."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query

from pipeline.core.listed import ItemCounts, ItemFilter

ITEMS = "/items"
Text = Annotated[str, Query(max_length=4_000)]
Texts = Annotated[list[str], Query(max_length=100)]
Score = Annotated[float | None, Query(ge=0, le=100, allow_inf_nan=False)]


@dataclass(frozen=True)
class Asked:
    """What an address asks of the items of a task, by the names of the command `items`."""

    which: ItemFilter
    sort: str | None
    fields: Sequence[str] | None

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return it as an address says it."""
        which = self.which
        low, high = ("" if one is None else f"{one:g}" for one in (which.min_score, which.max_score))
        told = [("find", " ".join(which.words)), ("state", which.state or ""), *(("tag", one) for one in which.tags)]
        told += [("extractor", which.extractor or ""), ("min_score", low), ("max_score", high)]
        told += [("sort", self.sort or ""), *(("fields", one) for one in self.fields or ())]
        return [pair for pair in told if pair[1]]

    def address(self, path: str, task: str, **anew: Sequence[str]) -> str:
        """Return an address that asks for the same, with some of it as it is given anew."""
        kept = [("task", task), *(pair for pair in self.pairs if pair[0] not in anew)]
        return f"{path}?" + urlencode([*kept, *((name, one) for name, some in anew.items() for one in some)])


def asked_for(
    *,
    find: Text = "",
    state: Text = "",
    tag: Texts = [],  # noqa: B006 - FastAPI's way, which copies it
    extractor: Text = "",
    min_score: Score = None,
    max_score: Score = None,
    sort: Text = "",
    fields: Texts = [],  # noqa: B006 - FastAPI's way, which copies it
) -> Asked:
    """Return what an address asks for; several columns stand one by one, or with commas."""
    tags = list(dict.fromkeys(filter(None, tag)))
    names = dict.fromkeys(name for text in fields for one in text.split(",") if (name := one.strip()))
    which = ItemFilter(find.split(), state or None, tags, extractor or None, min_score, max_score)
    return Asked(which, sort or None, list(names) or None)


Wanted = Annotated[Asked, Depends(asked_for)]


class Choice(NamedTuple):
    """A value that items are told apart by: how many have it, the address of those alone, and whether it is chosen.

    The address of one that is chosen is without it.
    """

    label: str
    items: int
    href: str
    is_chosen: bool


def choices_of(found: ItemCounts, asked: Asked, task: str) -> dict[str, list[Choice]]:
    """Return by kind what items can be told apart by; what is chosen is there, whatever was found."""
    which = asked.which
    kinds = (
        ("states", "state", [which.state], {name: count for name, count in found.states.items() if count}),
        ("tags", "tag", which.tags, found.tags),
        ("versions", "extractor", [which.extractor], found.versions),
    )
    choices: dict[str, list[Choice]] = {}
    for kind, name, chosen, counted in kinds:
        given = [one for one in chosen if one]
        for value, count in {**dict.fromkeys(given, 0), **(counted or {})}.items():
            others = [one for one in given if one != value]  # tags narrow, of others one at a time can be chosen
            anew = others if value in given else [*(others if name == "tag" else ()), value]
            href = asked.address(ITEMS, task, **{name: anew})
            choices.setdefault(kind, []).append(Choice(value, count, href, value in given))
    return choices
