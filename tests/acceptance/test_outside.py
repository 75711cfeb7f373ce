"""The product works with an independently written server, in each of its manners and troubles."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.product import IMAGES, PASSAGES, Workspace, write_declaration
from tests.outside.answers import Json, RefusedLine, fill, user_text
from tests.outside.server import Outside, serving

TRADES = ("glass", "ships", "bread", "clocks", "rivers", "maps", "looms", "soil", "stars", "bees")
BIOS = [
    f"person-{number},P,{number},,,I work with {trade} since {number}."
    for number, trade in enumerate(TRADES)
]
FILE = "\n".join(["Username,First Name,Last Name,Job Title,Company,Bio", *BIOS, "silent,S,,,,"])
ROUND = ("submit", "poll", "ingest")
MAX_ROUNDS = 9
# Combinations of the choices that the notes on the protocol leave open.
MANNERS: dict[str, Json] = {
    "words of the SDK, numbers, key first": {
        "states": "JOB_STATE_",
        "stats": "numbers",
        "key_first": True,
    },
    "no statistics, result in the response": {
        "stats": "none",
        "output": "response",
        "hash_of": "none",
        "tells_state": False,
        "line_end": "\r\n",
    },
    "over at the first look": {
        "pending_s": 0,
        "running_s": 0,
        "output": "metadata",
        "line_end": "\n\n",
    },
}


def run_until_tagged(
    workspace: Workspace, server: Outside, run_command: Callable[[str], object]
) -> None:
    """Import people, run the chain until they are tagged, and compare server and workspace."""
    # Several batches are needed for ten people.
    workspace.settings |= {"BATCH_ROWS": "4"}
    workspace.write_file("people.csv", FILE)
    workspace.run_command("import", "people.csv")

    for _ in range(MAX_ROUNDS):
        for verb in ROUND:
            run_command(verb)
        if (states := workspace.state_counts()) == {"tagged": len(TRADES), "no_bio": 1}:
            break
    else:
        pytest.fail(f"not all are tagged: {states}")

    server.check_once()
    assert len(server.kept.answered()) == len(TRADES)
    server_names = {batch["name"] for batch in server.batches()}
    assert server_names == {batch["remote_name"] for batch in workspace.batches()}


def test_lost_replies_cut_downloads_and_refusals_are_retried(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Each person is asked once, no batch is created twice, and a refused line is asked again."""
    refused_trades: list[str] = []

    def answer(request: Json) -> Json:
        """Refuse the line about maps once."""
        if "maps" in user_text(request) and not refused_trades:
            refused_trades.append("maps")
            raise RefusedLine(13)
        return fill(request)

    outside_server.answerer = answer
    outside_server.troubles.lost_creates = 2
    outside_server.troubles.cut_downloads = 3
    outside_server.troubles.refused = 0.2

    run_until_tagged(served_workspace, outside_server, served_workspace.try_command)

    assert sum(outside_server.kept.answered(refused=True).values()) == 1
    assert outside_server.troubles.lost_creates == 0
    assert outside_server.troubles.cut_downloads == 0


def test_server_that_stops_and_restarts_answers_all_rows_once(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """The product waits for the server or is run again, and each row is answered once."""
    timers: list[threading.Timer] = []

    def answer(request: Json) -> Json:
        """Stop the server at the third answer and restart it after 0.3 seconds."""
        if not timers and "bread" in user_text(request):
            timers.append(threading.Timer(0.3, outside_server.come_back))
            outside_server.die()
            timers[0].start()
        return fill(request)

    outside_server.answerer = answer
    run_until_tagged(served_workspace, outside_server, served_workspace.try_command)
    assert timers


@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS)
def test_every_kind_of_row_is_answered_on_a_server_of_any_manner(
    tmp_path: Path, manner: Json
) -> None:
    """People, passages, images and rows of a task are answered by batch and live.

    Only the base URL differs from the default.
    """
    with serving(tmp_path / "outside", **manner) as server:
        workspace = Workspace(tmp_path / "here", server.url)
        run_until_tagged(workspace, server, workspace.run_command)
        workspace.run_command("index")
        tags = workspace.exported_tags()
        assert workspace.search(json.dumps(tags["person-4"]))[0] == "person-4"

        person = {"username": "eve", "bio": "Glaciology and mountaineering."}
        workspace.write_file("new.json", json.dumps(person))
        workspace.run_command("add", "new.json")
        assert workspace.exported_tags()["eve"]

        _put_other_rows(workspace)
        for task, gates in ((PASSAGES, "concepts=1..14,garbage=off"), (IMAGES, ""), ("own", "")):
            workspace.run_command("submit", limit=2, TASK=task, yes=True)
            workspace.run_commands("poll", "ingest", TASK=task, GATES=gates)
            workspace.run_command("tag_live", TASK=task, yes=True, GATES=gates)
            requests = workspace.logged_requests(task)
            assert [(request["purpose"], request["outcome"]) for request in requests] == [
                ("batch", "answered"),
                ("batch", "answered"),
                ("live", "answered"),
            ]

        for row in workspace.exported_rows("own"):
            quotation = row["where"]
            assert quotation["quote"] != ""
            assert quotation["quote"] == row["text"][quotation["start"] : quotation["end"]]

        server.check_once()
        uploads = server.kept.rows("SELECT id FROM files WHERE NOT generated")
        assert uploads == [], "uploads are deleted"
        check_invariants(Inspection(workspace, server.batches(), server.creates(), is_single=True))


def _put_other_rows(workspace: Workspace) -> None:
    """Import three passages and three images, and write a task with three rows."""
    texts = [
        f"The keepers of {trade} write down each winter what the {trade} did."
        for trade in TRADES[:3]
    ]
    passages: list[Any] = [{"id": f"p-{index}", "text": text} for index, text in enumerate(texts)]
    workspace.write_file(
        "passages.jsonl", "".join(json.dumps(passage) + "\n" for passage in passages)
    )
    workspace.run_command("import_passages", "passages.jsonl")

    for colour in ("red", "lime", "blue"):
        Image.new("RGB", (8, 8), colour).save(workspace.write_file(f"pictures/{colour}.png", ""))
    workspace.run_command("import_images", "pictures")

    fields = {"kind": "Literal['good', 'bad']", "where": "Quote"}
    arguments = ["quotes_in='text'"]
    workspace.write_file(
        "tasks/own.py",
        write_declaration(
            fields, prompt="Is it good? {{text}}", items="own.csv", extra_arguments=arguments
        ),
    )
    lines = [f"{index},{text}\n" for index, text in enumerate(texts)]
    workspace.write_file("tasks/own.csv", "id,text\n" + "".join(lines))
