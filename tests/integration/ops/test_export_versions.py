"""An export is of one version, and says how many rows have which; Python reads the same answers."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Workspace

MODEL = "gemini-3.5-flash-lite"
OTHER = "gemini-3.5-flash"
FIRST = f"reviews@1/{MODEL}"
SECOND = f"reviews@2/{MODEL}"


@pytest.fixture(name="two")
def _two(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Four reviews that were answered under version 1, and two of them under version 2."""
    monkeypatch.chdir(tmp_path)
    reviews.put(workspace).ran("tag-live")
    reviews.declare(version=2)
    workspace.ran("tag-live", LIMIT="2")
    workspace.environ["FINDABLE_OVERWRITE"] = "1"
    return workspace


def lines(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def written(workspace: Workspace, **values: str) -> list[tuple[str, str]]:
    """Return whose answer of which row an export writes; of rows that have none it is left out."""
    workspace.ran("export", "out.jsonl", **values)
    assert [one["id"] for one in lines("out.jsonl")] == list(reviews.TEXTS)
    return [(one["id"], one["extractor"]) for one in lines("out.jsonl") if one["extractor"]]


def test_an_own_task_is_exported_under_one_version(two: Workspace) -> None:
    """The one begun last; of the rows without it is said whose answer they have, and what exports that."""
    assert written(two) == [("1", SECOND), ("2", SECOND)]
    export_run = two.ran("export", "out.jsonl")
    assert f"wrote {SECOND}, which 2 rows have" in export_run.stderr
    assert f"4 rows have {FIRST}: EXTRACTOR={FIRST} exports it" in export_run.stderr
    report = json.loads(two.ran("export", "out.jsonl", "--json").stdout)
    assert (report["count"], report["extractor"]) == (4, SECOND)
    assert report["versions"] == [
        {"extractor": SECOND, "items": 2},
        {"extractor": FIRST, "items": 4},
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"EXTRACTOR": FIRST},
        {"EXTRACTOR": "reviews@1"},
        {"VERSION": "reviews@1"},
        {"PREFER_VERSIONS": "reviews@1"},
    ],
)
def test_another_version_is_named_or_preferred(two: Workspace, values: dict[str, str]) -> None:
    """Its answers stand beside their rows as those of any; a version of something else names none."""
    assert written(two, **values) == [(key, FIRST) for key in reviews.TEXTS]
    assert [one["text"] for one in lines("out.jsonl")] == list(reviews.TEXTS.values())
    assert "wrote" in (said := two.ran("export", "out.csv", **values).stderr)
    assert f"2 rows have {SECOND}: EXTRACTOR" in said
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        assert {row["extractor"] for row in csv.DictReader(file)} == {FIRST}
    exploded = two.ran("export", "out.jsonl", ROWS="praise", COST="1", **values)
    assert f"wrote {FIRST}, which 4 rows have" in exploded.stderr
    assert {one["extractor"] for one in lines("out.jsonl")} == {FIRST}
    assert written(two, VERSION="passage-concepts@7") == [("1", SECOND), ("2", SECOND)]
    assert "no answer of" in two.ran("export", "none.jsonl", EXTRACTOR="reviews@9", code=2).stderr
