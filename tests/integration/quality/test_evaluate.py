"""`qc`: the report on stored answers, through the commands, on both databases."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.passages.quality import measure
from pipeline.passages.shape import read_shape
from pipeline.quality.figures import MeasuredFigure, QualityFigures, effective_gates, judge_figures
from tests.lab import Workspace

LABEL = "passage-concepts@1"
MODEL = "m-1"
EXTRACTOR = f"{LABEL}/{MODEL}"
TEXT = "We study water law here."
AT = "2026-03-04 05:06:07"


def ready(workspace: Workspace) -> None:
    """Make the schema, with the tables of passages."""
    workspace.begin().ran("unpark", "--all", "--yes", TASK="passages")


def evidence(start: int = 9, end: int = 18, *, text: str = TEXT) -> str:
    """Return the evidence of one quotation as it is stored."""
    support = [{"quote": text[start:end], "start": start, "end": end}]
    return json.dumps({"surface": "water law", "support": support, "context": text, "quality": {}})


def insert(workspace: Workspace, table: str, **values: Any) -> None:
    """Store one row."""
    places = ", ".join(f":{name}" for name in values)
    workspace.change(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", **values)  # noqa: S608 - our names


def put(
    workspace: Workspace, passage: str, names: list[str], *, text: str = TEXT, **values: Any
) -> None:
    """Store one passage with some concepts of one version; `values` are other cells of theirs."""
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
        "evidence": evidence(),
        "created_at": "2026-03-04 05:06:07+00:00",
    }
    for name in names:
        insert(
            workspace, "passage_concepts", passage_id=passage, concept_name=name, **concept | values
        )


def answered(workspace: Workspace, item: str, **values: Any) -> None:
    """Keep an answer's provenance, as ingest does: 100 tokens in, 10 out, a thousandth of a dollar."""
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
        "at": AT,
    }
    cost = {"tokens_in": 100, "tokens_out": 10, "cost": 0.001}
    insert(workspace, "findable_answers", item_id=item, **answer | cost | values)


def a_batch(workspace: Workspace, *, extractor: str = EXTRACTOR, number: int = 1) -> None:
    """Store a batch of an extractor."""
    batch: dict[str, Any] = {
        "task": "passage-concepts",
        "model": MODEL,
        "way": "batch",
        "state": "ingested",
        "created_at": AT,
        "requests": 1,
    }
    batch |= {
        "request_file": "f",
        "request_sha256": "s",
        "request_size": 1,
        "priced_on": "2026-03-04",
    }
    batch |= {"estimated_in": 1, "estimated_out": 1, "estimated_cost": 1.0}
    insert(workspace, "findable_batches", number=number, extractor=extractor, **batch)


def attempt(
    workspace: Workspace, item: str, outcome: str, *, batch: int = 1, extractor: str = EXTRACTOR
) -> None:
    """Keep an attempt of a batch that gave no answer and was charged: 50 tokens in, 5 out."""
    tried: dict[str, Any] = {
        "task": "passage-concepts",
        "at": AT,
        "charged": True,
        "forgiven": False,
        "reason": "r",
    }
    cost = {"tokens_in": 50, "tokens_out": 5, "cost": 0.0005}
    insert(
        workspace,
        "findable_attempts",
        item_id=item,
        batch=batch,
        extractor=extractor,
        outcome=outcome,
        **tried | cost,
    )


def measured(workspace: Workspace, extractor: str | None = LABEL) -> QualityFigures:
    """Return what is measured of the concepts of an extractor."""
    with workspace.open() as ws, ws.store.read() as tx:
        return measure(tx, read_shape(tx), extractor)


def figure(quality_figures: QualityFigures, name: str) -> Any:
    """Return the value of one figure."""
    return quality_figures.values[name][0]


def verdict(quality_figures: QualityFigures, name: str) -> MeasuredFigure:
    """Return the verdict on one figure."""
    return next(
        judge_figure
        for judge_figure in judge_figures(
            quality_figures, effective_gates(quality_figures.figures, {})
        )
        if judge_figure.figure.name == name
    )


