"""People and passages in one workspace: each command works on the one it is told, or on both, and mixes nothing up."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration import many_passages as passages
from tests.lab import ROOT, Api, Workspace, ran

COUNT = 3


def _document(workspace: Workspace, *args: str, **values: str) -> Any:
    """Run a command with --json, and return its document."""
    result = workspace.ran(*args, "--json", **values)
    return json.loads(result.stdout)


@pytest.fixture(name="both")
def _both(workspace: Workspace) -> Workspace:
    """A workspace with three people and three passages, of whom nothing was asked."""
    people = workspace.data.with_name("people.csv")
    people.write_text("Username,Bio\n" + "".join(f"p{number},I keep bees in {number}.\n" for number in range(COUNT)))
    ran(workspace, "import", str(people))
    passages.put(workspace, COUNT)
    return workspace


@pytest.mark.full
def test_run_takes_each_task_through_to_its_end(both: Workspace) -> None:
    """Called for either again and again, both end with their answers, and neither touches the other's batches."""
    people, texts = _document(both, "status"), _document(both, "status", TASK="passages")
    assert people["experts"] == {"total": 3, "tagged": 0, "untagged": 3, "no_bio": 0, "claimed": 0, "parked": 0}
    assert texts["passages"] == {"total": 3, "with_concepts": 0, "open": 3, "empty": 0, "claimed": 0, "parked": 0}
    assert ("passages" in people, "experts" in texts) == (False, False)
    assert {"batches", "index", "backend", "workspace", "next"} <= people.keys() & texts.keys()
    for _ in range(30):
        ran(both, "run", "--yes", TASK="experts")
        ran(both, "batch-submit", TASK="passages")
        ran(both, "run", "--yes", TASK="passages")
        people, texts = _document(both, "status"), _document(both, "status", TASK="passages")
        if (people["experts"]["tagged"], texts["passages"]["with_concepts"]) == (COUNT, COUNT):
            break
    else:
        raise AssertionError("they never ended")
    assert sorted(row["task"] for row in _document(both, "batches")) == ["expert-tags", "passage-concepts"]
    assert _document(both, "doctor")["findings"] == []


def test_a_batch_is_worked_on_by_its_own_task_alone(both: Workspace, api: Api) -> None:
    """Poll and ingest of one task leave the other's batch where it is; the list names tasks where there are two."""
    ran(both, "batch-submit")
    assert "task" not in ran(both, "batches").splitlines()[0].split()
    ran(both, "batch-submit", TASK="passages")
    head, *lines = ran(both, "batches").splitlines()
    assert head.split()[:3] == ["batch", "task", "state"]
    assert [line.split()[1] for line in lines] == ["expert-tags", "passage-concepts"]
    ran(both, "batch-poll", TASK="passages")
    ran(both, "batch-ingest", TASK="passages")
    states = {row["task"]: row["state"] for row in _document(both, "batches")}
    assert states == {"expert-tags": "submitted", "passage-concepts": "ingested"}
    assert len(api.batches()) == 2


@pytest.mark.full
def test_what_to_type_next_is_about_the_same_subject(both: Workspace, api: Api) -> None:
    """Submit, a poll that waits still, a refused rollback and a poll that has all name the subject to make."""
    for task, named, label in (("experts", "", "expert-tags@2"), ("passages", " TASK=passages", passages.LABEL)):
        api.configure(paused=True)
        assert ran(both, "batch-submit", TASK=task).strip().endswith(f"Next: make batch-poll{named}")
        assert ran(both, "batch-poll", "--no-wait", TASK=task).strip().endswith(f"Next: make batch-poll{named}")
        assert f"make batch-poll{named}\n" in both.ran("rollback", label, "--yes", code=2).stderr
        api.configure(paused=False)
        assert ran(both, "batch-poll", TASK=task).strip().endswith(f"Next: make batch-ingest{named}")


@pytest.mark.full
def test_versions_are_those_of_both_where_no_task_is_named(both: Workspace) -> None:
    """With versions of one task there is no column for it; TASK lists those of one alone."""
    assert both.environ.get("FINDABLE_TASK") is None
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        both.run(command, TASK="passages")  # gates may fail here, with three passages
    (one,) = _document(both, "versions")
    assert (one["task"], one["version"]) == ("passages", passages.LABEL)
    assert ran(both, "versions").split()[0] == "version"
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        both.run(command)
    assert [one["task"] for one in _document(both, "versions")] == ["experts", "passages"]
    assert [line.split()[0] for line in ran(both, "versions").splitlines()] == ["task", "experts", "passages"]
    for task in ("experts", "passages"):
        assert [one["task"] for one in _document(both, "versions", TASK=task)] == [task]


