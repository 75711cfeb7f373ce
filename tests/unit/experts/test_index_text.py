"""The text that is embedded for a person, and what stands for them in `metadata.json`."""

import itertools
import json
from typing import Any

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
