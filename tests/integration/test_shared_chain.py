"""The whole chain on 1,558 real people, on the local engine; skipped where the shared data is not there."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab import SHARED, Workspace

PEOPLE = SHARED / "data" / "people" / "experts_1558.csv"


def points(bio: Any, tags: Any, profile_url: Any, job_title: Any, hourly_rate: Any) -> float:
    """Return a score as the formula is told: 40 for 500 characters of bio, tags 25, a URL 15, a title 10, a rate 10."""
    known = {25: json.loads(tags or "[]"), 15: profile_url, 10: job_title}
    earned = sum(worth for worth, cell in known.items() if cell) + (10 if (hourly_rate or 0) > 0 else 0)
    return round(min(40, len(bio or "") / 500 * 40) + earned, 1)


@pytest.mark.full
@pytest.mark.skipif(not PEOPLE.is_file(), reason="the shared data is not here")
def test_everybody_comes_through(tmp_path: Path) -> None:
    """Who has a bio is tagged or parked with a reason, all are scored right, and the index holds all who are tagged."""
    with PEOPLE.open(encoding="utf-8", newline="") as file:
        with_bio = {row["Username"] for row in csv.DictReader(file) if row["Bio"].strip()}
    workspace = Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})
    for command in (["import", str(PEOPLE)], ["batch-submit"], ["batch-poll"], ["batch-ingest"], ["index"]):
        workspace.ran(*command)
    status = json.loads(workspace.run("status", "--json").stdout)
    experts = status["experts"]
    assert (experts["total"], experts["no_bio"]) == (1558, 1558 - len(with_bio))
    assert experts["tagged"] + experts["parked"] == len(with_bio)
    assert (status["index"]["count"], status["index"]["behind"]) == (experts["tagged"], 0)
    assert (status["backend"], sum(status["parked"].values())) == ("local", experts["parked"])
    columns = ("bio", "tags", "profile_url", "job_title", "hourly_rate", "findability_score")
    rows = workspace.query(f"SELECT {', '.join(columns)} FROM experts")  # noqa: S608 - names of this module
    assert [row[-1] for row in rows] == [pytest.approx(points(*row[:-1])) for row in rows]
    hits = json.loads(workspace.run("search", "kubernetes operators", "-k", "10", "--json").stdout)
    assert any("kubernetes" in hit["tags"] for hit in hits[:3])
    assert len(hits) == 10
