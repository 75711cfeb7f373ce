"""`add-expert`: one person tagged at once, whatever Gemini says and whenever the process dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli import main
from tests.lab import ROOT, Api, Workspace

SEED = {
    "Username": "ada",
    "First Name": "Ada",
    "Last Name": "Byron",
    "Job Title": "Beekeeper",
    "Bio": "Keeps bees and teaches water law.",
    "Hourly Rate": 95,
    "Profile URL": "https://example.org/ada",
}
SNAKE: dict[str, Any] = {
    "username": "ada",
    "first_name": "Ada",
    "last_name": "Byron",
    "job_title": "Beekeeper",
    "bio": "Keeps bees and teaches water law.",
    "hourly_rate": 95,
    "profile_url": "https://example.org/ada",
}
LONGEST_S = 200.0
LIVE = ":generateContent"


@pytest.fixture
def file(tmp_path: Path) -> Callable[[Any], str]:
    """A function that writes a JSON document and returns its path."""

    def write(document: Any) -> str:
        """Write it."""
        path = tmp_path / "new.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return str(path)

    return write


def _added(workspace: Workspace, path: str) -> list[dict[str, Any]]:
    """Add who stands in a file, and return what the command says of them."""
    result = workspace.ran("add-expert", path, "--json")
    document: list[dict[str, Any]] = json.loads(result.stdout)
    return document


def _counts(workspace: Workspace) -> dict[str, int]:
    """Return the people of `status --json`."""
    counts: dict[str, int] = json.loads(workspace.run("status", "--json").stdout)["experts"]
    return counts


def test_a_person_is_inserted_tagged_and_scored(workspace: Workspace, api: Api, file: Callable[[Any], str]) -> None:
    """Keys as in the CSV header or as in the table, also from a pipe; one live call; the answer has its provenance.

    A waiting text, the row, and that the person is not searchable before the next index are printed.
    """
    (ada,) = _added(workspace, file([SEED]))
    assert list(ada) == ["username", "name", "tags", "findability_score", "problem", "took_s", "parked"]
    assert (ada["username"], ada["name"], ada["problem"]) == ("ada", "Ada Byron", "")
    assert ada["tags"]
    bio = len(SNAKE["bio"]) / 500 * 40
    assert ada["findability_score"] == round(bio + 25 + 15 + 10 + 10, 1)
    row = workspace.query("SELECT username, job_title, hourly_rate, tags, findability_score FROM experts")
    assert row == [("ada", "Beekeeper", 95.0, json.dumps(ada["tags"], separators=(",", ":")), ada["findability_score"])]
    assert len(api.seen("POST", LIVE)) == 1
    assert workspace.query("SELECT batch, applied, item_id FROM findable_answers") == [(None, 1, "1")]
    assert workspace.scalar("SELECT count(*) FROM findable_requests WHERE open") == 0
    words, text = ["add-expert", "-", "--json"], json.dumps([{**SNAKE, "username": "eve"}])
    piped = CliRunner().invoke(main, words, env=workspace.environ, input=text)
    assert json.loads(piped.stdout)[0]["findability_score"] == ada["findability_score"]
    said = workspace.ran("add-expert", file({**SNAKE, "username": "bee", "first_name": "Bea"}))
    assert "Generating tags…" in said.stderr
    assert "Bea Byron" in said.stdout
    assert "make index" in said.stdout
    workspace.ran("index")
    assert len(json.loads(workspace.run("search", "bees", "--json").stdout)) == 3


def test_names_are_known_as_at_an_import(workspace: Workspace, file: Callable[[Any], str]) -> None:
    """Aliases, a whole name and a username that is made are taken and said; a guess is an error with the MAP= line.

    What MAP= settled holds for the next document with these names, and for no other.
    """
    ada = {"Full name": "Ada Byron", "Titel": "Beekeeper", "Firma": "Hives", "Shoe size": 38, "tags": ["no"]}
    said = workspace.ran("add-expert", file(ada)).stderr
    assert "columns by other names: Titel → Job Title, Firma → Company" in said
    assert "Full name: split into First Name and Last Name, such as 'Ada Byron' as 'Ada' and 'Byron'" in said
    assert "not read: Shoe size, tags" in said
    row = "SELECT first_name, last_name, job_title, company, bio FROM experts"
    assert workspace.query(row) == [("Ada", "Byron", "Beekeeper", "Hives", None)]
    assert workspace.scalar("SELECT username FROM experts").startswith("ada-byron-")
    bea: dict[str, Any] = {"Vorname": "Bea", "Kurzportrait": "Keeps bees and teaches water law. " * 5}
    path = file({"username": "bea", **bea})
    refused = workspace.ran("add-expert", path, code=2).stderr
    assert "'Kurzportrait' may be Bio" in refused
    assert f'next: make add-expert EXPERT={path} MAP="bio=Kurzportrait"' in refused
    assert workspace.scalar("SELECT count(*) FROM experts") == 1
    workspace.ran("add-expert", path, "--map", "bio=Kurzportrait")
    assert "as at the last import of such a file" in workspace.ran("add-expert", file({"username": "b", **bea})).stderr
    assert workspace.scalar("SELECT count(*) FROM experts WHERE first_name = 'Bea' AND bio <> ''") == 2
    piped = CliRunner().invoke(main, ["add-expert", "-"], env=workspace.environ, input=json.dumps(bea))
    assert 'make add-expert EXPERT=- MAP="bio=Kurzportrait"' in piped.stderr


def test_a_list_adds_several_in_order(workspace: Workspace, api: Api, file: Callable[[Any], str]) -> None:
    """Each has a call of their own; who has no bio has none, and needs not even a key."""
    people = [{"username": f"p{n}", "bio": "Keeps bees." if n != 1 else " "} for n in range(3)]
    added = _added(workspace, file(people))
    assert [one["username"] for one in added] == ["p0", "p1", "p2"]
    assert [bool(one["tags"]) for one in added] == [True, False, True]
    assert len(api.seen("POST", LIVE)) == 2
    assert _counts(workspace)["no_bio"] == 1
    del workspace.environ["GEMINI_API_KEY"]
    workspace.environ["FINDABLE_BACKEND"] = "gemini"
    (ada,) = _added(workspace, file({**SNAKE, "bio": ""}))
    assert (ada["tags"], ada["findability_score"], ada["problem"]) == ([], 35.0, "")
    assert workspace.run("add-expert", file({**SNAKE, "username": "eve"})).exit_code == 3
    assert workspace.scalar("SELECT count(*) FROM experts") == 4


def test_what_cannot_be_added_leaves_all_as_it_was(
    workspace: Workspace, api: Api, file: Callable[[Any], str], tmp_path: Path
) -> None:
    """A username that exists, stands twice or is missing, or no person: exit code 2, no person added, none asked.

    So it is with what is no JSON, or no file.
    """
    _added(workspace, file({**SNAKE, "bio": None}))
    cases: list[tuple[Any, str]] = [
        ([{"username": "new"}, SNAKE], "'ada' exists already"),
        ([{"username": "b"}, {"username": "b"}], "b"),
        ({"bio": "Who?"}, "username"),
        ([], "no person"),
        ("text", "not an object"),
        ([{"username": "ok"}, {"username": "bad\0"}], "person 2"),
    ]
    for document, said in cases:
        assert said in workspace.ran("add-expert", file(document), code=2).stderr
    (tmp_path / "new.json").write_text("{half")
    workspace.ran("add-expert", str(tmp_path / "new.json"), code=2)
    assert "nowhere.json" in workspace.ran("add-expert", str(tmp_path / "nowhere.json"), code=2).stderr
    assert workspace.query("SELECT username FROM experts") == [("ada",)]
    assert api.seen("POST", LIVE) == []


def test_where_the_service_is_down_nobody_else_waits_for_it(
    workspace: Workspace, api: Api, file: Callable[[Any], str]
) -> None:
    """After the first of three was in vain, the others are saved without being asked about.

    A 400 for the first says nothing of the second.
    """
    api.fault("status", path=LIVE, args={"code": 400, "message": "Request contains an invalid argument."})
    added = _added(workspace, file([{"username": f"one-{n}", "bio": "Keeps bees."} for n in range(2)]))
    assert [bool(one["tags"]) for one in added] == [False, True]
    api.fault("quota_day", times=10_000, path=LIVE)
    added = _added(workspace, file([{"username": f"p{n}", "bio": "Keeps bees."} for n in range(3)]))
    assert [one["problem"].startswith("not asked, because") for one in added] == [False, True, True]
    assert len(api.seen("POST", LIVE)) == 3
    assert _counts(workspace)["untagged"] == 4


@contextmanager
def _tagging(workspace: Workspace, api: Api, path: str, *, call_s: str) -> Iterator[subprocess.Popen[str]]:
    """Run add-expert in a process of its own, up to its live call, which is never answered."""
    api.fault("hang", times=10_000, path=LIVE, args={"seconds": 300})
    environ = {**os.environ, **workspace.environ, "PYTHONPATH": str(ROOT), "FINDABLE_CALL_TIMEOUT": call_s}
    command = [sys.executable, "-m", "jobs", "add-expert", path]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + LONGEST_S
        while not api.seen("POST", LIVE):
            assert time.monotonic() < until, "it never asked"
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        try:
            yield process
        finally:
            process.kill()
            api.clear_faults()


@pytest.mark.full
def test_killed_while_tagging_the_person_goes_out_with_the_next_batch(
    workspace: Workspace, api: Api, file: Callable[[Any], str], people: Callable[..., list[str]]
) -> None:
    """While the call runs the person is claimed; a submit takes all others.

    SIGKILL leaves a claim of a dead process: status counts it no more, and the next submit takes it over.
    """
    people(2)
    with _tagging(workspace, api, file(SNAKE), call_s="200") as process:
        assert _counts(workspace)["claimed"] == 1
        workspace.ran("batch-submit")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert _counts(workspace)["untagged"] == 1
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest")
    asked = workspace.query("SELECT batch, item_id FROM findable_requests WHERE batch > 0 ORDER BY batch, line")
    assert asked == [(1, "1"), (1, "2"), (2, "3")]
    assert _counts(workspace)["tagged"] == 3


@pytest.mark.full
def test_interrupted_while_tagging(workspace: Workspace, api: Api, file: Callable[[Any], str]) -> None:
    """Ctrl-C ends with 130, says who was saved, and frees the claim at once."""
    with _tagging(workspace, api, file([SNAKE, {"username": "later"}]), call_s="200") as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 130
    assert "ada is saved without tags" in said
    assert "Traceback" not in said
    assert workspace.query("SELECT username, tags FROM experts") == [("ada", None)]
    assert workspace.scalar("SELECT count(*) FROM findable_requests WHERE open") == 0
    assert _counts(workspace)["untagged"] == 1


@pytest.mark.full
def test_interrupted_while_the_answer_is_on_its_way(workspace: Workspace, api: Api, file: Callable[[Any], str]) -> None:
    """Ctrl-C lets the call finish: the person is tagged, nothing is due, and no later person is added.

    It may take longer here than the five seconds that it gets, however busy the machine is.
    """
    api.configure(latencies={LIVE: {"kind": "constant", "seconds": 3600}})
    environ = {**os.environ, **workspace.environ, "PYTHONPATH": str(ROOT), "FINDABLE_CALL_TIMEOUT": f"{LONGEST_S}"}
    patient = f"from pipeline.live import runner; runner.GRACE_S = {LONGEST_S}; from jobs.cli import main; main()"
    command = [sys.executable, "-c", patient, "add-expert", file([SNAKE, {"username": "later"}])]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + LONGEST_S
        while not api.seen("POST", LIVE):
            assert time.monotonic() < until, "it never asked"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        api.advance(3600)
        _, said = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 130
    assert "ada is saved with tags; no later person was added" in said
    assert workspace.query("SELECT username, tags IS NULL FROM experts") == [("ada", 0)]
    assert workspace.query("SELECT item_id FROM findable_due") == []
    assert _counts(workspace)["tagged"] == 1
