"""However a create call ends, there is one living remote batch for each batch, and nobody is asked twice."""

import signal
from collections.abc import Sequence
from typing import Any

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace

CREATE = ":batchGenerateContent$"
LIST = r"/batches\?"
ALWAYS = 10_000
Fault = tuple[str, dict[str, Any]]

WORKED: Sequence[Fault] = (  # the batch was made, and the caller was not told
    *(("create_lost_reply_status", {"code": code}) for code in (503, 504, 408, 409, 499)),
    ("create_lost_reply", {}),
    ("create_slow_reply", {"seconds": 1.5}),
    ("no_name", {}),
    ("foreign_name", {}),
    *(("success_code", {"code": code}) for code in (201, 204)),
)
DID_NOT: Sequence[Fault] = (  # nothing was made, and the caller was not told
    *(("status", {"code": code}) for code in (503, 500, 408)),
    *(
        (word, {})
        for word in ("drop", "reset", "hang", "empty_200", "html_200", "wrong_shape", "html_502")
    ),
)


def fail_creates(
    api: Engine, word: str, args: dict[str, Any] | None = None, **options: Any
) -> None:
    """Script a fault for create calls."""
    api.fault(word, method="POST", path=CREATE, args=args, **options)


def seen(api: Engine, method: str, part: str) -> int:
    """Return how many requests of a method the engine was sent that have `part` in their path."""
    return sum(one["method"] == method and part in one["path"] for one in api.journal())


def creates(api: Engine) -> int:
    """Return how many create calls the engine has seen."""
    return seen(api, "POST", ":batchGenerateContent")


def uploads(api: Engine) -> int:
    """Return how many uploads were begun."""
    return seen(api, "POST", "/upload/") - seen(api, "POST", "upload_id=")


def alive(api: Engine) -> list[str]:
    """Return the names of the remote batches that were not cancelled, oldest first."""
    return [batch["name"] for batch in api.batches() if batch["state"] != "CANCELLED"]


def remote_names(workspace: Workspace) -> list[str]:
    """Return the remote names of the batches, oldest first."""
    return [batch["remote_name"] for batch in workspace.batches()]


def test_a_create_that_worked_unseen_is_adopted(workspace: Workspace, api: Engine) -> None:
    """Whatever the caller was told, the batch that exists is found by its name, and create is not called again."""
    workspace.people(len(WORKED))
    for word, args in WORKED:
        fail_creates(api, word, args)
    assert "adopted" in workspace.do("submit", BATCH_ROWS=1, CREATE_TIMEOUT=1).out
    assert creates(api) == len(WORKED)
    assert remote_names(workspace) == alive(api)
    assert [(batch["state"], batch["tries"]) for batch in workspace.batches()] == [
        ("submitted", 1)
    ] * len(WORKED)
    assert api.faults()["used_up"]


def test_a_create_that_did_nothing_is_called_again(workspace: Workspace, api: Engine) -> None:
    """Only when the list shows nothing is create called again, with the same upload and another display name."""
    count = len(DID_NOT)
    workspace.people(count)
    for nth, (word, args) in enumerate(
        DID_NOT, 1
    ):  # each strikes at the nth create that no other one strikes
        fail_creates(api, word, args, nth=nth)
    workspace.do("submit", BATCH_ROWS=1, CREATE_TIMEOUT=1)
    assert (creates(api), uploads(api), len(alive(api))) == (2 * count, count, count)
    assert [batch["tries"] for batch in workspace.batches()] == [2] * count
    assert all(batch["displayName"].endswith("-t2") for batch in api.batches())


def test_a_create_that_stays_unclear_ends_the_run_and_goes_on_later(
    workspace: Workspace, api: Engine
) -> None:
    """After three creates without an answer the run ends with 4, claims kept; poll does not create, submit does."""
    workspace.people(5)
    fail_creates(api, "status", {"code": 503}, times=3)
    assert "next: run `findable batch-submit` again later" in workspace.do("submit", code=4).err
    assert (workspace.batch_states(), workspace.states(), creates(api)) == (
        ["submitting"],
        {"claimed": 5},
        3,
    )
    assert "findable batch-submit" in workspace.do("poll", code=4).err
    assert creates(api) == 3
    workspace.do("submit")
    assert (workspace.batch_states(), len(alive(api)), creates(api)) == (["submitted"], 1, 4)


