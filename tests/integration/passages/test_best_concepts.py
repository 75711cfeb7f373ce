"""The view of the best concepts: its evidence, its settings, another program's of its name; and concepts as files."""

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

LONG = "".join(f"{number:04d} " for number in range(1000))  # every part of it tells where it stands
ACCENTS = "e\u0301\U0001f41d" * 600  # 1,800 code points
OTHER = {"claims": [1.0, {"x": None}], "support": "a text"}


def put(
    ws: WorkspaceSession, passage: str, text: str, evidence: str | None, *, name: str = "bees"
) -> None:
    """Put one passage with one concept into a workspace."""
    with ws.store.write() as tx:
        if not table.item_table(shape(ws)).filter_ids(tx, [passage]):
            table.put_passages(
                tx, shape(ws), [{"id": passage, "text": text, "source": None, "metadata": None}]
            )
    row = ConceptRow(passage, name, "other", '["b"]', 0.9, "m", LABEL, evidence, NOW)
    add_concepts(ws, [row])


def supported(start: int, end: int, text: str) -> str:
    """Return evidence as it is stored."""
    support = [{"quote": text[start:end], "start": start, "end": end}]
    quality = {"confidence": 1.0, "notes": []}
    return json.dumps(
        {"surface": "bees", "support": support, "context": text[start:end], "quality": quality}
    )


def without_context(evidence: str) -> dict[str, Any]:
    """Return evidence as an export has it."""
    return {name: value for name, value in json.loads(evidence).items() if name != "context"}


def viewed(workspace: Workspace, passage: str) -> Any:
    """Return the evidence that the view has of the one concept of a passage."""
    cell = workspace.scalar("SELECT evidence FROM best_concepts WHERE passage_id = :id", id=passage)
    return json.loads(cell) if isinstance(cell, str) and not ON_POSTGRESQL else cell


@pytest.fixture
def outside_server(tmp_path: Path) -> Workspace:
    """The same workspace as another program sees it."""
    return Workspace(
        tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data"), "FINDABLE_TASK": "passages"}
    )


@pytest.mark.sampled(0)
def test_the_source_stands_round_the_first_quotation(
    tmp_path: Path, outside_server: Workspace
) -> None:
    """At most 1,200 code points of the passage, whole where it is short; the quotation is in it as far as it fits."""
    cases = [
        ("Bees sing.", 0, 4),
        (LONG, 0, 4),
        (LONG, 2500, 2504),
        (LONG, 4995, 4999),
        (LONG, 1000, 4900),
        (LONG[:1200], 1100, 1104),
        (LONG[:1201], 1100, 1104),
        (ACCENTS, 900, 903),
    ]
    with workspace(tmp_path / "data") as ws:
        for number, (text, start, end) in enumerate(cases):
            put(ws, str(number), text, supported(start, end, text))
    for number, (text, start, end) in enumerate(cases):
        evidence = viewed(outside_server, str(number))
        source = evidence.pop("source_text")
        assert source in text
        assert len(source) == min(len(text), 1200)
        assert text[start:end][:1200] in source
        assert evidence == json.loads(supported(start, end, text))
    kind = (
        "pg_typeof({})::text" if ON_POSTGRESQL else "typeof({})"
    )  # JSONB on a server, so that `->>` works
    for name in ("aliases", "evidence"):
        query = f"SELECT DISTINCT {kind.format(name)} FROM {{}}"  # noqa: S608 - our names
        assert outside_server.query(query.format("best_concepts")) == outside_server.query(
            query.format("passage_concepts")
        )
    assert (
        outside_server.scalar(
            "SELECT evidence ->> 'source_text' FROM best_concepts WHERE passage_id = '0'"
        )
        == "Bees sing."
    )


@pytest.mark.sampled(0)
def test_other_evidence_passes_unharmed(tmp_path: Path, outside_server: Workspace) -> None:
    """Evidence of another shape, or with a source of its own, is in the view and the export what it is."""
    cases: dict[str, Any] = {
        "list": [1, 2],
        "none": None,
        "other": OTHER,
        "own": {"source_text": "their own", "support": [{"start": 0, "end": 4}]},
        "text": "only words",
        **{
            f"z{index}": {"support": bad}
            for index, bad in enumerate(([], *([{"start": s, "end": 4}] for s in ("0", 1.5, -3))))
        },
    }
    with workspace(tmp_path / "data") as ws:
        for name, evidence in cases.items():
            put(ws, name, "Bees sing.", None if evidence is None else json.dumps(evidence))
        with ws.store.read() as tx:
            exported = {
                all_concept.passage_id: all_concept.evidence
                for all_concept in table.all_concepts(tx, shape(ws))
            }
    assert {name: viewed(outside_server, name) or None for name in cases} == cases
    assert {name: evidence or None for name, evidence in exported.items()} == cases
    if not ON_POSTGRESQL:  # a column of JSON refuses it on a server
        outside_server.change(
            "UPDATE passage_concepts SET evidence = '{not JSON' WHERE passage_id = 'own'"
        )
        assert (
            outside_server.scalar("SELECT evidence FROM best_concepts WHERE passage_id = 'own'")
            == "{not JSON"
        )


