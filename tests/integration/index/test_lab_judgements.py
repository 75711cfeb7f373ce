"""`lab-import`, `lab-export`: questions and judgements in the database, and who is forgotten is in none of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ledger
from tests.lab import Workspace

QUESTIONS = [
    {"qid": "q1", "text": "who knows water law", "type": "topic", "language": "en"},
    {"qid": "q2", "text": "who keeps bees"},
]
JUDGED = "q1 0 person-0000 2\nq1 0 person-0001 0\nq2 0 person-0001 1\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Two questions and three judgements of two people."""
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text("".join(f"{json.dumps(one)}\n" for one in QUESTIONS))
    qrels.write_text(JUDGED)
    return str(queries), str(qrels)


def judgements(workspace: Workspace) -> list[tuple[object, ...]]:
    """Return what is stored of every judgement."""
    return workspace.query("SELECT qid, item_id, grade, judge, at FROM findable_lab_judgements ORDER BY qid, item_id")


def test_what_was_imported_comes_out_again(
    workspace: Workspace, people: Callable[..., list[str]], files: tuple[str, str], tmp_path: Path
) -> None:
    """In both forms; twice changes nothing, another grade takes the place of what it was, and two words name it."""
    people(2)
    given = ("--queries", files[0], "--qrels", files[1])
    first = workspace.ran("lab-import", *given, JUDGE="eve").stdout
    assert "2 new questions" in first
    assert "3 new judgements" in first
    stored = judgements(workspace)
    assert [row[1:4] for row in stored] == [("1", 2, "eve"), ("2", 0, "eve"), ("2", 1, "eve")]
    assert "0 new judgements, 0 changed, 3 as they were" in workspace.ran("lab", "import", *given).stdout
    assert judgements(workspace) == stored
    out = [tmp_path / name for name in ("out.jsonl", "out.tsv", "judged.jsonl")]
    workspace.ran("lab-export", "--queries", str(out[0]), "--qrels", str(out[1]))
    workspace.ran("lab-export", "--qrels", str(out[2]))
    assert [json.loads(line) for line in out[0].read_text().splitlines()] == QUESTIONS
    assert out[1].read_text() == JUDGED
    changed = out[2].read_text().replace('"grade":2', '"grade":1')
    out[2].write_text(changed)
    assert "0 new judgements, 1 changed, 2 as they were" in workspace.ran("lab-import", "--qrels", str(out[2])).stdout
    assert [row[:2] + row[3:] for row in judgements(workspace)] == [row[:2] + row[3:] for row in stored]


BAD = [
    ("--queries", '{"qid": "q1", "text": "law"}\n{"qid": "q1", "text": "bees"}\n', "line 2: field 'qid'"),
    ("--queries", '{"qid": "q1", "text": 7}\n', "line 1: field 'text'"),
    ("--queries", '{"qid": "q1", "text": "law -\\"water"}\n', "line 1: field 'text': the quotation mark at"),
    ("--queries", '{"qid": "q1", "text": "a\\u0000b"}\n', "line 1: field 'text'"),
    ("--qrels", "q1 0 person-0000 2\nq1 0 person-0001 two\n", "line 2: field 'grade'"),
    ("--qrels", "q1 0 person-0000 2\nq1 0 person-0000 1\n", "line 2: field 'grade'"),
    ("--qrels", '{"qid": "q1", "name": "person-0000", "grade": 1, "at": "2026-11-20"}\n', "line 1: field 'at'"),
    ("--qrels", "q9 0 p0 2\n", "question 'q9'"),
    ("--qrels", "q1 0 gone 2\n", "'gone'"),
]


def test_what_is_wrong_is_named_and_nothing_is_stored(
    workspace: Workspace, people: Callable[..., list[str]], files: tuple[str, str], tmp_path: Path
) -> None:
    """With file, line and field; a judgement of a person who is not here is told, and the others are stored."""
    people(2)
    bad = tmp_path / "bad"
    workspace.ran("lab-import", "--queries", files[0])
    for option, text, said in BAD:
        bad.write_text(text)
        result = workspace.ran("lab-import", option, str(bad), code=2)
        assert f"{bad}" in result.stderr
        assert said in result.stderr
    assert judgements(workspace) == []
    bad.write_text(JUDGED + "q1 0 gone 1\nq7 0 person-0000 1\n")
    warned = workspace.ran("lab-import", "--qrels", str(bad)).stderr
    assert "people that are not here: gone\n" in warned
    assert "questions that are not here: q7\n" in warned
    assert len(judgements(workspace)) == 3


def test_nothing_of_a_forgotten_person_is_left_in_the_lab(
    workspace: Workspace, people: Callable[..., list[str]], files: tuple[str, str], tmp_path: Path
) -> None:
    """Their judgements go, questions that name them, and their name as a judge; the others stay."""
    people(2)
    about = tmp_path / "about.jsonl"
    about.write_text('{"qid": "q3", "text": "what does person-0000 know"}\n')
    workspace.ran("lab-import", "--queries", str(about))
    workspace.ran("lab-import", "--queries", files[0], "--qrels", files[1], JUDGE="person-0000")
    assert "1 question of the test lab" in workspace.ran("forget", "person-0000", "--yes").stdout
    assert [row[:4] for row in judgements(workspace)] == [("q1", "2", 0, ""), ("q2", "2", 1, "")]
    assert workspace.query("SELECT qid FROM findable_lab_questions ORDER BY qid") == [("q1",), ("q2",)]
    assert ledger.findings(workspace) == []
    workspace.change("DELETE FROM experts")
    assert any("judgements of 1 people" in one["said"] for one in ledger.findings(workspace))
