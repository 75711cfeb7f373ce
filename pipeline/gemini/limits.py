"""Keep the API's limits with their sources, and find what a project may ask of a model by its usage tier.

Google publishes only the limits of batches; those of calls stand on each project's own page in AI Studio (rate limits
page, read 2026-10). So the table holds what projects were shown there, `"unknown"` is a good answer in it, and what is
unknown gets a figure of ours that is rather too low: too low costs time, too high costs refusals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.gemini.rate_limiter import RateLimits

MAX_FILE_BYTES = 2 * 1000**3  # one uploaded file, 2 GB (Files API guide, read 2026-11; decimal to be on the safe side)
MAX_STORED_BYTES = 20 * 1000**3  # all uploads of a project, 20 GB (Files API guide, read 2026-11)
MAX_ACTIVE_BATCHES = 100  # of one project at the same time (rate limits page, copy of 2026-01)
MAX_EMBED_TEXTS = 100  # texts in one embedding call (customary and refused above, read 2026-11)
LIST_PAGE_SIZE = 100  # the most a page may hold; without a page size the list has come back empty (2025-08)

FREE = "free"
TIERS = (FREE, "1", "2", "3")  # as Google names them; a billing account makes a project one of tier 1
UNKNOWN: Literal["unknown"] = "unknown"
NONE = "none"
NO_LIMITS = RateLimits(rpm=None, tpm=None, rpd=None)

# Ours, for what the table does not know: the least that any model of that kind is shown with in tier 1 and without one.
OURS = {
    ("generate", FREE): RateLimits(rpm=5, tpm=250_000, rpd=20),
    ("generate", "1"): RateLimits(rpm=25, tpm=1_000_000, rpd=250),
    ("embed", FREE): RateLimits(rpm=100, tpm=30_000, rpd=1_000),
    ("embed", "1"): RateLimits(rpm=3_000, tpm=1_000_000, rpd=None),
}

Figure = int | None | Literal["unknown"]  # None is no limit


@dataclass(frozen=True)
class Tier:
    """The limits of one model in one tier: of calls (an embedding call counts each of its texts), and of batches."""

    rpm: Figure = UNKNOWN
    tpm: Figure = UNKNOWN
    rpd: Figure = UNKNOWN
    enqueued_tokens: Figure = UNKNOWN


def tier_limits(kind: str, tiers: Mapping[str, Tier], *, tier: str) -> RateLimits:
    """Return the limits of a model in a tier: those of the table, else a lower tier's, else ours.

    A higher tier that is unknown gets the figures of the next lower one that is known, down to tier 1: it never has
    less. The free tier is no lower one, for it is another kind of project.
    """
    ours = OURS[kind, FREE if tier == FREE else "1"]
    return RateLimits(**{name: _one(name, tiers, tier=tier, ours=getattr(ours, name)) for name in RateLimits._fields})


def _one(name: str, tiers: Mapping[str, Tier], *, tier: str, ours: int | None) -> int | None:
    for lower in _downward(tier):
        figure: Figure = getattr(tiers[lower], name) if lower in tiers else UNKNOWN
        if figure != UNKNOWN:
            return figure
    return ours


def enqueued_limit(tiers: Mapping[str, Tier], *, tier: str) -> int | None:
    """Return how many tokens of batches may wait at once, or None where no limit is known.

    The free tier has no batches (rate limits page, read 2026-10); a project that sends some has another tier than is
    set, so it is taken for tier 1.
    """
    for name in _downward("1" if tier == FREE else tier):
        figure = tiers[name].enqueued_tokens if name in tiers else UNKNOWN
        if figure != UNKNOWN:
            return figure
    return None


def parse_tiers(name: str, entry: Any) -> Tier:
    """Return one `tiers` table of a models file.

    Raises:
        ValueError: no such tier, or a figure is neither a number of 1 or more, nor "none", nor "unknown".
        TypeError: it is no table, or has a name that is unknown.
    """
    if name not in TIERS:
        raise ValueError(f"there is no tier {name!r}, only {', '.join(TIERS)}")
    if not isinstance(entry, dict):
        raise TypeError(f"tier {name} must be a table")
    return Tier(**{key: _figure(key, value) for key, value in entry.items()})


def _figure(key: str, value: Any) -> Figure:
    if value == NONE:
        return None
    if value == UNKNOWN:
        return UNKNOWN
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f'{key} must be a number of 1 or more, "none" or "unknown", not {value!r}')
    return value


def _downward(tier: str) -> tuple[str, ...]:
    return (FREE,) if tier == FREE else tuple(reversed(TIERS[1 : TIERS.index(tier) + 1]))
