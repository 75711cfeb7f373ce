"""Test that no reply of another request is stored, if control requests can show the mix-up.

The outside server gives the replies of a batch to other keys. Equal replies show nothing, so each
row has its own biography.
"""

import json
from collections.abc import Callable, Sequence

import pytest

from tests.acceptance.product import Workspace
from tests.outside.answers import Json, RefusedLine
from tests.outside.server import Outside

HELD = 5
FEW_ROWS = 60
OTHER_ROWS = 3
# Batches of so many rows have control requests.
LEAST_ROWS = 20
MANY_ROWS = 1_000
CONTROL_KEYS = ("control-1", "control-2", "control-3")


def rotate(replies: list[Json]) -> list[Json]:
    """Give each key the reply of the request before."""
    return [*replies[-1:], *replies[:-1]]


def shift_from_a_quarter(replies: list[Json]) -> list[Json]:
    """Give each key from a quarter on the reply of the next request; the last keeps its own."""
    start = len(replies) // 4
    return [*replies[:start], *replies[start + 1 :], replies[-1]]


def repeat_a_reply(replies: list[Json]) -> list[Json]:
    """Give each key from a quarter on the same reply to a row."""
    start = len(replies) // 4
    return [*replies[:start], *([replies[start]] * (len(replies) - start))]


MIX_UPS = (rotate, shift_from_a_quarter, repeat_a_reply)


def hold_batch(workspace: Workspace, server: Outside, mixing: Callable[..., list[Json]]) -> None:
    """Send few people in a batch whose replies are mixed up, and try to store them."""
    server.mixing = mixing
    workspace.import_people(FEW_ROWS)
    workspace.run_commands("submit", "poll")
    workspace.run_command("ingest", code=HELD)


def count_tagged(workspace: Workspace) -> int:
    """Return the number of tagged people."""
    count: int = workspace.status()["experts"]["tagged"]
    return count


def list_moves(workspace: Workspace) -> list[str]:
    """Return the reasons of all events of batch 1, as the page shows them."""
    with workspace.serve_page() as page:
        moves = page.get("/api/batches/1").json()["moves"]
    return [move["why"] or "" for move in moves]


@pytest.mark.alike
@pytest.mark.parametrize("mixing", MIX_UPS)
@pytest.mark.promise("mixed")
def test_a_mixed_up_batch_is_held(
    served_workspace: Workspace, outside_server: Outside, mixing: Callable[..., list[Json]]
) -> None:
    """Nothing of a rotated or shifted batch is stored, and each listing shows the reason."""
    hold_batch(served_workspace, outside_server, mixing)

    assert count_tagged(served_workspace) == 0
    [batch] = served_workspace.read_json("batches")
    assert batch["state"] == "downloaded"
    assert "control request" in batch["held"]
    assert "held: " in served_workspace.run_command("batches").stdout
    assert served_workspace.run_command("ingest", code=HELD).stderr.count("is held") == 1


