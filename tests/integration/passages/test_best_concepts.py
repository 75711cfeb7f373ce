"""The view of the best concepts: evidence, settings, foreign views; and concepts as files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.settings import Settings
from pipeline.engine.session import WorkspaceSession
from pipeline.passages import table
from pipeline.passages.shape import ConceptRow
from tests.integration.passages.workspaces import (
    LABEL,
    NOW,
    add_concepts,
    lines_of,
    shape,
    workspace,
)
from tests.lab import ON_POSTGRESQL, Workspace

# Every part of this text shows its position.
LONG_TEXT = "".join(f"{number:04d} " for number in range(1000))
# 1,800 code points.
ACCENTED_TEXT = "e\u0301\U0001f41d" * 600
FOREIGN_EVIDENCE = {"claims": [1.0, {"x": None}], "support": "a text"}


def store_concept(
    ws: WorkspaceSession, passage: str, text: str, evidence: str | None, *, name: str = "bees"
) -> None:
    """Store a passage with a concept."""
    with ws.store.write() as tx:
        if not table.make_row_table(shape(ws)).filter_ids(tx, [passage]):
            table.store_passages(
                tx, shape(ws), [{"id": passage, "text": text, "source": None, "metadata": None}]
            )
    row = ConceptRow(passage, name, "other", '["b"]', 0.9, "m", LABEL, evidence, NOW)
    add_concepts(ws, [row])


def evidence_cell(start: int, end: int, text: str) -> str:
    """Return evidence as it is stored."""
    support = [{"quote": text[start:end], "start": start, "end": end}]
    quality = {"confidence": 1.0, "notes": []}
    return json.dumps(
        {"surface": "bees", "support": support, "context": text[start:end], "quality": quality}
    )


def exported_evidence(evidence: str) -> dict[str, Any]:
    """Return evidence as an export writes it."""
    return {name: value for name, value in json.loads(evidence).items() if name != "context"}


def read_view(workspace: Workspace, passage: str) -> Any:
    """Return the evidence that the view shows of a passage's only concept."""
    cell = workspace.scalar("SELECT evidence FROM best_concepts WHERE passage_id = :id", id=passage)
    return json.loads(cell) if isinstance(cell, str) and not ON_POSTGRESQL else cell


@pytest.fixture
def outside_server(tmp_path: Path) -> Workspace:
    """Return the workspace as another program sees it."""
    return Workspace(
        tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data"), "FINDABLE_TASK": "passages"}
    )


@pytest.mark.alike
def test_the_source_text_surrounds_the_first_quotation(
    tmp_path: Path, outside_server: Workspace
) -> None:
    """The view shows at most 1,200 code points of the passage around the quotation."""
    cases = [
        ("Bees sing.", 0, 4),
        (LONG_TEXT, 0, 4),
        (LONG_TEXT, 2500, 2504),
        (LONG_TEXT, 4995, 4999),
        (LONG_TEXT, 1000, 4900),
        (LONG_TEXT[:1200], 1100, 1104),
        (LONG_TEXT[:1201], 1100, 1104),
        (ACCENTED_TEXT, 900, 903),
    ]
    with workspace(tmp_path / "data") as ws:
        for number, (text, start, end) in enumerate(cases):
            store_concept(ws, str(number), text, evidence_cell(start, end, text))

    for number, (text, start, end) in enumerate(cases):
        evidence = read_view(outside_server, str(number))
        source = evidence.pop("source_text")
        assert source in text
        assert len(source) == min(len(text), 1200)
        assert text[start:end][:1200] in source
        assert evidence == json.loads(evidence_cell(start, end, text))

    # On a server the view has JSONB, so that `->>` works.
    assert (
        outside_server.scalar(
            "SELECT evidence ->> 'source_text' FROM best_concepts WHERE passage_id = '0'"
        )
        == "Bees sing."
    )


@pytest.mark.alike
def test_foreign_evidence_is_unchanged(tmp_path: Path, outside_server: Workspace) -> None:
    """View and export show evidence of another shape, or with its own source, unchanged."""
    invalid_supports: list[list[dict[str, Any]]] = [[]]
    invalid_supports += [[{"start": start, "end": 4}] for start in ("0", 1.5, -3)]

    cases: dict[str, Any] = {
        "list": [1, 2],
        "none": None,
        "other": FOREIGN_EVIDENCE,
        "own": {"source_text": "their own", "support": [{"start": 0, "end": 4}]},
        "text": "only words",
    }
    for index, support in enumerate(invalid_supports):
        cases[f"z{index}"] = {"support": support}

    with workspace(tmp_path / "data") as ws:
        for name, evidence in cases.items():
            store_concept(
                ws, name, "Bees sing.", None if evidence is None else json.dumps(evidence)
            )
        with ws.store.read() as tx:
            concepts = table.iterate_concepts(tx, shape(ws))
            exported = {concept.passage_id: concept.evidence for concept in concepts}

    assert {name: read_view(outside_server, name) or None for name in cases} == cases
    assert {name: evidence or None for name, evidence in exported.items()} == cases