def test_what_cannot_be_looked_for_is_kept_until_it_can(workspace: Workspace, api: Engine) -> None:
    """The reply is lost and the list fails, too: exit 4, and what was made is adopted by the next submit."""
    workspace.people(2)
    fail_creates(api, "create_lost_reply")
    api.fault("status", method="GET", path=LIST, args={"code": 503}, times=ALWAYS)
    submit_run = workspace.do("submit", RETRY_FOR=0.1, code=4)
    assert "looking whether it was created" in submit_run.err
    assert "next: what came before is kept; run the same command again later" in submit_run.err
    assert (workspace.batch_states(), workspace.states(), creates(api)) == (
        ["submitting"],
        {"claimed": 2},
        1,
    )
    api.clear_faults()
    workspace.do("poll", code=4)
    workspace.do("submit")
    assert (remote_names(workspace), creates(api)) == (alive(api), 1)


def test_a_name_on_a_later_page_of_the_list_is_found(workspace: Workspace, api: Engine) -> None:
    """Others made batches before and since, and a page holds one: all is read before anything is made again."""
    others = Workspace(workspace.home.with_name("others"), api.url)
    others.people(3)
    others.do("submit", BATCH_ROWS=1, limit=1)
    workspace.people(1)
    fail_creates(api, "create_lost_reply")
    api.fault("status", method="GET", path=LIST, args={"code": 503}, times=ALWAYS)
    workspace.do("submit", RETRY_FOR=0.1, code=4)
    api.clear_faults()
    api.configure(list_page_most=1)
    mine = alive(api)[1]
    others.do("submit", BATCH_ROWS=1)
    workspace.do("submit")
    assert (remote_names(workspace), creates(api)) == ([mine], 4)


def test_a_name_that_is_late_in_the_list_is_waited_for(workspace: Workspace, api: Engine) -> None:
    """A batch that the list shows only after a while is found, and not made again; the wait can be interrupted."""
    workspace.people(2)
    fail_creates(api, "create_lost_reply")
    api.configure(list_lag_seconds=3600)
    with workspace.start("submit", LIST_LAG=600) as running:
        while "looking again in" not in running.so_far():
            assert not running.has_ended()
        workspace.put("late.csv", "Username,Bio\nlate,I came in meanwhile.\n")
        workspace.do("import", "late.csv")
        running.signal(signal.SIGINT)
        assert running.wait().code == 130
    assert (workspace.batch_states(), creates(api)) == (["submitting"], 1)
    with workspace.start("submit", LIST_LAG=5) as running:
        api.advance(7200)
        assert running.wait().code == 0
    assert creates(api) == 2, "the one who came in meanwhile"
    assert remote_names(workspace) == alive(api)


@pytest.mark.excused("batches_are_made_once")
def test_of_several_batches_the_oldest_is_adopted_and_the_others_are_cancelled(
    workspace: Workspace, api: Engine
) -> None:
    """The oldest of two stays alive; where its twin cannot be cancelled now, a later look does so."""
    workspace.people(5)
    api.configure(paused=True)
    api.fault("duplicate_batch")
    fail_creates(api, "lost_reply")
    api.fault("status", times=50, path=":cancel$", method="POST")
    workspace.do("submit", RETRY_FOR=0.1)
    first, second = alive(api)
    assert remote_names(workspace) == [first]
    assert workspace.spent()["lost"] == pytest.approx(
        workspace.batches()[0]["estimated_cost"], abs=1e-6
    )
    api.clear_faults()
    assert workspace.run("poll", WAIT=0).code in {0, 4}
    assert alive(api) == [first] != [second]


REFUSED: Sequence[tuple[str, dict[str, Any], int, bool]] = (  # word, args, exit code, upload kept
    *((word, {}, 4, True) for word in ("quota_minute", "quota_day", "quota_batch", "quota_bare")),
    ("key_invalid", {}, 3, False),
    *(("status", {"code": code}, 3, False) for code in (401, 403, 404)),
    ("status", {"code": 413}, 4, False),
)


def test_a_clear_refusal_leaves_the_batch_prepared(workspace: Workspace, api: Engine) -> None:
    """One create, no batch, claims kept; the next run sends the same file, uploaded anew if need be."""
    workspace.people(5)
    begun = 0
    there = False
    for number, (word, args, code, keeps) in enumerate(REFUSED, 1):
        fail_creates(api, word, args)
        assert "next: " in workspace.do("submit", code=code).err
        begun += not there
        there = keeps
        assert (creates(api), uploads(api), api.batches()) == (number, begun, []), word
    assert (workspace.batch_states(), workspace.states()) == (["prepared"], {"claimed": 5})
    fail_creates(api, "quota_bare")
    workspace.do("submit", code=4)
    url = workspace.url
    workspace.url = "http://127.0.0.1:9"
    workspace.do("submit", RETRY_FOR=0.05, code=4)
    workspace.url = url
    workspace.do("submit")
    assert (workspace.batch_states(), uploads(api)) == (["submitted"], begun + 1), (
        "an upload is used again"
    )
    workspace.each("poll", "ingest")
    assert workspace.states() == {"tagged": 5}