def test_figures_are_what_is_stored(workspace: Workspace) -> None:
    """Mean, percentiles, evidence, duplicates and garbage of a few known answers are right to the last digit."""
    ready(workspace)
    put(workspace, "a", ["Öl law", "öl  Law", "tax", "the law is old"])
    put(workspace, "b", ["neural network", "neural networks"], evidence=None)
    put(workspace, "c", ["bees", "x" * 61, "123"], concept_type="domain")
    put(workspace, "c", ["bees"], extractor_version="other@1")
    found = measured(workspace)
    assert found.items == 3
    assert figure(found, "concepts") == pytest.approx(3)
    assert (figure(found, "concepts-p10"), figure(found, "concepts-p90")) == (2, 4)
    assert figure(found, "evidence") == pytest.approx(7 / 9)
    assert figure(found, "duplicates") == pytest.approx(1 / 9)
    assert figure(found, "garbage") == pytest.approx(1 / 9)
    assert [tuple(row) for row in found.tables[0].cells] == [("x" * 61, 1)]
    assert measured(workspace, EXTRACTOR).values == found.values
    assert measured(workspace, f"{LABEL}/other").items == 0
    assert measured(workspace, None).items == 4


@pytest.mark.full
def test_coverage_and_failures_know_what_was_charged(workspace: Workspace) -> None:
    """What failed and was answered later is covered, what failed for good is not; another version's does not count."""
    ready(workspace)
    a_batch(workspace)
    a_batch(workspace, extractor="other@1/m-1", number=2)
    for item in ("a", "b", "c"):
        put(workspace, item, ["law"])
        answered(workspace, item)
    answered(workspace, "k")  # no concept of it is in the table
    answered(workspace, "l", applied=False)  # does not count
    attempt(workspace, "a", "invalid")  # answered since
    attempt(workspace, "d", "invalid")
    attempt(workspace, "e", "missing")
    attempt(workspace, "f", "refused")
    attempt(workspace, "g", "invalid", batch=2, extractor="other@1/m-1")
    answered(workspace, "j", extractor="other@1/m-1")
    found = measured(workspace)
    assert figure(found, "coverage") == pytest.approx(3 / 7)  # d, e, f and k are without
    assert figure(found, "parse-failure") == pytest.approx(2 / 8)
    assert figure(found, "cost") == pytest.approx(5 * 0.001 + 4 * 0.0005)
    assert figure(found, "tokens-in") == pytest.approx((5 * 100 + 4 * 50) / 5)
    assert figure(found, "tokens-out") == pytest.approx((5 * 10 + 4 * 5) / 5)


@pytest.mark.full
def test_types_are_held_against_other_versions(workspace: Workspace) -> None:
    """Other types diverge, case does not count; other vocabularies are not compared."""
    ready(workspace)
    none_there = "no other version is here to compare the types with"
    words = ("law", "tax", "bees", "wax")
    for number in range(40):
        put(workspace, f"p-{number}", [f"{word} {number}" for word in words], concept_type="Method")
    found = measured(workspace)
    assert verdict(found, "divergence").passed is None
    assert none_there in found.notes
    for number in range(40):
        put(
            workspace,
            f"p-{number}",
            [f"{word} {number}" for word in words],
            extractor_version="v@2",
        )
        put(workspace, f"p-{number}", ["law"], extractor_version="v@3", concept_type="Technique")
    found = measured(workspace)
    assert figure(found, "divergence") == pytest.approx(0)
    assert verdict(found, "divergence").passed is True
    assert (
        "40 concepts of other versions have types of another vocabulary and are not compared"
        in found.notes
    )
    workspace.change(
        "UPDATE passage_concepts SET concept_type = 'dataset' WHERE extractor_version = 'v@2'"
    )
    found = measured(workspace)
    assert (verdict(found, "divergence").passed, figure(found, "divergence")) == (
        False,
        pytest.approx(1),
    )
    samples = [(sample.id, sample.name) for sample in found.samples]
    assert (len(samples), samples) == (
        30,
        [(sample.id, sample.name) for sample in measured(workspace).samples],
    )
    assert [key for key, _ in samples] != sorted(
        key for key, _ in samples
    )  # drawn at random, and alike each time
    workspace.change("DELETE FROM passage_concepts WHERE extractor_version = 'v@3'")
    workspace.change("DELETE FROM passage_concepts WHERE extractor_version = 'v@2'")
    assert none_there in measured(workspace).notes