def test_a_moved_batch_that_is_held_ends_the_move(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """The move reports the hold, and asks no row of the batch again."""
    outside_server.mixing = rotate
    served_workspace.import_people(FEW_ROWS)
    served_workspace.run_command("submit")
    assert "is held" in served_workspace.run_command("batch_move", 1, to="flex", code=HELD).stderr

    assert count_tagged(served_workspace) == 0
    [batch] = served_workspace.read_json("batches")
    assert batch["state"] == "downloaded"


@pytest.mark.alike
@pytest.mark.parametrize("row_count", [LEAST_ROWS, MANY_ROWS])
@pytest.mark.promise("mixed")
def test_a_right_batch_is_not_held(served_workspace: Workspace, row_count: int) -> None:
    """Control requests are counted apart from rows, and their cost is a part of the cost."""
    served_workspace.import_people(row_count)
    served_workspace.run_commands("submit", "poll")
    [report] = served_workspace.read_json("ingest")
    [batch] = served_workspace.read_json("batches")

    assert report["requests"] == report["answered"] == row_count
    assert (report["unknown"], report["reasons"]) == (0, [])
    assert (batch["held"], batch["control_requests"]) == (None, 3)
    assert 0 < batch["control_cost"] < batch["cost"]
    keys = [request["key"] for request in served_workspace.sealed_requests(1)]
    assert (keys[1], keys[len(keys) // 2], keys[-1]) == CONTROL_KEYS
    assert len(keys) == len(set(keys)) == row_count + 3


def test_a_small_batch_has_no_control_requests(served_workspace: Workspace) -> None:
    """A batch of fewer than 20 rows asks only about rows."""
    served_workspace.import_people(LEAST_ROWS - 1)
    served_workspace.run_command("submit")
    keys = {request["key"] for request in served_workspace.sealed_requests(1)}
    assert len(keys) == LEAST_ROWS - 1
    assert not keys & {*CONTROL_KEYS}


def test_a_result_that_is_downloaded_again(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """The same result is still held, and giving up is proposed; another result ends the hold."""
    hold_batch(served_workspace, outside_server, rotate)
    assert served_workspace.status()["next"].endswith("batch-poll --batch 1")
    poll_output = served_workspace.run_command("poll", batch=1).stdout
    assert "same bytes" in poll_output
    assert served_workspace.next_command() == ["batch-cancel", "1"]
    served_workspace.run_command("ingest", code=HELD)

    lines = [json.dumps(reply) for reply in turn_back(served_workspace.sealed_replies(1))]
    body = "\n".join(lines).encode()
    outside_server.instead = lambda call: (200, {}, body) if call.endswith(":download") else None
    assert "another result" in served_workspace.run_command("poll", batch=1).stdout
    served_workspace.run_command("ingest")
    assert count_tagged(served_workspace) == FEW_ROWS
    assert "downloaded again" in list_moves(served_workspace)


def turn_back(replies: Sequence[Json]) -> list[Json]:
    """Return the lines of a rotated result with the replies under their own keys."""
    keys = [reply["key"] for reply in replies]
    own_replies = [*replies[1:], replies[0]]
    return [{**reply, "key": key} for key, reply in zip(keys, own_replies, strict=True)]


def test_rows_of_a_held_batch_are_asked_again(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A cancelled batch releases its rows without charge, and may have been paid for."""
    hold_batch(served_workspace, outside_server, rotate)
    served_workspace.run_command("cancel", batch=1, yes=True)
    [batch] = served_workspace.read_json("batches")
    assert batch["state"] == "failed"
    assert served_workspace.status()["spent"]["lost"] > 0

    outside_server.mixing = None
    served_workspace.run_commands("submit", "poll", "ingest")
    assert count_tagged(served_workspace) == FEW_ROWS


def test_an_accepted_batch_is_stored(served_workspace: Workspace, outside_server: Outside) -> None:
    """ACCEPT= stores the replies as they are, and the journal records it."""
    hold_batch(served_workspace, outside_server, rotate)
    served_workspace.run_command("ingest", accept=1)
    assert count_tagged(served_workspace) > 0
    assert any(reason.startswith("accepted in spite of") for reason in list_moves(served_workspace))
    served_workspace.run_command("ingest", accept=1, code=2)


@pytest.mark.alike
def test_other_batches_go_on_beside_a_held_batch(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """`tag` reports a held batch with exit code 5, and asks and stores the other rows."""
    hold_batch(served_workspace, outside_server, rotate)
    outside_server.mixing = None
    served_workspace.import_people(OTHER_ROWS, first=500)
    tag = served_workspace.run_command("tag", mode="batch", wait=True, yes=True, code=HELD)
    assert "is held" in tag.stderr
    assert count_tagged(served_workspace) == OTHER_ROWS


@pytest.mark.alike
def test_a_refused_control_request_proves_nothing(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """The rows of a batch are stored, and the report counts what proved nothing."""
    usual_answerer = outside_server.answerer

    def answer_rows_alone(request: Json) -> Json:
        """Refuse the control requests."""
        if "askrows_control" in json.dumps(request):
            raise RefusedLine(13, "Internal error.")
        return usual_answerer(request)

    outside_server.answerer = answer_rows_alone
    served_workspace.import_people(LEAST_ROWS)
    served_workspace.run_commands("submit", "poll")
    [report] = served_workspace.read_json("ingest")
    [reason] = report["reasons"]
    assert (reason["outcome"], reason["count"]) == ("control", len(CONTROL_KEYS))
    assert count_tagged(served_workspace) == LEAST_ROWS
