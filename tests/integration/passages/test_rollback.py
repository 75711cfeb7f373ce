"""Taking back one version's concepts, and nothing else: what goes, what stays, and what is refused meanwhile."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.passages.workspaces import passages_file
from tests.lab import Workspace

TEXTS = {
    "p1": "Convolutional neural networks classify images of steel surfaces. Transfer learning needs many photographs.",
    "p2": "Water law governs irrigation districts. Groundwater models estimate aquifer depletion under heavy pumping.",
    "p3": "Bees pollinate orchards. Apiculture measures honey yield and colony health with infrared cameras.",
}
ONE = "passage-concepts@1"
TWO = "passage-concepts@2"
THEIRS = "rake v1/2024"
MODEL = "gemini-3.5-flash-lite"
ROWS = (
    "SELECT id, passage_id, concept_name, concept_type, aliases, confidence, extractor_model, extractor_version,"
    " evidence, created_at FROM passage_concepts WHERE extractor_version <> :label ORDER BY id"
)


def ran(workspace: Workspace, *args: str, **values: str) -> str:
    """Run a command about passages that must work, and return what it printed."""
    return workspace.ran(*args, **{"TASK": "passages", **values}).output


def versions(workspace: Workspace) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what is here, by version and model."""
    result = workspace.ran("versions", "--json", TASK="passages")
    return {(load["version"], load["model"] or ""): load for load in json.loads(result.stdout)}


def asked(workspace: Workspace, **values: str) -> None:
    """Ask about all passages that are open, by a batch."""
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        ran(workspace, command, **values)


def foreign(
    workspace: Workspace, passage: str, *, label: str | None = THEIRS, model: str | None = None
) -> None:
    """Put a concept of another program into the table."""
    workspace.change(
        "INSERT INTO passage_concepts (passage_id, concept_name, confidence, extractor_model, extractor_version,"
        " created_at) VALUES (:passage, 'theirs', 0.9, :model, :label, '2025-01-02 03:04:05+00:00')",
        passage=passage,
        model=model,
        label=label,
    )


def counted(workspace: Workspace, table: str) -> int:
    """Return how many rows a table has."""
    return int(workspace.scalar(f"SELECT count(*) FROM {table}"))  # noqa: S608 - our names


@pytest.fixture
def passages(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Three passages that were not asked about."""
    file = passages_file(
        tmp_path / "p.jsonl", *({"id": key, "text": text} for key, text in TEXTS.items())
    )
    ran(workspace, "import-passages", str(file))
    return workspace


@pytest.mark.sampled(0)
def test_only_what_a_version_gave_goes(passages: Workspace) -> None:
    """Rows of other versions, models and programs stay to the byte; what was spent stays known."""
    foreign(passages, "p1")
    foreign(passages, "p1", label=ONE, model="another-model")
    asked(passages, SKIP_VERSIONS=ONE + "-none")
    asked(passages, VERSION=TWO)
    before = passages.query(ROWS, label=ONE)
    spent = json.loads(passages.run("status", "--json", TASK="passages").stdout)["spent"]
    assert {label for label, _ in versions(passages)} == {ONE, TWO, THEIRS}
    rollback_run = ran(passages, "rollback", f"{ONE}/{MODEL}", "--yes")
    assert (
        "2 answers of" in rollback_run
    )  # the other model has concepts of the first passage under this label
    assert passages.query(ROWS, label=ONE) == before
    assert set(versions(passages)) == {(TWO, MODEL), (THEIRS, ""), (ONE, "another-model")}
    assert passages.query("SELECT DISTINCT extractor FROM findable_answers") == [
        (f"{TWO}/{MODEL}",)
    ]
    assert json.loads(passages.run("status", "--json", TASK="passages").stdout)["spent"] == spent
    assert passages.run("doctor", TASK="passages").exit_code == 0
    output = passages.run("rollback", f"{ONE}/{MODEL}", TASK="passages").output
    assert output.startswith(f"there are no answers of {ONE}/{MODEL}.")
    ran(passages, "rollback", ONE, "--yes")  # all its models
    assert set(versions(passages)) == {(TWO, MODEL), (THEIRS, "")}