def test_samples_mark_what_the_offsets_say(workspace: Workspace) -> None:
    """The quotation is marked where it stands; wrong offsets, none, and a passage that is gone are told in words."""
    ready(workspace)
    long = "\u05d0\u0301 \U0001f600 " * 100 + TEXT + " \u05d0" * 300
    at = long.index("water law")
    put(workspace, "good", ["water law"], text=long, evidence=evidence(at, at + 9, text=long))
    put(workspace, "wrong", ["water law"], evidence=evidence().replace('"start": 9', '"start": 8'))
    put(workspace, "none", ["water law"], evidence=None)
    put(workspace, "odd", ["water law"], evidence='{"support": [{"quote": 3}, 7]}')
    put(workspace, "gone", ["water law"])
    workspace.change("DELETE FROM passages WHERE id = 'gone'")
    shown = {one.id: one for one in measured(workspace).samples}
    good = shown["good"]
    assert [good.text[start:end] for start, end in good.spans] == ["water law"]
    assert len(good.text) < 400
    assert good.answer_text == "method, 0.9"
    assert "OFFSETS ARE WRONG" in shown["wrong"].answer_text
    assert "without a quotation" in shown["none"].answer_text
    assert "without a quotation" in shown["odd"].answer_text
    assert "the passage is gone" in shown["gone"].answer_text
    assert not any(one.spans for key, one in shown.items() if key != "good")


def test_quotations_found_by_likeness_are_read_first_and_those_of_other_texts_fail_a_gate(
    workspace: Workspace,
) -> None:
    """Of forty passages; what stands at another place than its passage says is no quotation."""
    ready(workspace)
    like = evidence().replace('"end": 18}', '"end": 18, "likeness": 0.9}')
    for number in range(40):
        put(workspace, f"p-{number}", ["water law"], evidence=like if number == 33 else evidence())
    put(workspace, "p-33", ["a first one", "tax"])
    found = measured(workspace)
    assert (found.samples[0].id, found.samples[0].answer_text) == (
        "p-33",
        "method, 0.9, by likeness 0.90",
    )
    assert (len(found.samples), verdict(found, "unlike-text").passed) == (30, True)
    workspace.change("UPDATE passages SET text = 'Bees and wax, and bees.' WHERE id = 'p-1'")
    found = measured(workspace)
    assert (verdict(found, "unlike-text").passed, figure(found, "unlike-text")) == (
        False,
        pytest.approx(1 / 42),
    )


def test_qc_writes_the_report_and_ends_with_its_verdict(workspace: Workspace) -> None:
    """A gate that fails ends with exit code 6, its figure and the report's path; a bad bound (3) writes nothing."""
    ready(workspace)
    for number in range(20):
        put(workspace, f"p-{number}", ["law", "tax"])
    for gates_set in ("evidenc=0.9", "evidence=95", "concepts=5"):
        assert "GATES" in workspace.ran("qc", TASK="passages", GATES=gates_set, code=3).stderr
    assert not (workspace.data / "reports").exists()
    bad = workspace.ran("qc", TASK="passages", code=6)
    assert "concepts is 2, wanted: 4 to 14" in bad.stderr
    assert "make qc" not in bad.stdout
    (report,) = (workspace.data / "reports").glob("*.md")
    assert "**FAIL**" in report.read_text(encoding="utf-8")
    good = workspace.ran("qc", "--json", TASK="passages", GATES="concepts=2..14")
    document = json.loads(good.stdout)
    assert document["passed"] is True
    assert document["settings"]["GATES"] == "concepts=2..14"
    assert "pass" in Path(document["report"]).read_text(encoding="utf-8")


def tag(workspace: Workspace, tags: list[str], *, where: str = "1 = 1", **values: Any) -> None:
    """Give some people tags, as an answer of the extractor."""
    workspace.change(
        f"UPDATE experts SET tags = :tags WHERE {where}",  # noqa: S608 - ours
        tags=json.dumps(tags),
        **values,
    )
    for (key,) in workspace.query(f"SELECT CAST(id AS TEXT) FROM experts WHERE {where}", **values):  # noqa: S608 - ours
        answered(workspace, key, extractor="expert-tags@2/m-1", task="expert-tags", batch=None)


def test_people_have_gates_of_their_own(workspace: Workspace, people: Any) -> None:
    """The extractor's tags are measured, those that came with the data are not; a few people are not judged."""
    names = people(3)
    people_with_tags = '["came with the data"]'
    workspace.change(
        "INSERT INTO experts (username, tags) VALUES ('theirs', :tags)", tags=people_with_tags
    )
    for number, name in enumerate(names):
        tag(workspace, ["law", f"tag {number}"], where="username = :name", name=name)
    result = workspace.ran("qc", "--json")
    document = json.loads(result.stdout)
    values = {name: one["value"] for name, one in document["figures"].items()}
    assert (values["tags"], values["used-once"], values["longest-tag"], values["people"]) == (
        2,
        0.75,
        5,
        3,
    )
    assert {one["passed"] for one in document["gates"]} == {None}
    assert {one["name"] for one in document["samples"]} == set(names)
