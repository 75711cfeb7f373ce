"""`rollback` removes a version's concepts, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.passages.workspaces import passages_file
from tests.lab import Workspace

TEXTS = {
    "p1": (
        "Convolutional neural networks classify images of steel surfaces. "
        "Transfer learning needs many photographs."
    ),
    "p2": (
        "Water law governs irrigation districts. "
        "Groundwater models estimate aquifer depletion under heavy pumping."
    ),
    "p3": (
        "Bees pollinate orchards. "
        "Apiculture measures honey yield and colony health with infrared cameras."
    ),
}
FIRST_VERSION = "passage-concepts@1"
SECOND_VERSION = "passage-concepts@2"
FOREIGN_VERSION = "rake v1/2024"
MODEL = "gemini-3.5-flash-lite"
OTHER_ROWS = (
    "SELECT id, passage_id, concept_name, concept_type, aliases, confidence, extractor_model,"
    " extractor_version, evidence, created_at"
    " FROM passage_concepts WHERE extractor_version <> :label ORDER BY id"
)


def run_command(workspace: Workspace, *args: str, **values: str) -> str:
    """Run a command about passages that must succeed, and return its output."""
    return workspace.ran(*args, **{"TASK": "passages", **values}).output


def read_versions(workspace: Workspace) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the stored versions by version and model."""
    result = workspace.ran("versions", "--json", TASK="passages")
    return {(load["version"], load["model"] or ""): load for load in json.loads(result.stdout)}


def tag_passages(workspace: Workspace, **values: str) -> None:
    """Tag all open passages by a batch."""
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        run_command(workspace, command, **values)


def insert_foreign_concept(
    workspace: Workspace,
    passage: str,
    *,
    label: str | None = FOREIGN_VERSION,
    model: str | None = None,
) -> None:
    """Insert a concept of another program."""
    workspace.change(
        "INSERT INTO passage_concepts (passage_id, concept_name, confidence, extractor_model,"
        " extractor_version, created_at)"
        " VALUES (:passage, 'theirs', 0.9, :model, :label, '2025-01-02 03:04:05+00:00')",
        passage=passage,
        model=model,
        label=label,
    )


@pytest.fixture
def passages(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Import three passages."""
    file = passages_file(
        tmp_path / "p.jsonl", *({"id": key, "text": text} for key, text in TEXTS.items())
    )
    run_command(workspace, "import-passages", str(file))
    return workspace


@pytest.mark.alike
def test_only_rows_of_the_version_are_deleted(passages: Workspace) -> None:
    """Rows of other versions, models and programs stay unchanged; the cost stays known."""
    insert_foreign_concept(passages, "p1")
    insert_foreign_concept(passages, "p1", label=FIRST_VERSION, model="another-model")
    tag_passages(passages, SKIP_VERSIONS=FIRST_VERSION + "-none")
    tag_passages(passages, VERSION=SECOND_VERSION)
    before = passages.query(OTHER_ROWS, label=FIRST_VERSION)
    spent = json.loads(passages.run("status", "--json", TASK="passages").stdout)["spent"]
    assert {label for label, _ in read_versions(passages)} == {
        FIRST_VERSION,
        SECOND_VERSION,
        FOREIGN_VERSION,
    }

    rollback_run = run_command(passages, "rollback", f"{FIRST_VERSION}/{MODEL}", "--yes")
    # The other model has concepts of the first passage under this version.
    assert "2 answers of" in rollback_run
    assert passages.query(OTHER_ROWS, label=FIRST_VERSION) == before
    assert set(read_versions(passages)) == {
        (SECOND_VERSION, MODEL),
        (FOREIGN_VERSION, ""),
        (FIRST_VERSION, "another-model"),
    }
    assert passages.query("SELECT DISTINCT extractor FROM findable_answers") == [
        (f"{SECOND_VERSION}/{MODEL}",)
    ]
    assert json.loads(passages.run("status", "--json", TASK="passages").stdout)["spent"] == spent
    assert passages.run("doctor", TASK="passages").exit_code == 0

    output = passages.run("rollback", f"{FIRST_VERSION}/{MODEL}", TASK="passages").output
    assert output.startswith(f"there are no answers of {FIRST_VERSION}/{MODEL}\n")

    # A version without a model means all its models.
    run_command(passages, "rollback", FIRST_VERSION, "--yes")
    assert set(read_versions(passages)) == {(SECOND_VERSION, MODEL), (FOREIGN_VERSION, "")}
