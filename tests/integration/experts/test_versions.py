"""Two versions of the question about people: who is asked under which, what judges, and who is tagged by nothing."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests import ledger
from tests.delivery import MODEL, deliver, line, prepare, put_people, response, workspace_at
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
FIRST, SECOND = "expert-tags@1", "expert-tags@2"
NONE = '{"tags": []}'
SILENT = "the text supports no tag"


def requests(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the schema of the tags in each request file, and what the model is told."""
    files = sorted((workspace.data / "batches").glob("*-requests.jsonl"))
    return [json.loads(path.read_bytes().splitlines()[0])["request"] for path in files]


@pytest.mark.sampled(0, sqlite=2)
@pytest.mark.parametrize("way", [("batch-submit", "batch-poll", "batch-ingest"), ("tag-live",)])
def test_a_text_that_supports_no_tag_parks_after_one_try(
    way: tuple[str, ...], workspace: Workspace, api: Api, people: People
) -> None:
    """The answer is kept and told, and the person is asked again once a person says so, or the answer is taken back."""
    people(2)
    api.fault("answer_text", times=2, args={"text": NONE})
    workspace.ran_each(*way, VERSION=SECOND)
    assert ledger.people(workspace) == {"total": 2, "parked": 2}
    assert workspace.query("SELECT reason FROM findable_parked") == [(SILENT,)] * 2
    assert workspace.query("SELECT answer, applied FROM findable_answers") == [('{"tags":[]}', 0)] * 2
    assert workspace.query("SELECT * FROM findable_attempts") == []
    api.clear_faults()
    workspace.ran_each(*way, VERSION=SECOND)  # no person is left to ask
    assert workspace.scalar("SELECT count(*) FROM findable_answers") == 2
    assert SILENT in workspace.ran("show", "person-0000").stdout
    workspace.ran("unpark", "person-0000", "--yes")
    workspace.ran_each(*way, VERSION=FIRST)
    assert ledger.people(workspace) == {"total": 2, "tagged": 1, "parked": 1}
    workspace.ran("rollback", SECOND, "--yes")
    assert ledger.people(workspace) == {"total": 2, "tagged": 1, "untagged": 1}
    assert workspace.run("doctor").exit_code == 0


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_who_is_parked_for_want_of_a_tag_is_not_counted_as_tagged(
    mode: str, workspace: Workspace, api: Api, people: People
) -> None:
    """Neither in words nor for programs; asked live, it is said whom the answer gave none."""
    people(3)
    api.fault("answer_text", times=2, args={"text": NONE})
    tag = ("tag", "--mode", mode, "--wait", "--json")
    told = json.loads(workspace.ran(*tag, VERSION=SECOND).stdout)
    found = told["ingested"] if mode == "batch" else {name: told["live"][name] for name in ("answered", "failed")}
    assert found == ({"1": 1} if mode == "batch" else {"answered": 1, "failed": {SILENT: 2}})
    assert (told["parked"], told["left"]) == (2, 0)
    workspace.ran("unpark", "--all", "--yes")
    api.fault("answer_text", times=1, args={"text": NONE})
    said = "1 tagged in 1 batch, 1 parked" if mode == "batch" else f"1 tagged, 1 skipped, 1 failed ({SILENT})"
    assert workspace.ran(*tag[:-1], VERSION=SECOND).stdout.startswith(said)


def test_run_counts_whom_it_tagged(workspace: Workspace, api: Api, people: People) -> None:
    """Not those whose answer gave no tag."""
    people(2)
    api.fault("answer_text", times=1, args={"text": NONE})
    workspace.ran_each("batch-submit", "batch-poll", VERSION=SECOND)
    assert json.loads(workspace.ran("run", "--json", VERSION=SECOND).stdout)["ingested"] == {"1": 1}


