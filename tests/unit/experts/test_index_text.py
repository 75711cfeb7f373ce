"""The text that is embedded for a person, and what stands for them in `metadata.json`."""

import itertools
import json
from typing import Any

import pytest

from pipeline.experts.task import INDEXED, index_entry

ROW: dict[str, Any] = {
    "id": 7,
    "username": "ada",
    "first_name": "Ada",
    "last_name": "Byron",
    "job_title": "Analyst",
    "company": "Engine Ltd",
    "bio": "Writes programs.",
    "hourly_rate": "95.5",
    "currency": "GBP",
    "profile_url": "https://example.org/ada",
    "profile_url_utm": None,
    "category": b"maths",
    "tags": '["number theory", "weaving"]',
    "findability_score": 61.3,
}


@pytest.mark.parametrize(
    ("without", "expected"),
    [
        ((), "Ada Byron. Analyst at Engine Ltd. Writes programs. Domains: number theory, weaving."),
        (("first_name",), "Byron. Analyst at Engine Ltd. Writes programs. Domains: number theory, weaving."),
        (("job_title",), "Ada Byron. Works at Engine Ltd. Writes programs. Domains: number theory, weaving."),
        (("company",), "Ada Byron. Analyst. Writes programs. Domains: number theory, weaving."),
        (("bio",), "Ada Byron. Analyst at Engine Ltd. Domains: number theory, weaving."),
        (("tags",), "Ada Byron. Analyst at Engine Ltd. Writes programs."),
        (("first_name", "last_name", "job_title", "company", "bio", "tags"), "ada"),
    ],
)
def test_what_is_missing_is_left_out(without: tuple[str, ...], expected: str) -> None:
    """The text has the parts that the row has, in their order, and the username where there is nothing else."""
    row = {**ROW, **dict.fromkeys(without)}
    assert index_entry(*map(row.get, INDEXED)).text == expected


def test_blank_is_missing_in_every_combination() -> None:
    """Whatever is NULL, empty or white space, no part leaves a stray full stop, comma or double space behind."""
    parts = ("first_name", "last_name", "job_title", "company", "bio")
    for blanks in itertools.product((None, "", " \n", "x"), repeat=len(parts)):
        for tags in ([], ["law"]):
            row = {**ROW, **dict(zip(parts, blanks, strict=True)), "tags": json.dumps(tags)}
            said = index_entry(*map(row.get, INDEXED)).text
            assert said == said.strip()
            assert said
            assert not any(wrong in said for wrong in ("  ", "..", " .", ",.", "None", " at .", ": ."))
