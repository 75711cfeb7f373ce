"""Passages with concepts are indexed once that is asked for, and found by their text and their concepts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.passages.workspaces import passages_file
from tests.lab import Api, Workspace

TEXTS = {
    "p1": "Convolutional neural networks classify images of steel surfaces. Transfer learning needs many photographs.",
    "p2": "Water law governs irrigation districts. Groundwater models estimate aquifer depletion under heavy pumping.",
    "17": "Bees pollinate orchards. Apiculture measures honey yield and colony health with infrared cameras.",
    "p4": "Glacier dynamics control sediment transport. Ice cores record volcanic eruptions and salt. 灌溉区的权利。"
    + " So it is." * 100
    + " Moraines tell ages.",
}


def ran(workspace: Workspace, *args: str, **values: str) -> str:
    """Run a command about passages that must work, and return what it printed."""
    return workspace.ran(*args, **{"TASK": "passages", **values}).stdout


def found(workspace: Workspace, question: str, **values: str) -> list[dict[str, Any]]:
    """Return the hits of a question."""
    hits: list[dict[str, Any]] = json.loads(ran(workspace, "search", question, "--json", **values))
    return hits


@pytest.fixture
def asked(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace whose four passages have concepts."""
    path = passages_file(
        tmp_path / "passages.jsonl", *({"id": key, "text": text} for key, text in TEXTS.items())
    )
    ran(workspace, "import-passages", str(path))
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        ran(workspace, command)
    return workspace


@pytest.mark.sampled(0)
def test_passages_are_found_once_their_index_is_asked_for(asked: Workspace, api: Api) -> None:
    """Before that nothing is embedded, by `run` neither; from then on `status` tells how far the index is behind."""
    assert json.loads(ran(asked, "status", "--json"))["index"] is None
    assert "make index TASK=passages" in asked.ran("search", "bees", TASK="passages", code=2).stderr
    ran(asked, "run")
    assert not any("embed" in call["path"].lower() for call in api.journal())
    assert "build 1 is in service: 4 passages" in ran(asked, "index")
    index = json.loads(ran(asked, "status", "--json"))["index"]
    assert (index["count"], index["behind"]) == (4, 0)
    hits = found(asked, "who pollinates orchards", RANK="words")
    told = [
        "rank",
        "id",
        "similarity",
        "concepts",
        "text",
        "score",
        "weak",
        "why",
        "matching_tags",
        "snippet",
    ]
    assert [list(hit) for hit in hits] == [told]
    assert (hits[0]["id"], hits[0]["text"]) == ("17", TEXTS["17"])
    rows = asked.query("SELECT concept_name FROM passage_concepts WHERE passage_id = '17'")
    assert hits[0]["concepts"] == sorted({name for (name,) in rows})
    assert found(asked, "灌溉")[0]["id"] == "p4"
    (hit,) = found(asked, 'ice "moraines tell"')
    assert (hit["id"], hit["text"], hit["snippet"]["text"]) == (
        "p4",
        TEXTS["p4"][:1000],
        "Moraines tell ages.",
    )
    assert len(found(asked, "groundwater")) == 4
