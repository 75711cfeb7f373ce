"""What a quality gate holds back, and the report that says why."""

import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt  # rich brings it; it reads Markdown as CommonMark has it

from tests.acceptance.checker import Look, check
from tests.acceptance.product import HEADER, PASSAGES, PEOPLE, Workspace
from tests.outside.answers import Json, user_text
from tests.outside.server import serving

GATE_FAILED = 6
FEWEST = 20  # passages from which on lists are judged, and concepts of a full one (docs/quality.md)
MOST = 14
QUOTE = "Old `<b>bees</b> keep longer"
WORDS = """
beekeeping hydrology archery pottery astronomy forestry opera geology plumbing carpentry sailing baking botany chess
dentistry falconry glaciology heraldry insurance journalism knitting linguistics masonry navigation oncology papermaking
quarrying robotics surveying taxation upholstery viticulture welding xylography yoga zoology acoustics brewing
cartography distilling etching fencing gardening horology interpreting jewellery kiting lexicography mosaics nursing
"""
TOPICS = WORDS.split()


def full(_request: Json) -> Json:
    """Fill the list of concepts, as many a model does by habit."""
    one = {"type": "task", "aliases": [], "confidence": 0.9, "quotes": [QUOTE]}
    return {"concepts": [{"name": f"keeping {chr(97 + number)}", **one} for number in range(MOST)]}


def test_lists_that_are_always_full_fail_their_gate(tmp_path: Path) -> None:
    """The answers are stored, and the gate is named: a warning, of `qc` an error; no mark-up is one of the report."""
    with serving(tmp_path / "server", full) as server:
        workspace = Workspace(tmp_path / "here", server.url, task=PASSAGES)
        lines = (
            json.dumps({"id": f"p{number}", "text": f"{QUOTE} in {number} cellars."})
            for number in range(FEWEST)
        )
        workspace.put("passages.jsonl", "".join(f"{line}\n" for line in lines))
        workspace.do("import_passages", "passages.jsonl")
        workspace.do("submit", yes=True)
        workspace.do("poll")
        assert "full" in workspace.do("ingest").err
        assert "full" in workspace.do("qc", code=GATE_FAILED).said
        assert len(workspace.exported()) == FEWEST * MOST
        reports = [
            path.read_text(encoding="utf-8") for path in (workspace.data / "reports").glob("*.md")
        ]
        assert any("bees" in one for one in reports)
        inline = [
            one.children or [] for text in reports for one in MarkdownIt("commonmark").parse(text)
        ]
        assert not [
            one.content for children in inline for one in children if one.type == "html_inline"
        ]
        check(Look(workspace, server.batches(), server.creates(), is_only=True))


def quoting(row: int) -> Json:
    """Return the concept that the text of a row speaks of."""
    one = {
        "name": TOPICS[row],
        "type": "domain",
        "aliases": [],
        "confidence": 0.9,
        "quotes": [said(row)],
    }
    return {"concepts": [one]}


def said(row: int) -> str:
    """Return what the text of a row says of its topic."""
    return f"I teach {TOPICS[row]} and the history of {TOPICS[row]}"


@pytest.mark.parametrize(("task", "gate"), [(PEOPLE, "unlike-text"), (PASSAGES, "parse-failure")])
def test_answers_on_wrong_rows_fail_a_gate(tmp_path: Path, task: str, gate: str) -> None:
    """Of fifty rows fifteen have the answer of the next: tags are unlike their texts, quotations are not there.

    The right answers pass.
    """
    shift = {"by": 0}

    def answer(request: Json) -> Json:
        """Return the answer that belongs to the row, or the next one's."""
        match = re.search(r"I teach (\w+)", user_text(request))
        assert match is not None
        row = TOPICS.index(match[1])
        row = (row + shift["by"]) % len(TOPICS) if row % 10 < 3 else row
        return {"tags": [TOPICS[row], f"applied {TOPICS[row]}"]} if task == PEOPLE else quoting(row)

    with serving(tmp_path / "server", answer) as server:
        for by in (0, 1):
            shift["by"] = by
            workspace = Workspace(
                tmp_path / str(by), server.url, task="" if task == PEOPLE else task
            )
            texts = [f"{said(row)} at the school of the town." for row in range(len(TOPICS))]
            if task == PEOPLE:
                workspace.put(
                    "rows.csv",
                    HEADER + "".join(f"p{row},,,,,{text}\n" for row, text in enumerate(texts)),
                )
            else:
                lines = (
                    json.dumps({"id": f"p{row}", "text": text}) for row, text in enumerate(texts)
                )
                workspace.put("rows.jsonl", "".join(f"{line}\n" for line in lines))
            workspace.do(
                "import" if task == PEOPLE else "import_passages",
                next(workspace.home.glob("rows.*")).name,
            )
            gates = "" if task == PEOPLE else "concepts=off,coverage=off"
            workspace.each("submit", "poll", GATES=gates)
            ingest_run = workspace.do("ingest", GATES=gates)
            assert (f"{gate} is" in ingest_run.err) == (by == 1)
            workspace.do("qc", GATES=gates, code=GATE_FAILED if by else 0)


@pytest.mark.parametrize(
    ("verb", "code", "how"),
    [
        ("ingest", 0, {}),
        ("ingest", GATE_FAILED, {"strict": True}),
        ("tag", 0, {"mode": "live"}),
        ("tag", GATE_FAILED, {"mode": "live", "strict": True}),
        ("run", 0, {}),
    ],
)
def test_a_failed_gate_is_an_error_where_that_is_wanted(
    tmp_path: Path, verb: str, code: int, how: Json
) -> None:
    """With STRICT=1, and of a pilot: exit code 6. Else it is a warning; the answers are stored in any case."""
    with serving(tmp_path / "server") as server:
        workspace = Workspace(tmp_path / "here", server.url, settings={"GATES": "tags=99..100"})
        names = workspace.people(FEWEST)
        if verb in {"ingest", "run"}:
            workspace.each("submit", "poll")
        assert "tags is" in workspace.do(verb, code=code, **how).err
        assert workspace.states() == {"tagged": len(names)}
        workspace.people(FEWEST, first=FEWEST)
        workspace.do("tag", pilot=FEWEST, mode="live", code=GATE_FAILED)
