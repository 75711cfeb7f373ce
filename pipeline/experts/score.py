"""The findability score: how much a searcher can know of a person, 0 to 100 with one decimal."""

from collections.abc import Mapping
from typing import Any

from pipeline.experts.cells import number_of, tags_of, text_of

FULL_BIO = 500  # characters of bio that earn all of its points (DESIGN: bio min(40, len/500*40))


def score(row: Mapping[Any, Any], *, tagged: bool | None = None) -> float:
    """Return the score of a row of `experts`; `tagged` says whether there are tags, where the row lacks them yet."""
    tags = row.get("tags") if tagged is None else None
    cells = (row.get("bio"), tags, row.get("profile_url"), row.get("job_title"), row.get("hourly_rate"))
    return score_of(*cells, tagged=bool(tagged))


def score_of(bio: Any, tags: Any, profile_url: Any, job_title: Any, hourly_rate: Any, *, tagged: bool = False) -> float:
    """Return the score of some cells: bio up to 40, tags 25, profile URL 15, job title 10, rate 10.

    The bio counts by its length in characters without surrounding white space; the rate if above zero.
    """
    points = min(40.0, len(text_of(bio)) / FULL_BIO * 40)
    points += 25 if tagged or tags_of(tags) else 0
    points += 15 if text_of(profile_url) else 0
    points += 10 if text_of(job_title) else 0
    points += 10 if (number_of(hourly_rate) or 0) > 0 else 0
    return round(points, 1)
