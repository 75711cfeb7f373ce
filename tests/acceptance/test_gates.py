"""Quality gates fail on bad answers, and a report gives the reason."""

import json
import re
from pathlib import Path

import pytest

# A dependency of rich, which parses CommonMark.
from markdown_it import MarkdownIt

from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.engine import Engine
from tests.acceptance.product import HEADER, PASSAGES, PEOPLE, Workspace
from tests.outside.answers import Answerer, Json, fill, user_text
from tests.outside.server import serving

GATE_FAILED = 6
# Passages from which on lists are judged, and concepts of a full list (docs/quality.md).
MIN_PASSAGES = 20
MAX_CONCEPTS = 14
QUOTE = "Old `<b>bees</b> keep longer"
WORDS = """
beekeeping hydrology archery pottery astronomy forestry opera geology plumbing carpentry sailing
baking botany chess dentistry falconry glaciology heraldry insurance journalism knitting
linguistics masonry navigation oncology papermaking quarrying robotics surveying taxation
upholstery viticulture welding xylography yoga zoology acoustics brewing cartography distilling
etching fencing gardening horology interpreting jewellery kiting lexicography mosaics nursing
"""
TOPICS = WORDS.split()


def answer_rows(answerer: Answerer) -> Answerer:
    """Return an answerer that answers only rows by `answerer`, and control requests as they ask."""

    def answer(request: Json) -> Json:
        return fill(request) if "askrows_control" in json.dumps(request) else answerer(request)

    return answer


def full_answer(_request: Json) -> Json:
    """Return a full list of concepts, like a model that always fills its lists."""
    concept = {"type": "task", "aliases": [], "confidence": 0.9, "quotes": [QUOTE]}
    names = [f"keeping {chr(97 + number)}" for number in range(MAX_CONCEPTS)]
    return {"concepts": [{"name": name, **concept} for name in names]}


@pytest.mark.promise("gates")
def test_lists_that_are_always_full_fail_their_gate(tmp_path: Path) -> None:
    """`ingest` warns and stores the answers, and `qc` fails and deletes what a killed one left.

    Mark-up of the answers is escaped in the report.
    """
    with serving(tmp_path / "server", answer_rows(full_answer)) as server:
        workspace = Workspace(tmp_path / "here", server.url, task=PASSAGES)
        lines = [
            json.dumps({"id": f"p{number}", "text": f"{QUOTE} in {number} cellars."})
            for number in range(MIN_PASSAGES)
        ]
        workspace.write_file("passages.jsonl", "".join(f"{line}\n" for line in lines))
        workspace.run_command("import_passages", "passages.jsonl")
        workspace.run_command("submit", yes=True)
        workspace.run_command("poll")

        assert "full" in workspace.run_command("ingest").stderr
        # A killed `qc` left it. No process has such a high id.
        part = workspace.write_file(
            "data/reports/passage-concepts-1.json.7fffffff-0123456789.part", ""
        )
        assert "full" in workspace.run_command("qc", code=GATE_FAILED).output
        assert not part.exists()
        assert len(workspace.exported_rows()) == MIN_PASSAGES * MAX_CONCEPTS

        reports = [
            path.read_text(encoding="utf-8") for path in (workspace.data / "reports").glob("*.md")
        ]
        assert any("bees" in text for text in reports)
        for text in reports:
            for token in MarkdownIt("commonmark").parse(text):
                child_types = {child.type for child in token.children or []}
                assert "html_inline" not in child_types
        check_invariants(Inspection(workspace, server.batches(), server.creates(), is_single=True))


def test_tag_deletes_the_report_that_a_killed_one_left(
    served_workspace: Workspace,
) -> None:
    """A command that has nothing to ask deletes it, too."""
    served_workspace.import_people(1)
    served_workspace.run_command("tag_live")
    # No process has such a high id.
    part = served_workspace.write_file("data/reports/experts-1.md.7fffffff-0123456789.part", "")
    served_workspace.run_command("tag_live")
    assert not part.exists()


def concept_answer(row: int) -> Json:
    """Return the concept of the text of a row."""
    concept = {
        "name": TOPICS[row],
        "type": "domain",
        "aliases": [],
        "confidence": 0.9,
        "quotes": [sentence(row)],
    }
    return {"concepts": [concept]}


def sentence(row: int) -> str:
    """Return the sentence of a row about its topic."""
    return f"I teach {TOPICS[row]} and the history of {TOPICS[row]}"


