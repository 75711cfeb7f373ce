"""Names that documents of users and other programs give never change with our words."""

import json
from pathlib import Path

from askrows.pipeline.passages import table as passages
from askrows.pipeline.tasks.shipped import load_shipped_declaration
from tests.integration.many_passages import import_passages, insert_foreign_concept
from tests.lab import Workspace

# Versions of concepts that other programs store.
OTHER_VERSIONS = ("llm_v2", "haiku_v1", "gemini_batch_v1")


def test_columns_of_other_programs_keep_their_names(workspace: Workspace, tmp_path: Path) -> None:
    """Other programs read and write these columns; our own tables have other words for some."""
    assert {"extractor_version", "extractor_model"} <= set(passages.COLUMNS)
    (tmp_path / "empty").mkdir()
    workspace.ran("import-images", str(tmp_path / "empty"), code=2)
    assert workspace.query("SELECT asset_id, provider, model, created_at FROM asset_ai") == []
    workspace.begin()
    assert workspace.query("SELECT tags, findability_score FROM experts") == []


def test_metadata_of_the_index_keeps_its_keys() -> None:
    """Another program reads `metadata.json` by these keys."""
    declaration = load_shipped_declaration("experts")
    assert declaration is not None
    assert set(declaration.metadata or ()) == {
        "username",
        "First Name",
        "Last Name",
        "Job Title",
        "Company",
        "Bio",
        "Hourly Rate",
        "Currency",
        "Profile URL",
        "Profile URL with UTM",
        "tags",
        "findability_score",
        "category",
    }


def test_stored_versions_of_other_programs_are_kept(workspace: Workspace) -> None:
    """A run neither changes nor translates them, and a setting names them as they are stored."""
    workspace.environ["ASKROWS_TASK"] = "passages"
    import_passages(workspace.begin(), len(OTHER_VERSIONS))
    for number, version in enumerate(OTHER_VERSIONS):
        insert_foreign_concept(workspace, f"p-{number:04}", version)
    query = (
        "SELECT id, passage_id, extractor_version, extractor_model FROM passage_concepts "
        "WHERE concept_name = 'x' ORDER BY id"
    )
    stored_concepts = workspace.query(query)

    # Passages with concepts of the named versions are not asked.
    workspace.ran("tag", MODE="live", YES="1", SKIP_VERSIONS=",".join(OTHER_VERSIONS[1:]))
    assert workspace.query("SELECT row_id FROM askrows_answers") == [("p-0000",)]

    assert workspace.query(query) == stored_concepts
    assert [version for _, _, version, _ in stored_concepts] == list(OTHER_VERSIONS)
    listed_versions = json.loads(workspace.ran("versions", JSON="1").stdout)
    models_by_version = {version["prompt_version"]: version["model"] for version in listed_versions}
    assert {models_by_version[version] for version in OTHER_VERSIONS} == {"m"}