@pytest.mark.full
@pytest.mark.parametrize(
    ("task", "other"), [("experts", "passages"), pytest.param("passages", "experts", marks=pytest.mark.full)]
)
def test_a_batch_of_the_other_task_can_be_given_up(both: Workspace, api: Api, task: str, other: str) -> None:
    """Whatever TASK says: its items are free again, those of the other task stay claimed."""
    api.fault("quota_batch", times=2)
    for one in (task, other):
        ran(both, "batch-submit", code=4, TASK=one)
    assert "3 items can be asked again" in ran(both, "batch-cancel", "1", TASK=other)
    mine, theirs = _document(both, "status", TASK=task)[task], _document(both, "status", TASK=other)[other]
    assert (mine["claimed"], mine["untagged" if task == "experts" else "open"], theirs["claimed"]) == (0, 3, 3)
    assert [row["state"] for row in _document(both, "batches")] == ["failed", "prepared"]
    api.configure(paused=True)
    ran(both, "batch-submit", TASK=other)
    said = ran(both, "batch-cancel", "2", TASK=task)
    assert "asked the API to cancel it" in said
    assert said.endswith(f"Next: make batch-poll{' TASK=passages' if other == 'passages' else ''}\n")
    ran(both, "batch-poll", TASK=other)
    assert _document(both, "status", TASK=other)[other]["claimed"] == 0


@pytest.mark.full
def test_parked_passages_are_listed_and_let_go_by_their_ids(both: Workspace, api: Api) -> None:
    """TASK=passages makes both commands about passages; people who are parked are another list."""
    for key in ("expert-tags/1$", "passage-concepts/p-0001$"):
        api.fault("error_line", times=10_000, key=key, args={"code": 3})
    for task in ("experts", "passages"):
        for command in ("batch-submit", "batch-poll", "batch-ingest"):
            both.run(command, TASK=task)  # gates may fail here, with one of three parked
    (person,), (passage,) = _document(both, "parked"), _document(both, "parked", TASK="passages")
    assert (person["name"], passage["name"]) == ("p0", "p-0001")
    assert set(person) == set(passage) == {"name", "reason", "foreign_text", "since"}
    assert "passage\treason" in ran(both, "parked", TASK="passages")
    assert "there is no passage 'p0'" in ran(both, "unpark", "p0", TASK="passages", code=2)
    said = ran(both, "unpark", TASK="passages", PASSAGE="p-0001")
    assert said == "1 passage can be asked again. Next: make passages-backfill\n"
    assert len(_document(both, "parked")) == 1
    assert _document(both, "status", TASK="passages")["passages"]["open"] == 1


@pytest.mark.full
def test_commands_about_people_are_about_people_whatever_task_says(both: Workspace) -> None:
    """Show and add-expert take no notice of TASK=passages; index and search are about passages, which have none."""
    new = both.data.with_name("new.json")
    new.write_text(json.dumps({"username": "new", "bio": "I cast bells."}))
    ran(both, "add-expert", str(new), TASK="passages")
    shown = _document(both, "show", "new", TASK="passages")
    assert (shown["state"], len(shown["answers"])) == ("tagged", 1)
    ran(both, "index")
    assert [row["username"] for row in _document(both, "search", "bells")] == ["new"]
    said = ran(both, "search", "bells", TASK="passages", code=2)
    assert "passages are not in the search index" in said
    assert "`make index TASK=passages`" in said
    assert "there is nothing to index" in ran(both, "index", TASK="passages", code=2)
    assert not (both.data / "index/tasks").exists()


@pytest.mark.sqlite_only(reason="what is loaded does not depend on the database")
@pytest.mark.parametrize("ever", [False, pytest.param(True, marks=pytest.mark.full)])
def test_nothing_of_passages_is_loaded_where_none_were_asked_about(
    workspace: Workspace, people: Callable[[int], list[str]], *, ever: bool
) -> None:
    """`status` of people loads no module of passages but their look-up, unless there are some, and no reports."""
    workspace.environ["FINDABLE_TASK"] = "passages" if ever else "experts"
    people(1)
    script = (
        "import sys\nfrom jobs.cli import main\ntry:\n    main(['status'], prog_name='findable')\n"
        "except SystemExit as done:\n    assert not done.code\n"
        "print('LOADED', *(name for name in sys.modules if name.startswith(('pipeline.passages', 'pipeline.quality'))))"
    )
    environ = {"PYTHONPATH": str(ROOT), "FINDABLE_DATA": str(workspace.data), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environ)
    loaded = {*done.stdout.splitlines()[-1].split()[1:]} - {"pipeline.passages", "pipeline.passages.subject"}
    assert ("pipeline.passages.table" in loaded) == ever
    assert {name for name in loaded if not ever or "quality" in name} == set()
