"""Whatever stands in a result file, every request is accounted for once and each person is in one place."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import ledger
from tests.delivery import TAGS, deliver, error, line, prepare, put_people, response, workspace_at
from tests.lab import Workspace

COUNT = 10

# what one line may be, as a name; `_written` says how it is written
KINDS = ("good", "other", "error", "final", "invalid", "blocked", "cut", "number", "garbage", "stranger")
GOOD = {"good", "other"}
BAD = {"error", "final", "invalid", "blocked"}


def _written(kind: str, key: str) -> bytes:
    """Return one line of a kind for a key."""
    return {
        "good": line(key),
        "other": line(key, response('{"tags":["another"]}')),
        "error": error(key, 13),
        "final": error(key, 3),
        "invalid": line(key, response(TAGS[:9])),
        "blocked": line(key, {"promptFeedback": {"blockReason": "SAFETY"}}),
        "cut": line(key)[:-20],
        "number": line(int(key.split("/")[1])),
        "garbage": b"\xff\x00 no json \xe2\x80\xa8",
        "stranger": line(key + "000"),
    }[kind]


@st.composite
def results(draw: st.DrawFn) -> tuple[list[tuple[int, str]], bytes]:
    """Draw a result file as (person, kind) of each line, in any order, and how its lines end."""
    lines = draw(st.lists(st.tuples(st.integers(0, COUNT - 1), st.sampled_from(KINDS)), max_size=3 * COUNT))
    return lines, draw(st.sampled_from([b"\n", b"\r\n", b"\n\n"]))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[str]]:
    """A workspace with one batch that waits for its result, and the batch's keys."""
    workspace = workspace_at(tmp_path_factory.mktemp("prepared") / "data")
    put_people(workspace, COUNT)
    return workspace, prepare(workspace)


@settings(max_examples=60 if os.environ.get("FAULTS") == "all" else 5, suppress_health_check=[HealthCheck.too_slow])
@given(file=results(), word=st.sampled_from(["BATCH_STATE_SUCCEEDED", "JOB_STATE_EXPIRED"]))
@pytest.mark.sampled(0)
def test_any_result_file_adds_up(
    prepared: tuple[Workspace, list[str]], file: tuple[list[tuple[int, str]], bytes], word: str
) -> None:
    """The four outcomes add up to the requests, each as its lines have it, and so do the people and the lines."""
    (template, keys), (lines, end) = prepared, file
    with tempfile.TemporaryDirectory() as folder:
        template.copy_to(Path(folder) / "data")
        workspace = workspace_at(Path(folder) / "data")
        deliver(workspace, b"".join(_written(kind, keys[who]) + end for who, kind in lines), word=word, why="expired")
        ran = workspace.ran("batch-ingest", "--json")
        [account] = json.loads(ran.stdout)
        ledger.check(workspace)
        mine = [[kind for who, kind in lines if who == person and kind in GOOD | BAD] for person in range(COUNT)]
        expected = Counter(map(_outcome, mine))
        assert {name: account[name] for name in ledger.OUTCOMES if account[name]} == expected
        people = ledger.people(workspace)
        assert people.get("tagged", 0) == expected["answered"]
        assert people.get("parked", 0) == sum("final" in kinds[:1] and not GOOD & set(kinds) for kinds in mine)
        strays = Counter(kind for _, kind in lines)
        assert account["unknown"] == strays["number"] + strays["stranger"]
        assert account["unreadable"] == strays["garbage"] + strays["cut"]
        assert account["duplicates"] == sum(max(0, len(kinds) - 1) for kinds in mine)
        _check_tags(workspace.query("SELECT id, tags FROM experts ORDER BY id"), mine)
        _check_charges(workspace.query("SELECT outcome, charged FROM findable_attempts"), word)


def _outcome(kinds: list[str]) -> str:
    """Return what a request with these lines must come to: the first answer, else the first failure."""
    if GOOD & set(kinds):
        return "answered"
    return {"error": "refused", "final": "refused", "blocked": "refused", "invalid": "invalid"}.get(
        kinds[0] if kinds else "", "missing"
    )


def _check_tags(rows: list[tuple[int, str | None]], mine: list[list[str]]) -> None:
    """The first valid answer in the file is the one that was written."""
    for (_, tags), kinds in zip(rows, mine, strict=True):
        first = next((kind for kind in kinds if kind in GOOD), None)
        assert (tags == '["another"]', tags is None) == (first == "other", first is None)


def _check_charges(rows: list[tuple[str, int]], word: str) -> None:
    """A line is charged to its item; a missing one only where the batch succeeded."""
    for outcome, charged in rows:
        assert charged == (outcome != "missing" or word.endswith("SUCCEEDED"))
