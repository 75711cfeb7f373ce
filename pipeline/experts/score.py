"""Compute the findability score of a person."""

from collections.abc import Mapping
from typing import Any

from pipeline.tables.cells import (
    parse_number,
    parse_text_list,
    stripped_text,
)

# Columns that the score depends on, in the order of the parameters of `score_of`.
SCORE_COLUMNS = ("bio", "tags", "profile_url", "job_title", "hourly_rate")
# Characters of a biography that earn all its points: min(40, length / 500 * 40).
FULL_BIO_CHARS = 500
# Points of the findability score; they add up to 100.
BIO_POINTS = 40
TAGS_POINTS = 25
PROFILE_URL_POINTS = 15
JOB_TITLE_POINTS = 10
HOURLY_RATE_POINTS = 10


def score(row: Mapping[Any, Any]) -> float:
    """Return the findability score of a row, 0 to 100 with one decimal; see `score_of`."""
    return score_of(*map(row.get, SCORE_COLUMNS))


def score_of(bio: Any, tags: Any, profile_url: Any, job_title: Any, hourly_rate: Any) -> float:
    """Return the findability score of the cells of a row, 0 to 100 with one decimal.

    A bio earns points in proportion to its length without blanks at its ends: 40 points from 500
    characters on. Tags, which are a JSON list in the cell, earn 25 points if the list is not empty.
    A profile URL earns 15 points, a job title 10, and a positive hourly rate 10.
    """
    bio_length = min(len(stripped_text(bio)), FULL_BIO_CHARS)
    points = bio_length / FULL_BIO_CHARS * BIO_POINTS
    if parse_text_list(tags):
        points += TAGS_POINTS
    if stripped_text(profile_url):
        points += PROFILE_URL_POINTS
    if stripped_text(job_title):
        points += JOB_TITLE_POINTS
    if (parse_number(hourly_rate) or 0) > 0:
        points += HOURLY_RATE_POINTS
    return round(points, 1)
