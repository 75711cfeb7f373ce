"""What a command tells to type next can be typed, and is about what it was asked for."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from unittest import mock

import pytest
from click.testing import CliRunner

from jobs import cli, demo
from jobs.typed import GIVEN
from tests.integration import many_passages as passages
from tests.integration.many_passages import CREATE
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
OF_ONE_SUBJECT = r"(?:make|findable) (?:batch-submit|batch-poll|batch-ingest|tag|run|parked|unpark|status)\b"


@pytest.fixture(name="texts")
def _texts(workspace: Workspace) -> Workspace:
    """A workspace of three passages, which `TASK=passages` of the environment names."""
    passages.put(workspace, 3)
    workspace.environ["FINDABLE_TASK"] = "passages"
    return workspace


def told(workspace: Workspace, *args: str, code: int, **values: str) -> str:
    """Run a command that ends with a code, and return what it said; each command in it names the subject."""
    result = workspace.ran(*args, **values, code=code)
    bare = re.findall(rf"{OF_ONE_SUBJECT}(?![^`;,.]* TASK=passages).*", result.output)
    assert workspace.environ.get("FINDABLE_TASK") != "passages" or not bare, result.output
    return result.output


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize(
    "args", [("batch-submit",), ("tag", "--mode", "batch"), ("tag", "--mode", "live"), ("passages-pilot",), ("run",)]
)
def test_a_question_nobody_answered_names_no_other_command(texts: Workspace, args: tuple[str, ...]) -> None:
    """`YES=1` answers, with whatever was typed: a command that was not would ask about others, and cost money."""
    if args == ("run",):
        texts.run("passages-pilot", "--n", "1", "--yes")
        texts.run("passages-backfill", "--yes", "--limit", "1")
    said = told(texts, *args, code=2, CONFIRM_ABOVE="0")
    assert "\nnext: YES=1 answers yes\n" in said


def test_a_refused_file_is_sent_again_about_the_same_subject(texts: Workspace, api: Api) -> None:
    """At the first refusal, and at the one that gives the batch up."""
    api.fault("status", times=2, args={"code": 400, "message": "Bad file"}, path=CREATE)
    for _ in range(2):
        assert "make batch-submit TASK=passages" in told(texts, "batch-submit", code=4)


@pytest.mark.full
def test_refusals_alike_are_asked_again_about_the_same_subject(texts: Workspace, api: Api) -> None:
    """Where three batches in a row are refused for the same line."""
    api.fault("bad_line", times=3, args={"line": 1, "field": "x"}, path=CREATE)
    assert "`make batch-submit TASK=passages` asks again" in told(texts, "batch-submit", code=4)


@pytest.mark.full
def test_a_batch_that_waits_for_room_is_polled_about_the_same_subject(
    texts: Workspace, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where as many batches are at the API as it takes."""
    monkeypatch.setattr("pipeline.cost.estimate.MAX_ACTIVE_BATCHES", 1)
    api.configure(paused=True)
    said = told(texts, "batch-submit", code=4, BATCH_ROWS="1")
    assert "`make batch-poll TASK=passages` until" in said
    assert "`make batch-submit TASK=passages` again" in said


@pytest.mark.full
def test_what_is_unclear_is_found_out_about_the_same_subject(texts: Workspace, api: Api) -> None:
    """A poll that cannot say whether a batch was made, or gets a page for a result, names the command that can."""
    api.fault("create_lost_reply", path=CREATE)
    api.fault("status", times=100, path=r"/batches(\?|$)", method="GET")
    told(texts, "batch-submit", code=4, RETRY_FOR="0")
    assert "make batch-submit TASK=passages finds out" in told(texts, "batch-poll", code=4, RETRY_FOR="0")
    api.clear_faults()
    told(texts, "batch-submit", code=0)
    api.fault("html_200", times=100, path=":download")
    assert "`make batch-poll TASK=passages` again later" in told(texts, "batch-poll", code=4, POLL_PATIENCE="0")


@pytest.mark.full
def test_what_was_given_up_is_asked_again_about_the_same_subject(texts: Workspace, api: Api) -> None:
    """A batch that is cancelled before it was sent, by whichever subject's command."""
    api.fault("quota_batch", path=CREATE)
    told(texts, "batch-submit", code=4)
    said = told(texts, "batch-cancel", "1", code=0, TASK="experts")
    assert said.endswith("Next: make passages-backfill\n")


@pytest.mark.full
@pytest.mark.parametrize(
    ("task", "named"), [pytest.param("experts", "", marks=pytest.mark.full), ("passages", " TASK=passages")]
)
def test_who_is_parked_is_listed_by_make(workspace: Workspace, people: People, api: Api, task: str, named: str) -> None:
    """Status and `unpark` name the target, which every user takes, with the subject."""
    people(1) if task == "experts" else passages.put(workspace, 1)
    workspace.environ["FINDABLE_TASK"] = task
    api.fault("error_line", times=10_000, args={"code": 3})
    for command in ("batch-submit", "batch-poll", "batch-ingest") * 2:
        workspace.run(command)
    assert json.loads(workspace.run("status", "--json").stdout)["next"] == f"make parked{named}"
    assert f"`make parked{named}` lists them" in told(workspace, "unpark", code=2)
    assert "next: YES=1 answers yes\n" in told(workspace, "unpark", "--all", code=2)
    again = "make passages-backfill" if named else "make batch-submit"
    assert told(workspace, "unpark", "--all", "--yes", code=0).endswith(f"can be asked again. Next: {again}\n")


def test_a_command_of_ones_own_that_failed_can_be_tried(workspace: Workspace, people: People) -> None:
    """The line that is named runs it by itself, quotes and all, wherever its variable is not set."""
    people(1)
    result = workspace.ran("run", ON_DONE="test \"$(cat)\" = '{}' && exit 7", code=3)
    line = result.stderr.rpartition("try it by itself: ")[2]
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 7


@pytest.mark.parametrize(
    ("environ", "search", "yours"),
    [
        ({}, 'findable search "sign language interpreter" -k 3 --data data/demo', "findable import people.csv"),
        (
            {GIVEN: "demo :"},
            'make search Q="sign language interpreter" K=3 DATA=data/demo',
            "make import EXPERTS=people.csv",
        ),
        (
            {GIVEN: "demo : DATA", "FINDABLE_DATA": "work"},
            'make search Q="sign language interpreter" K=3 DATA=work/demo',
            "make import EXPERTS=people.csv DATA=work",
        ),
    ],
)
def test_the_demo_shows_what_its_caller_would_type(environ: dict[str, str], search: str, yours: str) -> None:
    """Each command is about the demo's workspace, and one about the caller's own; the last shows the demo as a page."""
    place = "DATA=" if GIVEN in environ else "--data"
    with mock.patch.dict(os.environ, environ), mock.patch.object(cli.main, "main") as ran:
        shown = CliRunner().invoke(demo.main, [], catch_exceptions=False).output.splitlines()
    assert f"$ {search}" in shown
    assert f"  {yours}" in shown
    assert shown[-1] == f"  {search.partition(' ')[0]} web {search[search.index(place) :]}"
    assert len(ran.call_args_list) == len([line for line in shown if line.startswith("$ ")])