def test_the_view_follows_the_settings(outside_server: Workspace, tmp_path: Path) -> None:
    """A command that writes makes it anew where it finds other settings of passages, and no other command does."""
    with workspace(tmp_path / "data") as ws:
        put(ws, "p", "Bees sing.", None)
    count = "SELECT count(*) FROM best_concepts"
    outside_server.ran("unpark", "--all", MIN_CONFIDENCE="0.95")
    assert outside_server.scalar(count) == 0
    outside_server.ran("unpark", "--all", TASK="experts")
    outside_server.ran("status")
    outside_server.ran("export", "-", "--best")
    assert outside_server.scalar(count) == 0
    outside_server.ran("unpark", "--all")
    assert outside_server.scalar(count) == 1
    outside_server.ran("unpark", "--all", PREFER_VERSIONS="it's@1,100%@2")
    assert outside_server.scalar(count) == 1
    with workspace(tmp_path / "data") as ws, ws.store.read() as tx:
        assert table.TABLES.is_adopted(tx, Settings(task="passages", min_confidence=0.7))
        assert not table.TABLES.is_adopted(tx, Settings(task="passages", min_confidence=0.71))
        assert not table.TABLES.is_adopted(
            tx, Settings(task="passages", prefer_versions=(LABEL,), min_confidence=0.7)
        )


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize(
    "theirs", ["TABLE best_concepts (x TEXT)", "VIEW best_concepts AS SELECT 1 AS x"]
)
def test_what_is_somebody_elses_stays(
    tmp_path: Path, outside_server: Workspace, theirs: str
) -> None:
    """A table or view of that name is left as it is, and told of once; the command does without it."""
    with workspace(tmp_path / "data") as ws:
        put(ws, "p", "Bees sing.", None)
    outside_server.change("DROP VIEW best_concepts")
    outside_server.change(f"CREATE {theirs}")
    outside_server.change(
        "DROP INDEX passage_concepts_of_passage"
    )  # as if the tables were theirs too
    with workspace(tmp_path / "data") as ws:
        assert any("`best_concepts` in this database is not ours" in line for line in lines_of(ws))
    with workspace(tmp_path / "data") as ws:
        assert lines_of(ws) == []
    assert outside_server.columns("best_concepts") == ["x"]
    export_run = outside_server.run("export", "-", "--best")
    assert json.loads(export_run.stdout)["concept_name"] == "bees"


@pytest.mark.sampled(0)
def test_concepts_go_into_files_and_come_back(tmp_path: Path, outside_server: Workspace) -> None:
    """JSON lines and Parquet hold the same rows in their whole shape, all or the best."""
    import pyarrow.parquet

    text = "Bees sing, and water law is old."
    with workspace(tmp_path / "data") as ws:
        put(ws, "p", text, supported(0, 4, text))
        put(ws, "p", text, None, name="Bees")
        put(ws, "q", "", json.dumps(OTHER), name="water law")
    for name, flags, count in (
        ("best.jsonl", ["--best"], 2),
        ("out.jsonl", [], 3),
        ("out.parquet", [], 3),
    ):
        ran = outside_server.run("export", str(tmp_path / name), *flags)
        assert (ran.exit_code, ran.stdout) == (
            0,
            f"{count} concepts written to {tmp_path / name}\n",
        )
    lines = [
        json.loads(line)
        for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    first = next(one for one in lines if one["concept_name"] == "bees")
    assert first == {
        "passage_id": "p",
        "concept_name": "bees",
        "concept_type": "other",
        "aliases": ["b"],
        "confidence": 0.9,
        "extractor_model": "m",
        "extractor_version": LABEL,
        "evidence": {**without_context(supported(0, 4, text)), "source_text": text},
        "created_at": NOW.isoformat(),
    }
    with workspace(tmp_path / "data") as ws:
        put(ws, "p", text, supported(10, 15, text), name="water")
    for flags, count in (([], 1), (["--full"], 2)):
        assert outside_server.run("export", "-", *flags).stdout.count("source_text") == count
    rows = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    for row in rows:
        row["evidence"] = row["evidence"] and json.loads(row["evidence"])
        row["created_at"] = datetime.astimezone(row["created_at"], UTC).isoformat()
    assert rows == lines
