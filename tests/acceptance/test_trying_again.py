"""Trying again: what is charged and what is not, when a person is parked, how they are let go, and cancelling."""

import signal

import pytest

from tests.acceptance.database import sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.acceptance.test_ingest import make_line, sort_by_row
from tests.outside.server import Outside

KEY_OF = "expert-tags/{}"
CREATE = ":batchGenerateContent$"


def round_of(
    workspace: Workspace, api: Engine, *faults: tuple[str, str, int | None], **options: int
) -> None:
    """Let all who can be asked be asked once; `faults` are words of lines, each with its item and its error's code."""
    for word, item, code in faults:
        args = {} if code is None else {"code": code, "message": f"Trouble {code}."}
        api.fault(word, key=KEY_OF.format(item), args=args)
    workspace.do("submit", **options)
    workspace.each("poll", "ingest")


def room(workspace: Workspace, number: int) -> dict[str, int]:
    """Return `maxOutputTokens` of each key in a batch's request file."""
    return {
        request["key"]: request["request"]["generationConfig"]["maxOutputTokens"]
        for request in workspace.requests(number)
    }


@pytest.mark.excused("nobody_is_answered_twice")  # who is let go may fail again
def test_two_failures_park_and_unpark_lets_go(workspace: Workspace, api: Engine) -> None:
    """The reason says how often and what was said last; who is let go needs two more failures to be parked again."""
    names = workspace.people(3)
    assert workspace.do("parked").out == "no person is parked\n"
    round_of(workspace, api, ("error_line", "1", 13), ("error_line", "2", 13))
    assert workspace.states() == {"tagged": 1, "untagged": 2}
    round_of(workspace, api, ("error_line", "1", 14))
    assert workspace.states() == {"tagged": 2, "parked": 1}, "an answer after one failure tags"
    reason = workspace.parked()[names[0]]
    assert reason.startswith("it failed 2 times; last: error 14: ")
    for arguments, code in (((), 2), ((names[0], "--all"), 2), (("nobody",), 2)):
        workspace.do("unpark", *arguments, code=code)
    assert workspace.read("unpark", names[0]) == {"unparked": [names[0]]}
    for state in ("untagged", "parked"):
        assert workspace.states() == {"tagged": 2, "untagged": 1}
        round_of(workspace, api, ("error_line", "1", 13))
        assert workspace.states() == {"tagged": 2, state: 1}
    workspace.do("unpark", all=True, code=2)
    assert workspace.read("unpark", all=True, yes=True) == {"unparked": [names[0]]}
    round_of(workspace, api)
    assert workspace.states() == {"tagged": 3}


def test_what_no_try_can_better_parks_at_once_and_foreign_text_stays(
    workspace: Workspace, api: Engine
) -> None:
    """A request that the API calls wrong is asked once; a row whose tags are another program's text is never let go."""
    names = workspace.people(4)
    sql(workspace, "UPDATE experts SET tags = 'law, water' WHERE id = 3")
    codes = {"1": 3, "2": 5, "4": 7}
    round_of(workspace, api, *(("error_line", item, code) for item, code in codes.items()))
    assert workspace.states() == {"parked": 3, "foreign": 1}
    assert [workspace.parked()[names[int(item) - 1]] for item in codes] == [
        f"Gemini refused it for a reason that cannot get better: error {code}: Trouble {code}."
        for code in codes.values()
    ]
    assert workspace.read("unpark", all=True, yes=True) == {
        "unparked": [names[0], names[1], names[3]]
    }
    assert workspace.states() == {"untagged": 3, "foreign": 1}
    assert sql(workspace, "SELECT tags FROM experts WHERE id = 3") == [("law, water",)]


def test_three_failed_batches_in_a_row_park(workspace: Workspace, api: Engine) -> None:
    """Nothing is paid for for ever: after three batches that gave nothing people are parked.

    Failures of the service do not count as tries of theirs, and an answer that is no use breaks the row.
    """
    workspace.people(2)
    for fault in ("batch_expires", "batch_fails"):
        api.fault(fault)
        workspace.each("submit", "poll")
    round_of(workspace, api, ("error_line", "1", 13), limit=1)
    for fault in ("batch_fails", "batch_expires"):
        assert workspace.states() == {"untagged": 2}
        api.fault(fault)
        workspace.do("submit", limit=1)
        workspace.do("poll")
    assert workspace.states() == {"untagged": 2}
    api.fault("batch_fails")
    workspace.each("submit", "poll")
    assert workspace.states() == {"parked": 2}
    assert {reason.partition(" gave")[0] for reason in workspace.parked().values()} == {
        "3 batches in a row"
    }


