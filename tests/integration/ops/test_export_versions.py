"""An export has preferred answers or a single version, and reports the rows of each version."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Workspace

MODEL = "gemini-3.5-flash-lite"
FIRST = f"reviews@1/{MODEL}"
SECOND = f"reviews@2/{MODEL}"


@pytest.fixture(name="two_versions")
def _two_versions(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """Answer four reviews under version 1, and two of them again under version 2."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace).ran("tag-live")
    reviews.write_task_file(version=2)
    workspace.ran("tag-live", LIMIT="2")
    workspace.environ["ASKROWS_OVERWRITE"] = "1"
    return workspace


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def export_answers(workspace: Workspace, **values: str) -> list[tuple[str, str]]:
    """Return (row, version) pairs of an export, except for rows without an answer."""
    workspace.ran("export", "out.jsonl", **values)
    assert [row["id"] for row in read_lines("out.jsonl")] == list(reviews.TEXTS)
    return [
        (row["id"], row["answer_version"])
        for row in read_lines("out.jsonl")
        if row["answer_version"]
    ]


@pytest.mark.full
def test_a_user_task_is_exported_with_preferred_answers(two_versions: Workspace) -> None:
    """Rows that the newest version did not answer have their former answer."""
    versions = {"1": SECOND, "2": SECOND, "3": FIRST, "4": FIRST}
    assert export_answers(two_versions) == list(versions.items())
    # A version of another task is no version of this task.
    assert export_answers(two_versions, VERSION="passage-concepts@7") == list(versions.items())

    export_run = two_versions.ran("export", "out.jsonl")
    assert f"answers of {SECOND}: 2 rows\n" in export_run.stderr
    assert f"answers of {FIRST}: 2 rows\n" in export_run.stderr

    report = json.loads(two_versions.ran("export", "out.jsonl", "--json").stdout)
    assert (report["count"], report["version"]) == (4, None)
    assert report["versions"] == [
        {"version": FIRST, "rows": 2},
        {"version": SECOND, "rows": 2},
    ]


@pytest.mark.full
@pytest.mark.parametrize(
    "values",
    [
        {"ANSWER_VERSION": FIRST},
        {"ANSWER_VERSION": "reviews@1"},
        {"VERSION": "reviews@1"},
        {"PREFER_VERSIONS": "reviews@1"},
    ],
)
def test_another_version_is_named_or_preferred(
    two_versions: Workspace, values: dict[str, str]
) -> None:
    """A chosen or preferred version is exported."""
    assert export_answers(two_versions, **values) == [(key, FIRST) for key in reviews.TEXTS]
    assert [row["text"] for row in read_lines("out.jsonl")] == list(reviews.TEXTS.values())
    csv_message = two_versions.ran("export", "out.csv", **values).stderr
    assert f"\nanswers of {FIRST}: 4 rows\n" in f"\n{csv_message}"

    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        assert {row["answer_version"] for row in csv.DictReader(file)} == {FIRST}

    assert (
        "version 'reviews@9' has no answers"
        in two_versions.ran("export", "none.jsonl", ANSWER_VERSION="reviews@9", code=2).stderr
    )
