"""`show` shows every request, its bytes and its outcome."""

import json

import pytest

from tests.integration import reviews
from tests.lab import Workspace


@pytest.mark.full
def test_show_prints_a_row_with_its_requests(workspace: Workspace) -> None:
    """`show --raw` prints row, state, answer and batch, with the sealed request and reply."""
    reviews.set_up_task(workspace).ran_each(*reviews.BY_BATCH)
    words = ("show", "--row", "2", "--raw")
    document = json.loads(workspace.ran(*words, "--json").stdout)
    (answer,) = document["answers"]
    (request,) = document["requests"]
    text = document["columns"]["text"]
    assert (document["state"], document["stale"], text) == ("answered", None, reviews.TEXTS["2"])

    quote = answer["answer"]["quote"]
    assert text[quote["start"] : quote["end"]] == quote["quote"]
    assert (request["batch"], request["line"], request["outcome"]) == (1, 2, "answered")
    assert request["tokens_in"] == answer["tokens_in"] > 0
    assert document["cost"] == request["cost"] == answer["cost"]

    request_file = workspace.data / workspace.scalar("SELECT request_file FROM askrows_batches")
    # The request on the wire is a line of the sealed file.
    wire = request["wire"]
    assert wire["request"] in request_file.read_text(encoding="utf-8").splitlines()

    (reply,) = map(json.loads, wire["replies"])
    assert (json.loads(wire["request"])["key"], reply["key"]) == ("reviews/2", "reviews/2")

    stdout = workspace.ran(*words).stdout
    quotation = f"“{quote['quote']}” ({quote['start']}-{quote['end']})"
    assert all(
        part in stdout
        for part in (quotation, "\t1\tanswered\t", wire["request"], wire["replies"][0])
    )
