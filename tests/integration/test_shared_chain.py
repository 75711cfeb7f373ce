"""The whole chain on 1,558 real people, on the local engine; skipped where the shared data is not there."""

import csv
import json
from pathlib import Path

import pytest

from pipeline.experts.score import score
from tests.lab import SHARED, Workspace

PEOPLE = SHARED / "data" / "people" / "experts_1558.csv"


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
    assert all(row[-1] == score(dict(zip(columns, row, strict=True))) for row in rows)
    hits = json.loads(workspace.run("search", "kubernetes operators", "-k", "10", "--json").stdout)
    assert any("kubernetes" in hit["tags"] for hit in hits[:3])
    assert len(hits) == 10
