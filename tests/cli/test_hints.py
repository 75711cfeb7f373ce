"""What a command tells to type next can be typed, and is about what it was asked for."""

import os
import re
from collections.abc import Callable
from unittest import mock

import pytest

from jobs import cli, demo
from jobs.variables import GIVEN, begin_form
from tests.integration import many_passages as passages
from tests.lab import Workspace

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
def test_the_demo_shows_what_its_caller_would_type(
    environ: dict[str, str], search: str, yours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command is about the demo's workspace, and one about the caller's own; the last shows the demo as a page."""
    place = "DATA=" if GIVEN in environ else "--data"
    with mock.patch.dict(os.environ, environ), mock.patch.object(cli.main, "main") as ran:
        begin_form("demo")
        demo.demo()
    shown = capsys.readouterr().out.splitlines()
    assert f"$ {search}" in shown
    assert f"  {yours}" in shown
    assert shown[-1] == f"  {search.partition(' ')[0]} web {search[search.index(place) :]}"
    assert len(ran.call_args_list) == len([line for line in shown if line.startswith("$ ")])
