"""`qc`: the report on stored answers, through the commands, on both databases."""

import json
from typing import Any

import pytest

from askrows.pipeline.passages.quality import measure_concept_quality
from askrows.pipeline.passages.table import read_shape
from askrows.pipeline.quality.figures import (
    MeasuredFigure,
    QualityFigures,
    judge_figures,
    make_effective_gates,
)
from tests.lab import Workspace

LABEL = "passage-concepts@1"
MODEL = "m-1"
VERSION = f"{LABEL}/{MODEL}"
TASK = "passage-concepts"
TEXT = "We study water law here."
ANSWERED_AT = "2026-03-04 05:06:07"


def create_schema(workspace: Workspace) -> None:
    """Create the schema with the tables of passages."""
    workspace.begin().ran("unpark", "--all", "--yes", TASK="passages")


def evidence_cell(start: int = 9, end: int = 18, *, text: str = TEXT) -> str:
    """Return the stored evidence of a quotation."""
    support = [{"quote": text[start:end], "start": start, "end": end}]
    return json.dumps({"surface": "water law", "support": support, "context": text, "quality": {}})


CONCEPT: dict[str, Any] = {
    "concept_type": "method",
    "aliases": "[]",
    "confidence": 0.9,
    "extractor_model": MODEL,
    "extractor_version": LABEL,
    "evidence": evidence_cell(),
    "created_at": f"{ANSWERED_AT}+00:00",
}
BATCH: dict[str, Any] = {
    "task": TASK,
    "model": MODEL,
    "mode": "batch",
    "state": "ingested",
    "created_at": ANSWERED_AT,
    "requests": 1,
    "version": VERSION,
    "request_file": "f",
    "request_sha256": "s",
    "request_size": 1,
    "backend": "gemini",
    "address": "https://here",
    "priced_on": "2026-03-04",
    "estimated_in": 1,
    "estimated_out": 1,
    "estimated_cost": 1.0,
}
# The provenance of an answer: 100 tokens in, 10 out, a thousandth of a dollar.
ANSWER: dict[str, Any] = {
    "task": TASK,
    "batch": 1,
    "version": VERSION,
    "applied": True,
    "outdated": False,
    "input_hash": "h",
    "answer": "{}",
    "model_version": "m",
    "response_id": "r",
    "at": ANSWERED_AT,
    "tokens_in": 100,
    "tokens_out": 10,
    "cost": 0.001,
}
# A charged attempt without an answer: 50 tokens in, 5 out.
ATTEMPT: dict[str, Any] = {
    "task": TASK,
    "batch": 1,
    "version": VERSION,
    "at": ANSWERED_AT,
    "charged": True,
    "forgiven": False,
    "reason": "r",
    "tokens_in": 50,
    "tokens_out": 5,
    "cost": 0.0005,
}
OTHER_VERSION = {"version": "other@1/m-1"}


def insert_row(workspace: Workspace, table: str, row: dict[str, Any], **values: Any) -> None:
    """Store a row; `values` are other cells."""
    cells = row | values
    places = ", ".join(f":{name}" for name in cells)
    columns = ", ".join(cells)
    statement = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608 - test names
    workspace.change(statement, **cells)


def store_passage(
    workspace: Workspace, passage: str, names: list[str], *, text: str = TEXT, **values: Any
) -> None:
    """Store a passage with concepts of a version; `values` are other cells of the concepts."""
    workspace.change(
        "INSERT INTO passages (id, text) VALUES (:id, :text) ON CONFLICT DO NOTHING",
        id=passage,
        text=text,
    )
    concept = CONCEPT | values | {"passage_id": passage}
    for name in names:
        insert_row(workspace, "passage_concepts", concept, concept_name=name)


def measure_concepts(workspace: Workspace, version: str | None = LABEL) -> QualityFigures:
    """Measure the concepts of a version."""
    with workspace.open() as ws, ws.workspace.store.read() as tx:
        return measure_concept_quality(tx, read_shape(tx), version)


def value_of(quality_figures: QualityFigures, name: str) -> Any:
    """Return the value of a figure."""
    return quality_figures.values[name][0]


