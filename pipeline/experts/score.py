"""The findability score: how much a searcher can know of a person, 0 to 100 with one decimal."""

from collections.abc import Mapping
from typing import Any

from pipeline.tables.cells import list_of, number_of, text_of

FULL_BIO = 500  # characters of bio that earn all of its points (DESIGN: bio min(40, len/500*40))


def score(row: Mapping[Any, Any], *, tagged: bool | None = None) -> float:
    """Return the score of a row of `experts`; `tagged` says whether there are tags, where the row lacks them yet."""
    tags = row.get("tags") if tagged is None else None
    cells = (row.get("bio"), tags, row.get("profile_url"), row.get("job_title"), row.get("hourly_rate"))
    return score_of(*cells, tagged=bool(tagged))


def score_of(bio: Any, tags: Any, profile_url: Any, job_title: Any, hourly_rate: Any, *, tagged: bool = False) -> float:
    """Return the score of cells: bio up to 40 by length, tags 25, profile URL 15, job title 10, positive rate 10."""
    length = len(text_of(bio))
    whole = 40 if length >= FULL_BIO else 0
    if tagged or (tags is not None and list_of(tags)):  # NULLs are seen without a call: this runs for every row
        whole += 25
    if profile_url is not None and text_of(profile_url):
        whole += 15
    if job_title is not None and text_of(job_title):
        whole += 10
    if hourly_rate is not None and (number_of(hourly_rate) or 0) > 0:
        whole += 10
    return float(whole) if length >= FULL_BIO else round(length / FULL_BIO * 40 + whole, 1)
