"""`rollback` removes a version's concepts, and nothing else."""

import json
from typing import Any

import pytest

from tests.integration.many_passages import import_passages, insert_foreign_concept
from tests.lab import Workspace

FIRST_VERSION = "passage-concepts@1"
SECOND_VERSION = "passage-concepts@2"
FOREIGN_VERSION = "rake v1/2024"
MODEL = "gemini-3.5-flash-lite"
FOREIGN_MODEL = "m"
OTHER_ROWS = (
    "SELECT id, passage_id, concept_name, concept_type, aliases, confidence, extractor_model,"
    " extractor_version, evidence, created_at"
    " FROM passage_concepts WHERE extractor_version <> :label ORDER BY id"
)


def read_versions(workspace: Workspace) -> set[tuple[str, str]]:
    """Return the stored versions with their models."""
    versions = json.loads(workspace.ran("versions", "--json").stdout)
    return {(version["prompt_version"], version["model"] or "") for version in versions}


def read_status(workspace: Workspace) -> Any:
    """Return the document of `status`."""
    return json.loads(workspace.ran("status", "--json").stdout)


@pytest.mark.full
@pytest.mark.alike
def test_only_rows_of_the_version_are_deleted(workspace: Workspace) -> None:
    """Rows of other versions, models and programs stay unchanged; the cost stays known."""
    workspace.environ["ASKROWS_TASK"] = "passages"
    import_passages(workspace.begin(), 3)
    for label in (FOREIGN_VERSION, FIRST_VERSION):
        insert_foreign_concept(workspace, "p-0000", label)
    commands = ("batch-submit", "batch-poll", "batch-ingest")
    workspace.ran_each(*commands, SKIP_VERSIONS="none@1")
    workspace.ran_each(*commands, VERSION=SECOND_VERSION)
    before = workspace.query(OTHER_ROWS, label=FIRST_VERSION)
    spent = read_status(workspace)["spent"]

    rollback_run = workspace.ran("rollback", f"{FIRST_VERSION}/{MODEL}", "--yes").output
    # The other model has a concept of the first passage under this version.
    assert "2 answers" in rollback_run
    assert workspace.query(OTHER_ROWS, label=FIRST_VERSION) == before
    other_versions = {(SECOND_VERSION, MODEL), (FOREIGN_VERSION, FOREIGN_MODEL)}
    assert read_versions(workspace) == other_versions | {(FIRST_VERSION, FOREIGN_MODEL)}
    query = "SELECT DISTINCT version FROM askrows_answers"
    assert workspace.query(query) == [(f"{SECOND_VERSION}/{MODEL}",)]
    assert read_status(workspace)["spent"] == spent
    assert workspace.run("doctor").exit_code == 0

    # A version without a model means all its models.
    workspace.ran("rollback", FIRST_VERSION, "--yes")
    assert read_versions(workspace) == other_versions