@pytest.mark.parametrize(("task", "gate"), [(PEOPLE, "unlike-text"), (PASSAGES, "parse-failure")])
@pytest.mark.promise("gates")
def test_answers_on_wrong_rows_fail_a_gate(tmp_path: Path, task: str, gate: str) -> None:
    """The gate fails if fifteen of fifty rows have the answer of the next row.

    Their tags differ from their texts, and their quotations are not in the texts. Right answers
    pass the gate.
    """
    shift = {"rows": 0}

    def answer(request: Json) -> Json:
        """Return the answer of the row, or of the next row."""
        match = re.search(r"I teach (\w+)", user_text(request))
        assert match is not None
        row = TOPICS.index(match[1])
        row = (row + shift["rows"]) % len(TOPICS) if row % 10 < 3 else row
        return (
            {"tags": [TOPICS[row], f"applied {TOPICS[row]}"]}
            if task == PEOPLE
            else concept_answer(row)
        )

    with serving(tmp_path / "server", answer_rows(answer)) as server:
        for offset in (0, 1):
            shift["rows"] = offset
            workspace = Workspace(
                tmp_path / str(offset), server.url, task="" if task == PEOPLE else task
            )
            texts = [f"{sentence(row)} at the school of the town." for row in range(len(TOPICS))]
            if task == PEOPLE:
                workspace.write_file(
                    "rows.csv",
                    HEADER + "".join(f"p{row},,,,,{text}\n" for row, text in enumerate(texts)),
                )
                workspace.run_command("import", "rows.csv")
            else:
                lines = [
                    json.dumps({"id": f"p{row}", "text": text}) for row, text in enumerate(texts)
                ]
                workspace.write_file("rows.jsonl", "".join(f"{line}\n" for line in lines))
                workspace.run_command("import_passages", "rows.jsonl")

            gates = "" if task == PEOPLE else "concepts=off,coverage=off"
            workspace.run_commands("submit", "poll", GATES=gates)
            ingest_run = workspace.run_command("ingest", GATES=gates)
            assert (f"{gate}=…" in ingest_run.stderr) == (offset == 1)
            workspace.run_command("qc", GATES=gates, code=GATE_FAILED if offset else 0)


@pytest.mark.parametrize(
    ("verb", "code", "options"),
    [
        ("ingest", 0, {}),
        ("ingest", GATE_FAILED, {"strict": True}),
        ("tag", 0, {"mode": "live"}),
        ("tag", GATE_FAILED, {"mode": "live", "strict": True}),
        ("run", 0, {}),
    ],
)
def test_failed_gate_is_an_error_on_demand(
    tmp_path: Path, verb: str, code: int, options: Json
) -> None:
    """STRICT=1 and pilots end with exit code 6; otherwise a failed gate is a warning.

    The answers are stored in all cases.
    """
    with serving(tmp_path / "server") as server:
        workspace = Workspace(tmp_path / "here", server.url, settings={"GATES": "tags=99..100"})
        names = workspace.import_people(MIN_PASSAGES)
        if verb in {"ingest", "run"}:
            workspace.run_commands("submit", "poll")
        assert "tags=…" in workspace.run_command(verb, code=code, **options).stderr
        assert workspace.state_counts() == {"tagged": len(names)}
        workspace.import_people(MIN_PASSAGES, first=MIN_PASSAGES)
        workspace.run_command("tag", pilot=MIN_PASSAGES, mode="live", code=GATE_FAILED)


def test_forgiven_failures_count_neither_as_failed_nor_in_coverage(
    workspace: Workspace, api: Engine
) -> None:
    """A parked passage is a failed passage, until `unpark` forgives its failures."""
    workspace.task = PASSAGES
    passages = [{"id": f"p{number}", "text": f"Bees make honey {number}."} for number in range(3)]
    lines = "".join(f"{json.dumps(passage)}\n" for passage in passages)
    workspace.write_file("passages.jsonl", lines)
    workspace.run_command("import_passages", "passages.jsonl")
    api.script_fault("error_line", times=2, key="/p1$")
    workspace.run_command("tag", mode="batch", wait=True, yes=True, code="any")
    assert "2 with_concepts, 1 parked" in workspace.run_command("status").stdout
    coverage = workspace.read_json("qc", code="any")["gates"][0]
    assert (coverage["name"], coverage["value"], coverage["cases"]) == ("coverage", 2 / 3, 3)

    workspace.run_command("unpark", all=True, yes=True)
    coverage = workspace.read_json("qc", code="any")["gates"][0]
    assert (coverage["value"], coverage["cases"]) == (1, 2)
