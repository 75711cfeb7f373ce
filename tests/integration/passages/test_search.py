"""Passages with concepts are indexed on demand, and found by text and concepts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.passages.workspaces import passages_file
from tests.lab import Api, Workspace

TEXTS = {
    "p1": (
        "Convolutional neural networks classify images of steel surfaces. "
        "Transfer learning needs many photographs."
    ),
    "p2": (
        "Water law governs irrigation districts. "
        "Groundwater models estimate aquifer depletion under heavy pumping."
    ),
    "17": (
        "Bees pollinate orchards. "
        "Apiculture measures honey yield and colony health with infrared cameras."
    ),
    "p4": (
        "Glacier dynamics control sediment transport. "
        "Ice cores record volcanic eruptions and salt. 灌溉区的权利。"
        + " So it is." * 100
        + " Moraines tell ages."
    ),
}


def run_command(workspace: Workspace, *args: str, **values: str) -> str:
    """Run a command about passages that must succeed, and return its output."""
    return workspace.ran(*args, **{"TASK": "passages", **values}).stdout


def search(workspace: Workspace, question: str, **values: str) -> list[dict[str, Any]]:
    """Return the hits of a question."""
    hits: list[dict[str, Any]] = json.loads(
        run_command(workspace, "search", question, "--json", **values)
    )
    return hits


@pytest.fixture
def tagged_passages(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Prepare four passages with concepts."""
    path = passages_file(
        tmp_path / "passages.jsonl", *({"id": key, "text": text} for key, text in TEXTS.items())
    )
    run_command(workspace, "import-passages", str(path))
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        run_command(workspace, command)
    return workspace


@pytest.mark.alike
def test_passages_are_found_after_index_was_run(tagged_passages: Workspace, api: Api) -> None:
    """No text is embedded before `index`; afterwards `status` counts the stale entries."""
    assert json.loads(run_command(tagged_passages, "status", "--json"))["index"] is None
    assert (
        "make index TASK=passages"
        in tagged_passages.ran("search", "bees", TASK="passages", code=2).stderr
    )

    run_command(tagged_passages, "work", ONCE="1")
    # The command `work` builds no first index.
    assert not any("embed" in call["path"].lower() for call in api.journal())
    assert "build 1 is in service: 4 passages" in run_command(tagged_passages, "index")

    index = json.loads(run_command(tagged_passages, "status", "--json"))["index"]
    assert (index["count"], index["behind"]) == (4, 0)

    hits = search(tagged_passages, "who pollinates orchards", RANK="words")
    members = [
        "rank",
        "id",
        "similarity",
        "concepts",
        "text",
        "score",
        "weak",
        "untagged",
        "why",
        "matching_tags",
        "snippet",
    ]
    assert [list(hit) for hit in hits] == [members]
    assert (hits[0]["id"], hits[0]["text"]) == ("17", TEXTS["17"])

    rows = tagged_passages.query(
        "SELECT concept_name FROM passage_concepts WHERE passage_id = '17'"
    )
    assert hits[0]["concepts"] == sorted({name for (name,) in rows})
    assert search(tagged_passages, "灌溉")[0]["id"] == "p4"

    # The passage with the phrase comes first; without other words it is the only hit.
    assert search(tagged_passages, 'ice "moraines tell"')[0]["id"] == "p4"
    (hit,) = search(tagged_passages, '"moraines tell"')
    assert hit["id"] == "p4"
    assert hit["text"] == TEXTS["p4"][:1000]
    assert hit["snippet"]["text"] == "Moraines tell ages."
    assert len(search(tagged_passages, "groundwater")) == 4