def verdict_of(quality_figures: QualityFigures, name: str) -> MeasuredFigure:
    """Return the verdict on a figure."""
    gates = make_effective_gates(quality_figures.figures, {})
    verdicts = judge_figures(quality_figures, gates)
    return next(verdict for verdict in verdicts if verdict.figure.name == name)


def test_figures_describe_the_stored_answers(workspace: Workspace) -> None:
    """Mean, evidence, duplicates and garbage of known answers are exact."""
    create_schema(workspace)
    store_passage(workspace, "a", ["Öl law", "öl  Law", "tax", "the law is old"])
    store_passage(workspace, "b", ["neural network", "neural networks"], evidence=None)
    store_passage(workspace, "c", ["bees", "x" * 61, "123"], concept_type="domain")
    store_passage(workspace, "c", ["bees"], extractor_version="other@1")

    figures = measure_concepts(workspace)

    assert figures.rows == 3
    assert value_of(figures, "concepts") == pytest.approx(3)
    assert value_of(figures, "evidence") == pytest.approx(7 / 9)
    assert value_of(figures, "duplicates") == pytest.approx(1 / 9)
    assert value_of(figures, "garbage") == pytest.approx(1 / 9)
    assert measure_concepts(workspace, VERSION).values == figures.values
    assert measure_concepts(workspace, f"{LABEL}/other").rows == 0
    assert measure_concepts(workspace, None).rows == 4


@pytest.mark.full
def test_coverage_and_failures_count_the_charged_attempts(workspace: Workspace) -> None:
    """Rows answered after a failure are covered; rows that failed for good are not.

    Another version's answers do not count.
    """
    create_schema(workspace)
    insert_row(workspace, "askrows_batches", BATCH, number=1)
    insert_row(workspace, "askrows_batches", BATCH | OTHER_VERSION, number=2)
    for row_id in ("a", "b", "c"):
        store_passage(workspace, row_id, ["law"])

    # The table has no concept of "k", and the answer of "l" does not count.
    for row_id in ("a", "b", "c", "k"):
        insert_row(workspace, "askrows_answers", ANSWER, row_id=row_id)
    insert_row(workspace, "askrows_answers", ANSWER, row_id="l", applied=False)
    insert_row(workspace, "askrows_answers", ANSWER | OTHER_VERSION, row_id="j")

    # "a" has an answer, too.
    failures = {"a": "invalid", "d": "invalid", "e": "missing", "f": "refused"}
    for row_id, outcome in failures.items():
        insert_row(workspace, "askrows_attempts", ATTEMPT, row_id=row_id, outcome=outcome)
    other_attempt = ATTEMPT | OTHER_VERSION | {"batch": 2}
    insert_row(workspace, "askrows_attempts", other_attempt, row_id="g", outcome="invalid")

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
    words = ("law", "tax", "bees", "wax")
    for number in range(40):
        store_passage(
            workspace, f"p-{number}", [f"{word} {number}" for word in words], concept_type="Method"
        )

    figures = measure_concepts(workspace)
    assert verdict_of(figures, "divergence").passed is None

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
    # Another program's list may have other members.
    mixed_cell = evidence_cell().replace("[{", "[7, {")
    store_passage(workspace, "mixed", ["water law"], evidence=mixed_cell)
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
    assert samples["mixed"].answer_text == "method, 0.9"
    assert {key for key, sample in samples.items() if sample.spans} == {"good", "mixed"}


def test_foreign_quotations_fail_a_gate(
    workspace: Workspace,
) -> None:
    """A quotation that its passage does not contain fails the gate of forty passages."""
    create_schema(workspace)
    for number in range(40):
        store_passage(
            workspace,
            f"p-{number}",
            ["water law"],
            evidence=evidence_cell(),
        )

    store_passage(workspace, "p-33", ["a first one", "tax"])

    figures = measure_concepts(workspace)
    assert (len(figures.samples), verdict_of(figures, "unlike-text").passed) == (30, True)

    workspace.change("UPDATE passages SET text = 'Bees and wax, and bees.' WHERE id = 'p-1'")
    figures = measure_concepts(workspace)
    assert verdict_of(figures, "unlike-text").passed is False
    assert value_of(figures, "unlike-text") == pytest.approx(1 / 42)
