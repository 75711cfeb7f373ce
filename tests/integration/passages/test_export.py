"""Concepts as files: evidence of any shape, and the same rows in every format."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from askrows.pipeline.batch.run import Run
from askrows.pipeline.passages import table
from askrows.pipeline.passages.table import ConceptRow
from tests.integration.passages.workspaces import LABEL, NOW, add_concepts, shape, workspace
from tests.lab import Workspace

FOREIGN_EVIDENCE = {"claims": [1.0, {"x": None}], "support": "a text"}


def store_concept(
    ws: Run, passage: str, text: str, evidence: object, *, name: str = "bees"
) -> None:
    """Store a passage with a concept."""
    with ws.workspace.store.write() as tx:
        if not table.make_passage_rows(shape(ws)).filter_ids(tx, [passage]):
            table.store_passages(
                tx, shape(ws), [{"id": passage, "text": text, "source": None, "metadata": None}]
            )
    cell = None if evidence is None else json.dumps(evidence)
    row = ConceptRow(passage, name, "other", '["b"]', 0.9, "m", LABEL, cell, NOW)
    add_concepts(ws, [row])


@pytest.mark.alike
def test_foreign_evidence_is_unchanged(tmp_path: Path) -> None:
    """Evidence of another shape is read unchanged."""
    cases: dict[str, Any] = {
        "list": [1, 2],
        "none": None,
        "other": FOREIGN_EVIDENCE,
        "text": "only words",
    }
    with workspace(tmp_path / "data") as ws:
        for name, evidence in cases.items():
            store_concept(ws, name, "Bees sing.", evidence)
        with ws.workspace.store.read() as tx:
            concepts = table.iterate_concepts(tx, shape(ws))
            exported = {concept.passage_id: concept.evidence for concept in concepts}

    assert {name: evidence or None for name, evidence in exported.items()} == cases


@pytest.mark.alike
def test_concepts_are_exported_to_files(tmp_path: Path) -> None:
    """JSON lines and Parquet contain the same rows in their whole shape."""
    import pyarrow.parquet

    folder = str(tmp_path / "data")
    outside_server = Workspace(
        tmp_path / "data", {"ASKROWS_DATA": folder, "ASKROWS_TASK": "passages"}
    )
    text = "Bees sing, and water law is old."
    evidence = {
        "surface": "bees",
        "support": [{"quote": "Bees", "start": 0, "end": 4}],
        "context": text,
        "quality": {"confidence": 1.0, "notes": []},
    }
    with workspace(tmp_path / "data") as ws:
        store_concept(ws, "p", text, evidence)
        store_concept(ws, "p", text, None, name="Bees")
        store_concept(ws, "q", "", FOREIGN_EVIDENCE, name="water law")

    for name in ("out.jsonl", "out.parquet"):
        export_run = outside_server.run("export", str(tmp_path / name))
        assert export_run.exit_code == 0
        assert export_run.stdout == f"3 concepts written to {tmp_path / name}\n"

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
        "evidence": evidence,
        "created_at": NOW.isoformat(),
    }

    rows = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    for row in rows:
        row["evidence"] = row["evidence"] and json.loads(row["evidence"])
        row["created_at"] = datetime.astimezone(row["created_at"], UTC).isoformat()
    assert rows == lines
