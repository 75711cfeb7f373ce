"""What an address asks of a list of items, and the addresses that ask for a little more or less."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query

from pipeline.core.listed import Facets, ItemFilter, ScoreBand

ITEMS = "/items"
STEP = 0.1  # between two scores: a band ends before the next one begins
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


class Choices(NamedTuple):
    """The values of one kind; `is_about` where their counts are estimated."""

    name: str
    is_about: bool
    values: list[Choice]


def choices_of(found: Facets, asked: Asked, task: str) -> list[Choices]:
    """Return what items can be told apart by, kind by kind; what is chosen is there, whatever was found."""
    which = asked.which
    versions = {**dict.fromkeys(filter(None, [which.extractor]), 0), **(found.versions or {})}
    tags = {**dict.fromkeys(which.tags, 0), **(found.tags or {})}
    kinds = {
        "states": [_single(asked, task, "state", one, count) for one, count in found.states.items()],
        "tags": [_tag(asked, task, one, count) for one, count in tags.items()],
        "versions": [_single(asked, task, "extractor", one, count) for one, count in versions.items()],
        "scores": [_band(asked, task, one) for one in found.scores or ()],
    }
    return [Choices(name, name in found.estimated, values) for name, values in kinds.items() if values]


def _single(asked: Asked, task: str, name: str, value: str, count: int) -> Choice:
    """Return a value of which one at a time can be chosen."""
    is_chosen = getattr(asked.which, name) == value
    return Choice(value, count, asked.address(ITEMS, task, **{name: [] if is_chosen else [value]}), is_chosen)


def _tag(asked: Asked, task: str, tag: str, count: int) -> Choice:
    """Return a tag, which narrows what others have left."""
    chosen, is_chosen = asked.which.tags, tag in asked.which.tags
    tags = [one for one in chosen if one != tag] if is_chosen else [*chosen, tag]
    return Choice(tag, count, asked.address(ITEMS, task, tag=tags), is_chosen)


def _band(asked: Asked, task: str, band: ScoreBand) -> Choice:
    """Return a band of scores; the last one holds 100, too."""
    high = band.high if band.high >= 100 else band.high - STEP  # noqa: PLR2004 - the highest score
    is_chosen = (asked.which.min_score, asked.which.max_score) == (band.low, high)
    bounds = ([], []) if is_chosen else ([f"{band.low}"], [f"{high:g}"])
    href = asked.address(ITEMS, task, min_score=bounds[0], max_score=bounds[1])
    return Choice(f"{band.low} to {band.high}", band.items, href, is_chosen)