def test_the_view_follows_the_settings(outside_server: Workspace, tmp_path: Path) -> None:
    """A command that writes recreates the view if settings of passages changed; others do not."""
    with workspace(tmp_path / "data") as ws:
        store_concept(ws, "p", "Bees sing.", None)

    count = "SELECT count(*) FROM best_concepts"
    outside_server.ran("unpark", "--all", MIN_CONFIDENCE="0.95")
    assert outside_server.scalar(count) == 0

    # These commands leave the view as it is.
    outside_server.ran("unpark", "--all", TASK="experts")
    outside_server.ran("status")
    outside_server.ran("export", "-", "--best")
    assert outside_server.scalar(count) == 0

    outside_server.ran("unpark", "--all")
    assert outside_server.scalar(count) == 1

    with workspace(tmp_path / "data") as ws, ws.store.read() as tx:
        assert table.TABLES.is_adopted(tx, Settings(task="passages", min_confidence=0.7))
        assert not table.TABLES.is_adopted(tx, Settings(task="passages", min_confidence=0.71))


@pytest.mark.parametrize(
    "foreign_object", ["TABLE best_concepts (x TEXT)", "VIEW best_concepts AS SELECT 1 AS x"]
)
def test_a_foreign_table_or_view_stays(
    tmp_path: Path, outside_server: Workspace, foreign_object: str
) -> None:
    """A foreign table or view of that name stays, is reported once, and is not needed."""
    with workspace(tmp_path / "data") as ws:
        store_concept(ws, "p", "Bees sing.", None)
    outside_server.change("DROP VIEW best_concepts")
    outside_server.change(f"CREATE {foreign_object}")
    # Now the tables look foreign too.
    outside_server.change("DROP INDEX passage_concepts_of_passage")

    with workspace(tmp_path / "data") as ws:
        assert any("`best_concepts` belongs to another program" in line for line in lines_of(ws))
    with workspace(tmp_path / "data") as ws:
        assert lines_of(ws) == []
    assert outside_server.columns("best_concepts") == ["x"]

    export_run = outside_server.run("export", "-", "--best")
    assert json.loads(export_run.stdout)["concept_name"] == "bees"


@pytest.mark.alike
def test_concepts_are_exported_to_files(tmp_path: Path, outside_server: Workspace) -> None:
    """JSON lines and Parquet contain the same rows in their whole shape, all or the best."""
    import pyarrow.parquet

    text = "Bees sing, and water law is old."
    with workspace(tmp_path / "data") as ws:
        store_concept(ws, "p", text, evidence_cell(0, 4, text))
        store_concept(ws, "p", text, None, name="Bees")
        store_concept(ws, "q", "", json.dumps(FOREIGN_EVIDENCE), name="water law")

    for name, flags, count in (
        ("best.jsonl", ["--best"], 2),
        ("out.jsonl", [], 3),
        ("out.parquet", [], 3),
    ):
        export_run = outside_server.run("export", str(tmp_path / name), *flags)
        assert export_run.exit_code == 0
        assert export_run.stdout == f"{count} concepts written to {tmp_path / name}\n"

    lines = [
        json.loads(line)
        for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    first_concept = next(concept for concept in lines if concept["concept_name"] == "bees")
    assert first_concept == {
        "passage_id": "p",
        "concept_name": "bees",
        "concept_type": "other",
        "aliases": ["b"],
        "confidence": 0.9,
        "extractor_model": "m",
        "extractor_version": LABEL,
        "evidence": {**exported_evidence(evidence_cell(0, 4, text)), "source_text": text},
        "created_at": NOW.isoformat(),
    }

    with workspace(tmp_path / "data") as ws:
        store_concept(ws, "p", text, evidence_cell(10, 15, text), name="water")
    for flags, count in (([], 1), (["--full"], 2)):
        assert outside_server.run("export", "-", *flags).stdout.count("source_text") == count

    rows = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    for row in rows:
        row["evidence"] = row["evidence"] and json.loads(row["evidence"])
        row["created_at"] = datetime.astimezone(row["created_at"], UTC).isoformat()
    assert rows == lines