def test_a_changed_biography_is_asked_about_again(workspace: Workspace, api: Api, people: People) -> None:
    """What was said of the earlier one parks no person, be it changed before the answer came or after."""
    people(2)
    api.fault("answer_text", times=2, args={"text": NONE})
    workspace.ran_each("batch-submit", "batch-poll", VERSION=SECOND)
    workspace.change("UPDATE experts SET bio = 'I teach soil science.' WHERE username = 'person-0000'")
    workspace.ran("batch-ingest", VERSION=SECOND)
    assert ledger.people(workspace) == {"total": 2, "untagged": 1, "parked": 1}
    assert workspace.query("SELECT outdated FROM findable_answers ORDER BY item_id") == [(1,), (0,)]


@pytest.mark.sampled(0)
def test_somebody_new_without_a_tag_is_told(workspace: Workspace, api: Api, people: People) -> None:
    """`add-expert` says that the text supports none, and promises no other try."""
    people(0)
    api.fault("answer_text", args={"text": NONE})
    file = workspace.data.parent / "new.json"
    file.write_text(json.dumps({"username": "new", "bio": "Coming soon."}))
    told = workspace.ran("add-expert", str(file), VERSION=SECOND)
    assert SILENT in told.stderr
    assert "due again" not in told.stderr
    [found] = json.loads(workspace.ran("show", "new", "--json").stdout)["answers"]
    assert found["extractor"].startswith(SECOND)


@pytest.mark.sampled(0)
def test_what_was_prepared_under_one_version_is_judged_by_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A list without tags is no answer under the first, and is asked once more; under the second it is one."""
    for version, state in ((FIRST, "untagged"), (SECOND, "parked")):
        offline = workspace_at(tmp_path_factory.mktemp("offline") / "data")
        put_people(offline, 2)
        offline.environ["FINDABLE_VERSION"] = version
        keys = prepare(offline)
        written = requests(offline)
        offline.environ["FINDABLE_VERSION"] = SECOND if version == FIRST else FIRST
        deliver(offline, b"\n".join([line(keys[0], response(NONE)), line(keys[1])]))
        offline.ran("batch-ingest")
        assert requests(offline) == written
        assert ledger.people(offline) == {"total": 2, "tagged": 1, state: 1}
        assert offline.query("SELECT DISTINCT extractor FROM findable_answers") == [(f"{version}/{MODEL}",)]


@pytest.mark.sampled(0)
def test_who_is_tagged_or_parked_is_not_asked_again_by_itself(workspace: Workspace, api: Api, people: People) -> None:
    """Under the next version only new people are asked; `qc` and `compare` know both."""
    people(3)
    api.fault("answer_text", times=2, args={"text": NONE}, key="expert-tags/1")
    for _ in range(2):
        workspace.ran_each("batch-submit", "batch-poll", "batch-ingest", VERSION=FIRST)
    assert ledger.people(workspace) == {"total": 3, "tagged": 2, "parked": 1}
    assert workspace.ran("batch-submit", VERSION=SECOND).exit_code == 0
    assert workspace.scalar("SELECT count(*) FROM findable_batches") == 2
    assert (
        json.loads(workspace.ran("qc", "--json").stdout)["extractor"] == FIRST
    )  # what has answers, as long as one has
    api.fault("answer_text", times=4, args={"text": '{"tags": ["apiculture"]}'})
    found = json.loads(workspace.ran("compare", "1", "2", "--json", "--yes").stdout)
    assert found["asked"] == 4  # who is parked has no answer of either
    assert [one["a"]["is_stored"] for one in found["items"]].count(True) == 2
    assert {tuple(one["b"]["answer"]["tags"]) for one in found["items"]} == {("apiculture",)}
    assert workspace.query("SELECT DISTINCT extractor FROM findable_answers") == [(f"{FIRST}/{MODEL}",)]


@pytest.mark.sampled(0)
def test_a_version_that_there_is_not_is_named(workspace: Workspace) -> None:
    """Before anything is asked; a version of another subject is nothing to people."""
    told = workspace.begin().ran("batch-submit", VERSION="expert-tags@9", code=3)
    assert f"{FIRST} or {SECOND}" in told.stderr
    assert workspace.run("status", VERSION="passage-concepts@2").exit_code == 0
