"""`qc`: the report on stored answers, through the commands, on both databases."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.passages.quality import measure
from pipeline.passages.shape import read_shape
from pipeline.quality.figures import (
    MeasuredFigure,
    QualityFigures,
    apply_gate_settings,
    judge_figures,
)
from tests.lab import Workspace

LABEL = "passage-concepts@1"
MODEL = "m-1"
EXTRACTOR = f"{LABEL}/{MODEL}"
TEXT = "We study water law here."
ANSWERED_AT = "2026-03-04 05:06:07"


def create_schema(workspace: Workspace) -> None:
    """Create the schema with the tables of passages."""
    workspace.begin().ran("unpark", "--all", "--yes", TASK="passages")


def evidence_cell(start: int = 9, end: int = 18, *, text: str = TEXT) -> str:
    """Return the stored evidence of a quotation."""
    support = [{"quote": text[start:end], "start": start, "end": end}]
    return json.dumps({"surface": "water law", "support": support, "context": text, "quality": {}})


def insert_row(workspace: Workspace, table: str, **values: Any) -> None:
    """Store a row."""
    places = ", ".join(f":{name}" for name in values)
    columns = ", ".join(values)
    statement = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608 - test names
    workspace.change(statement, **values)


def store_passage(
    workspace: Workspace, passage: str, names: list[str], *, text: str = TEXT, **values: Any
) -> None:
    """Store a passage with concepts of a version; `values` are other cells of the concepts."""
    workspace.change(
        "INSERT INTO passages (id, text) VALUES (:id, :text) ON CONFLICT DO NOTHING",
        id=passage,
        text=text,
    )
    concept: dict[str, Any] = {
        "concept_type": "method",
        "aliases": "[]",
        "confidence": 0.9,
        "extractor_model": MODEL,
    }
    concept |= {
        "extractor_version": LABEL,
        "evidence": evidence_cell(),
        "created_at": "2026-03-04 05:06:07+00:00",
    }
    for name in names:
        insert_row(
            workspace, "passage_concepts", passage_id=passage, concept_name=name, **concept | values
        )


def store_answer(workspace: Workspace, item: str, **values: Any) -> None:
    """Store the provenance of an answer: 100 tokens in, 10 out, a thousandth of a dollar."""
    answer: dict[str, Any] = {
        "task": "passage-concepts",
        "batch": 1,
        "extractor": EXTRACTOR,
        "applied": True,
        "outdated": False,
    }
    answer |= {
        "input_hash": "h",
        "answer": "{}",
        "model_version": "m",
        "response_id": "r",
        "at": ANSWERED_AT,
    }
    cost = {"tokens_in": 100, "tokens_out": 10, "cost": 0.001}
    insert_row(workspace, "findable_answers", item_id=item, **answer | cost | values)


def store_batch(workspace: Workspace, *, extractor: str = EXTRACTOR, number: int = 1) -> None:
    """Store a batch of a version."""
    batch: dict[str, Any] = {
        "task": "passage-concepts",
        "model": MODEL,
        "way": "batch",
        "state": "ingested",
        "created_at": ANSWERED_AT,
        "requests": 1,
    }
    batch |= {
        "request_file": "f",
        "request_sha256": "s",
        "request_size": 1,
        "priced_on": "2026-03-04",
    }
    batch |= {"estimated_in": 1, "estimated_out": 1, "estimated_cost": 1.0}
    insert_row(workspace, "findable_batches", number=number, extractor=extractor, **batch)


def store_attempt(
    workspace: Workspace, item: str, outcome: str, *, batch: int = 1, extractor: str = EXTRACTOR
) -> None:
    """Store a charged attempt without an answer: 50 tokens in, 5 out."""
    attempt: dict[str, Any] = {
        "task": "passage-concepts",
        "at": ANSWERED_AT,
        "charged": True,
        "forgiven": False,
        "reason": "r",
    }
    cost = {"tokens_in": 50, "tokens_out": 5, "cost": 0.0005}
    insert_row(
        workspace,
        "findable_attempts",
        item_id=item,
        batch=batch,
        extractor=extractor,
        outcome=outcome,
        **attempt | cost,
    )


def measure_concepts(workspace: Workspace, version: str | None = LABEL) -> QualityFigures:
    """Measure the concepts of a version."""
    with workspace.open() as ws, ws.store.read() as tx:
        return measure(tx, read_shape(tx), version)


def value_of(quality_figures: QualityFigures, name: str) -> Any:
    """Return the value of a figure."""
    return quality_figures.values[name][0]


def verdict_of(quality_figures: QualityFigures, name: str) -> MeasuredFigure:
    """Return the verdict on a figure."""
    gates = apply_gate_settings(quality_figures.figures, {})
    verdicts = judge_figures(quality_figures, gates)
    return next(verdict for verdict in verdicts if verdict.figure.name == name)


def test_figures_describe_the_stored_answers(workspace: Workspace) -> None:
    """Mean, percentiles, evidence, duplicates and garbage of known answers are exact."""
    create_schema(workspace)
    store_passage(workspace, "a", ["Öl law", "öl  Law", "tax", "the law is old"])
    store_passage(workspace, "b", ["neural network", "neural networks"], evidence=None)
    store_passage(workspace, "c", ["bees", "x" * 61, "123"], concept_type="domain")
    store_passage(workspace, "c", ["bees"], extractor_version="other@1")

    figures = measure_concepts(workspace)

    assert figures.items == 3
    assert value_of(figures, "concepts") == pytest.approx(3)
    assert (value_of(figures, "concepts-p10"), value_of(figures, "concepts-p90")) == (2, 4)
    assert value_of(figures, "evidence") == pytest.approx(7 / 9)
    assert value_of(figures, "duplicates") == pytest.approx(1 / 9)
    assert value_of(figures, "garbage") == pytest.approx(1 / 9)
    assert [tuple(row) for row in figures.tables[0].cells] == [("x" * 61, 1)]
    assert measure_concepts(workspace, EXTRACTOR).values == figures.values
    assert measure_concepts(workspace, f"{LABEL}/other").items == 0
    assert measure_concepts(workspace, None).items == 4


@pytest.mark.full
def test_coverage_and_failures_count_the_charged_attempts(workspace: Workspace) -> None:
    """Rows answered after a failure are covered; rows that failed for good are not.

    Another version's answers do not count.
    """
    create_schema(workspace)
    store_batch(workspace)
    store_batch(workspace, extractor="other@1/m-1", number=2)
    for item in ("a", "b", "c"):
        store_passage(workspace, item, ["law"])
        store_answer(workspace, item)
    # The table has no concept of "k", the answer of "l" does not count, and "a" has an answer.
    store_answer(workspace, "k")
    store_answer(workspace, "l", applied=False)
    store_attempt(workspace, "a", "invalid")
    store_attempt(workspace, "d", "invalid")
    store_attempt(workspace, "e", "missing")
    store_attempt(workspace, "f", "refused")
    store_attempt(workspace, "g", "invalid", batch=2, extractor="other@1/m-1")
    store_answer(workspace, "j", extractor="other@1/m-1")

    figures = measure_concepts(workspace)

    # The rows d, e, f and k are not covered.
    assert value_of(figures, "coverage") == pytest.approx(3 / 7)
    assert value_of(figures, "parse-failure") == pytest.approx(2 / 8)
    assert value_of(figures, "cost") == pytest.approx(5 * 0.001 + 4 * 0.0005)
    assert value_of(figures, "tokens-in") == pytest.approx((5 * 100 + 4 * 50) / 5)
    assert value_of(figures, "tokens-out") == pytest.approx((5 * 10 + 4 * 5) / 5)


@pytest.mark.full
def test_types_are_compared_with_other_versions(workspace: Workspace) -> None:
    """Different types diverge, case does not count; other vocabularies are not compared."""
    create_schema(workspace)
    no_version_note = "types were not compared, because there is no other version"
    words = ("law", "tax", "bees", "wax")
    for number in range(40):
        store_passage(
            workspace, f"p-{number}", [f"{word} {number}" for word in words], concept_type="Method"
        )

    figures = measure_concepts(workspace)
    assert verdict_of(figures, "divergence").passed is None
    assert no_version_note in figures.notes

    for number in range(40):
        store_passage(
            workspace,
            f"p-{number}",
            [f"{word} {number}" for word in words],
            extractor_version="v@2",
        )
        store_passage(
            workspace, f"p-{number}", ["law"], extractor_version="v@3", concept_type="Technique"
        )

    figures = measure_concepts(workspace)
    assert value_of(figures, "divergence") == pytest.approx(0)
    assert verdict_of(figures, "divergence").passed is True
    assert "40 concepts of other versions have unknown types and were not compared" in figures.notes

    workspace.change(
        "UPDATE passage_concepts SET concept_type = 'dataset' WHERE extractor_version = 'v@2'"
    )
    figures = measure_concepts(workspace)
    assert verdict_of(figures, "divergence").passed is False
    assert value_of(figures, "divergence") == pytest.approx(1)

    # The samples are random, but equal each time.
    samples = [(sample.id, sample.name) for sample in figures.samples]
    second_samples = [(sample.id, sample.name) for sample in measure_concepts(workspace).samples]
    assert (len(samples), samples) == (30, second_samples)

    sample_ids = [sample_id for sample_id, _ in samples]
    assert sample_ids != sorted(sample_ids)

    workspace.change("DELETE FROM passage_concepts WHERE extractor_version = 'v@3'")
    workspace.change("DELETE FROM passage_concepts WHERE extractor_version = 'v@2'")
    assert no_version_note in measure_concepts(workspace).notes


def test_samples_mark_the_quotations(workspace: Workspace) -> None:
    """A sample marks its quotation, and names wrong offsets, a missing quotation or passage."""
    create_schema(workspace)
    long_text = "\u05d0\u0301 \U0001f600 " * 100 + TEXT + " \u05d0" * 300
    start = long_text.index("water law")
    store_passage(
        workspace,
        "good",
        ["water law"],
        text=long_text,
        evidence=evidence_cell(start, start + 9, text=long_text),
    )
    store_passage(
        workspace,
        "wrong",
        ["water law"],
        evidence=evidence_cell().replace('"start": 9', '"start": 8'),
    )
    store_passage(workspace, "none", ["water law"], evidence=None)
    store_passage(workspace, "odd", ["water law"], evidence='{"support": [{"quote": 3}, 7]}')
    store_passage(workspace, "gone", ["water law"])
    workspace.change("DELETE FROM passages WHERE id = 'gone'")

    samples = {sample.id: sample for sample in measure_concepts(workspace).samples}

    good_sample = samples["good"]
    assert [good_sample.text[first:last] for first, last in good_sample.spans] == ["water law"]
    assert len(good_sample.text) < 400
    assert good_sample.answer_text == "method, 0.9"
    assert "WRONG OFFSETS" in samples["wrong"].answer_text
    assert "without a quotation" in samples["none"].answer_text
    assert "without a quotation" in samples["odd"].answer_text
    assert "the passage was deleted" in samples["gone"].answer_text
    assert not any(sample.spans for key, sample in samples.items() if key != "good")


def test_similar_quotations_come_first_and_foreign_quotations_fail_a_gate(
    workspace: Workspace,
) -> None:
    """A quotation that its passage does not contain fails the gate of forty passages."""
    create_schema(workspace)
    similar_evidence = evidence_cell().replace('"end": 18}', '"end": 18, "likeness": 0.9}')
    for number in range(40):
        store_passage(
            workspace,
            f"p-{number}",
            ["water law"],
            evidence=similar_evidence if number == 33 else evidence_cell(),
        )

    store_passage(workspace, "p-33", ["a first one", "tax"])

    figures = measure_concepts(workspace)
    assert figures.samples[0].id == "p-33"
    assert figures.samples[0].answer_text == "method, 0.9, by likeness 0.90"
    assert (len(figures.samples), verdict_of(figures, "unlike-text").passed) == (30, True)

    workspace.change("UPDATE passages SET text = 'Bees and wax, and bees.' WHERE id = 'p-1'")
    figures = measure_concepts(workspace)
    assert verdict_of(figures, "unlike-text").passed is False
    assert value_of(figures, "unlike-text") == pytest.approx(1 / 42)


def test_qc_writes_the_report_and_ends_with_its_verdict(workspace: Workspace) -> None:
    """A failed gate exits with 6, its figure and report; a bad bound (3) writes nothing."""
    create_schema(workspace)
    for number in range(20):
        store_passage(workspace, f"p-{number}", ["law", "tax"])
    for gates_set in ("evidenc=0.9", "evidence=95", "concepts=5"):
        assert "GATES" in workspace.ran("qc", TASK="passages", GATES=gates_set, code=3).stderr
    assert not (workspace.data / "reports").exists()

    failed_run = workspace.ran("qc", TASK="passages", code=6)
    assert "concepts is 2, wanted: 4 to 14" in failed_run.stderr
    assert "make qc" not in failed_run.stdout

    (report,) = (workspace.data / "reports").glob("*.md")
    assert "**FAIL**" in report.read_text(encoding="utf-8")

    passed_run = workspace.ran("qc", "--json", TASK="passages", GATES="concepts=2..14")
    document = json.loads(passed_run.stdout)
    assert document["passed"] is True
    assert document["settings"]["GATES"] == "concepts=2..14"
    assert "pass" in Path(document["report"]).read_text(encoding="utf-8")


def tag_people(
    workspace: Workspace, tags: list[str], *, condition: str = "1 = 1", **values: Any
) -> None:
    """Tag people as an answer of the version does."""
    workspace.change(
        f"UPDATE experts SET tags = :tags WHERE {condition}",  # noqa: S608 - ours
        tags=json.dumps(tags),
        **values,
    )
    query = f"SELECT CAST(id AS TEXT) FROM experts WHERE {condition}"  # noqa: S608 - test names
    for (key,) in workspace.query(query, **values):
        store_answer(workspace, key, extractor="expert-tags@2/m-1", task="expert-tags", batch=None)


def test_people_have_their_own_gates(workspace: Workspace, people: Any) -> None:
    """Only the tags of the version are measured; a few people get no verdict."""
    names = people(3)
    people_with_tags = '["came with the data"]'
    workspace.change(
        "INSERT INTO experts (username, tags) VALUES ('theirs', :tags)", tags=people_with_tags
    )
    for number, name in enumerate(names):
        tag_people(workspace, ["law", f"tag {number}"], condition="username = :name", name=name)

    result = workspace.ran("qc", "--json")
    document = json.loads(result.stdout)

    values = {name: entry["value"] for name, entry in document["figures"].items()}
    assert values["tags"] == 2
    assert values["used-once"] == 0.75
    assert values["longest-tag"] == 5
    assert values["people"] == 3
    assert {entry["passed"] for entry in document["gates"]} == {None}
    assert {entry["name"] for entry in document["samples"]} == set(names)