def test_a_file_refused_twice_is_given_up(workspace: Workspace, api: Engine) -> None:
    """The second 400 ends the batch as failed with its reason and lets its rows go, uncharged; uploads are deleted."""
    workspace.people(5)
    fail_creates(
        api, "status", {"code": 400, "message": "Request contains an invalid argument."}, times=4
    )
    for rounds in range(2):
        workspace.do("submit", code=4)
        assert workspace.batch_states() == ["failed"] * rounds + ["prepared"]
        assert "given up" in workspace.do("submit", code=4).err
        assert workspace.states() == {"untagged": 5}
    assert "invalid argument" in workspace.batches()[0]["reason"]
    assert seen(api, "DELETE", "/files/") == 4
    workspace.do("submit")
    assert workspace.batch_states() == ["failed", "failed", "submitted"]


def test_a_refused_line_is_charged_and_the_rest_goes_out_in_the_same_run(
    workspace: Workspace, api: Engine
) -> None:
    """A refusal of line 3 costs the third row one attempt; it is asked once more by a later run, and then parked.

    A refusal of a line that is not there is one of the file, and charges nobody.
    """
    names = workspace.people(5)
    api.fault("bad_line", args={"line": 3})
    error_output = workspace.do("submit", limit=4).err
    assert (
        f"line 3 was refused: invalid JSON, near column 42: no such field: 'cachedContent'; {names[2]}, "
        in error_output
    )
    assert [request["key"] for request in workspace.requests(2)] == [
        "expert-tags/1",
        "expert-tags/2",
        "expert-tags/4",
    ]
    api.fault("bad_line", args={"line": 99})
    workspace.do("submit", code=4)
    assert workspace.batch_states() == ["failed", "submitted", "prepared"]
    api.fault("bad_line", args={"line": 1})
    assert f"{names[2]}, which stands there, is parked" in workspace.do("submit").err
    assert [*workspace.parked()] == [names[2]]
    assert workspace.do("submit").out.startswith("nothing to submit")


def test_rows_that_others_were_taken_without_are_parked_however_many_they_are(
    workspace: Workspace, api: Engine
) -> None:
    """Three of five are refused, the others are taken; the next run asks those three alone, and parks each."""
    names = workspace.people(5)
    for number in (2, 3, 3):
        api.fault("bad_line", args={"line": number})
    workspace.do("submit")
    assert workspace.batch_states() == ["failed", "failed", "failed", "submitted"]
    api.fault("bad_line", args={"line": 1}, times=3)
    workspace.do("submit")
    assert workspace.parked().keys() == {names[1], names[3], names[4]}
    assert [*workspace.status()["parked"].values()] == [3], "for one reason, in equal words"


@pytest.mark.excused("batches_are_made_once")
def test_a_twin_that_shows_after_all_was_ingested_is_counted(
    workspace: Workspace, api: Engine
) -> None:
    """It was paid for; the list was empty of it when it was looked for while the batch was under way."""
    workspace.people(2)
    fail_creates(api, "create_lost_reply")
    api.fault("list_lag", args={"seconds": 600})
    workspace.each("submit", "poll", "ingest", "poll")
    assert (workspace.states(), workspace.spent()["lost"]) == ({"tagged": 2}, 0)
    api.advance(601)
    workspace.do("poll")
    assert workspace.spent()["lost"] > 0
    workspace.do("doctor")


@pytest.mark.excused("batches_are_made_once")
def test_a_twin_that_shows_late_is_cancelled_and_counted(workspace: Workspace, api: Engine) -> None:
    """A create that came to light after a second one is cancelled by the next poll; what it may cost counts as lost.

    Likewise one whose batch was given up by hand while nothing was in the list.
    """
    workspace.people(2)
    api.configure(batch_looks=2)
    fail_creates(api, "create_lost_reply")
    api.fault("list_lag", args={"seconds": 600})
    workspace.do("submit")
    assert (len(alive(api)), workspace.spent()["lost"]) == (2, 0)
    api.advance(601)
    workspace.do("poll")
    assert alive(api) == remote_names(workspace)
    assert workspace.spent()["lost"] > 0
    workspace.do("ingest")
    workspace.people(1, first=2)
    fail_creates(api, "create_lost_reply")
    api.fault("never_ends")
    api.fault("list_lag", args={"seconds": 600})
    api.fault("status", times=ALWAYS, method="GET", path=LIST)
    workspace.do("submit", RETRY_FOR=0.05, code=4)
    api.clear_faults()
    workspace.do("cancel", 2)
    assert workspace.batch_states() == ["ingested", "failed"]
    api.advance(601)
    workspace.do("poll")
    assert alive(api) == remote_names(workspace)[:1]
    assert workspace.states() == {"tagged": 2, "untagged": 1}