def test_a_cancel_by_hand_is_held_against_nobody(workspace: Workspace, api: Engine) -> None:
    """However often a person cancels, nobody is parked for it; the claims stay until a look says that it is over."""
    workspace.people(2)
    for number in range(1, 4):
        api.fault("never_ends")
        workspace.do("submit")
        if number == 1:
            api.fault("status", times=50, method="POST", path=":cancel")
            workspace.do("cancel", number, RETRY_FOR=0.05, code=4)
            api.clear_faults()
            assert api.batches()[0]["state"] == "PENDING"
        assert (
            "asked the API to cancel it. Next: findable batch-poll"
            in workspace.do("cancel", number).out
        )
        assert workspace.states() == {"claimed": 2}
        assert workspace.do("poll", json=True).json["failed"] == {str(number): "cancelled by hand"}
        assert workspace.states() == {"untagged": 2}
    assert {batch["state"] for batch in api.batches()} == {"CANCELLED"}


def test_what_was_never_sent_or_is_over_is_cancelled_here_alone(
    workspace: Workspace, api: Engine
) -> None:
    """A prepared batch ends as failed and costs nothing; what was paid for is collected, and not cancelled."""
    workspace.people(3)
    api.fault("quota_batch")
    workspace.do("submit", code=4)
    assert "3 items can be asked again" in workspace.do("cancel", BATCH=1).out
    assert [(one["state"], one["cost"]) for one in workspace.batches()] == [("failed", 0)]
    assert workspace.states() == {"untagged": 3}
    workspace.do("submit")
    while api.batches()[0]["state"] != "SUCCEEDED":
        pass
    assert "over already (succeeded). Next: findable batch-poll" in workspace.do("cancel", 2).out
    assert not [one for one in api.journal() if ":cancel" in one["path"]]
    workspace.each("poll", "ingest")
    assert (
        "batch 2 is ingested, there is nothing to cancel" in workspace.do("cancel", 2, code=2).err
    )
    workspace.do("cancel", 7, code=2)
    assert workspace.states() == {"tagged": 3}


def test_an_unclear_create_is_cancelled_where_it_worked_and_given_up_where_it_did_not(
    workspace: Workspace, api: Engine
) -> None:
    """What a lost create made is found first; an interrupted wait for the list changes nothing."""
    workspace.people(3)
    api.configure(paused=True)
    api.fault("create_lost_reply")
    api.fault("status", times=50, method="GET", path=r"/batches\?")
    workspace.do("submit", RETRY_FOR=0.1, code=4)
    api.clear_faults()
    workspace.do("cancel", 1)
    assert [batch["state"] for batch in api.batches()] == ["CANCELLED"]
    workspace.do("poll")
    assert workspace.states() == {"untagged": 3}
    api.fault("status", times=3, method="POST", path=CREATE)
    workspace.do("submit", code=4)
    with workspace.start("cancel", 2, LIST_LAG=600) as running:
        while "looking again in 60 s" not in running.so_far():
            assert not running.has_ended()
        running.signal(signal.SIGINT)
        assert running.wait().code == 130
    assert (workspace.batch_states()[1], workspace.states()) == ("submitting", {"claimed": 3})
    workspace.do("cancel", 2)
    assert (workspace.batch_states()[1], workspace.states()) == ("failed", {"untagged": 3})
    assert len(api.batches()) == 1


@pytest.mark.parametrize("word", ["max_tokens", "max_tokens_empty"])
def test_after_a_cut_answer_there_is_more_room(
    word: str, workspace: Workspace, api: Engine
) -> None:
    """The next request of an answer that was cut by the token limit asks for more tokens; others do not."""
    workspace.people(3)
    round_of(workspace, api, (word, "1", None), ("error_line", "2", 13))
    round_of(workspace, api)
    first = room(workspace, 1)
    second = room(workspace, 2)
    assert second == {
        "expert-tags/1": 4 * first["expert-tags/1"],
        "expert-tags/2": first["expert-tags/2"],
    }
    assert workspace.states() == {"tagged": 3}


def test_what_a_batch_did_not_come_to_is_not_charged(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A missing line of a batch that ended early is the service's matter, and one of a whole batch is its person's."""
    names = served_workspace.people(1)
    outside_server.results = lambda _keys: b""
    outside_server.manner.ending = "EXPIRED"
    for _ in range(2):
        served_workspace.each("submit", "poll", "ingest")
    assert served_workspace.states() == {"untagged": 1}
    outside_server.manner.ending = "SUCCEEDED"
    outside_server.results = lambda keys: b"\n".join(
        make_line(key) for key in sort_by_row(keys)[1:]
    )
    for count, state in enumerate(("untagged", "parked"), 1):
        served_workspace.people(1, first=count)
        served_workspace.each("submit", "poll", "ingest")
        assert served_workspace.states() == {state: 1, "tagged": count}
    assert served_workspace.parked() == {names[0]: "it failed 2 times; last: no line in the result"}
