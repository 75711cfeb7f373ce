"""The product against a server that was written apart from the engine, in each of its manners and troubles."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.checker import Look, check
from tests.acceptance.product import IMAGES, PASSAGES, Workspace, declaration
from tests.outside.answers import Json, RefusedLine, fill, user_text
from tests.outside.server import Outside, serving

TRADES = ("glass", "ships", "bread", "clocks", "rivers", "maps", "looms", "soil", "stars", "bees")
BIOS = [
    f"person-{number},P,{number},,,I work with {trade} since {number}."
    for number, trade in enumerate(TRADES)
]
FILE = "\n".join(["Username,First Name,Last Name,Job Title,Company,Bio", *BIOS, "silent,S,,,,"])
ROUND = ("submit", "poll", "ingest")
MOST_ROUNDS = 9
MOST_STEPS = 40  # a command takes about so many; who is to die later lives
KILLED = -9
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


def run_until_tagged(workspace: Workspace, outside: Outside, run: Callable[[str], object]) -> None:
    """Bring people in, run the round until all who can be are tagged, and hold both sides against each other."""
    workspace.settings |= {"BATCH_ROWS": "4"}
    workspace.put("people.csv", FILE)
    workspace.do("import", "people.csv")
    for _ in range(MOST_ROUNDS):
        for verb in ROUND:
            run(verb)
        if (states := workspace.states()) == {"tagged": len(TRADES), "no_bio": 1}:
            break
    else:
        pytest.fail(f"not all are tagged: {states}")
    outside.check_once()
    assert len(outside.kept.answered()) == len(TRADES)
    assert {one["name"] for one in outside.batches()} == {
        one["remote_name"] for one in workspace.batches()
    }


def test_lost_replies_cut_downloads_and_refusals_change_nothing(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Each person is asked once, no batch is made twice, and a line that was refused is asked again."""
    refused: list[str] = []

    def answer(request: Json) -> Json:
        """Refuse one line, once."""
        if "maps" in user_text(request) and not refused:
            refused.append("maps")
            raise RefusedLine(13)
        return fill(request)

    outside_server.answerer = answer
    (
        outside_server.troubles.lost_creates,
        outside_server.troubles.cut_downloads,
        outside_server.troubles.refused,
    ) = (
        2,
        3,
        0.2,
    )
    run_until_tagged(served_workspace, outside_server, served_workspace.run)
    assert sum(outside_server.kept.answered(refused=True).values()) == 1
    assert (outside_server.troubles.lost_creates, outside_server.troubles.cut_downloads) == (0, 0)


def test_a_batch_that_fails_as_a_whole_is_asked_again(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Its people are answered by another batch, and the others are not asked again."""
    outside_server.troubles.failed_batches = 1
    run_until_tagged(served_workspace, outside_server, served_workspace.run)
    assert [batch.over for batch in outside_server.kept.created()] == [
        "FAILED",
        "SUCCEEDED",
        "SUCCEEDED",
        "SUCCEEDED",
    ]


def test_a_server_that_dies_while_it_answers_comes_back_to_what_it_kept(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """The product waits for it, or is run again, and all are answered once."""
    back: list[threading.Timer] = []

    def answer(request: Json) -> Json:
        """Die with the third answer."""
        if not back and "bread" in user_text(request):
            back.append(threading.Timer(0.3, outside_server.come_back))
            outside_server.die()
            back[0].start()
        return fill(request)

    outside_server.answerer = answer
    run_until_tagged(served_workspace, outside_server, served_workspace.run)
    assert back


@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS)
def test_every_kind_of_row_is_answered_on_a_server_of_any_manner(
    tmp_path: Path, manner: Json
) -> None:
    """People, passages, rows of one's own and images, by batch and live, with nothing changed but the base URL."""
    with serving(tmp_path / "outside", **manner) as outside:
        workspace = Workspace(tmp_path / "here", outside.url)
        run_until_tagged(workspace, outside, workspace.do)
        workspace.do("index")
        tags = workspace.tags()
        assert workspace.found(json.dumps(tags["person-4"]))[0] == "person-4"
        workspace.put(
            "new.json", json.dumps({"username": "eve", "bio": "Glaciology and mountaineering."})
        )
        workspace.do("add", "new.json")
        assert workspace.tags()["eve"]
        _put_others(workspace)
        for task, gates in ((PASSAGES, "concepts=1..14,garbage=off"), (IMAGES, ""), ("own", "")):
            workspace.do("submit", limit=2, TASK=task, yes=True)
            workspace.each("poll", "ingest", TASK=task, GATES=gates)
            workspace.do("tag_live", TASK=task, yes=True, GATES=gates)
            asked = workspace.asked(task)
            assert [(one["purpose"], one["outcome"]) for one in asked] == [
                *[("batch", "answered")] * 2,
                ("live", "answered"),
            ]
        for row in workspace.exported("own"):
            assert (
                row["where"]["quote"]
                == row["text"][row["where"]["start"] : row["where"]["end"]]
                != ""
            )
        outside.check_once()
        assert outside.kept.rows("SELECT id FROM files WHERE NOT generated") == [], (
            "uploads are deleted"
        )
        check(Look(workspace, outside.batches(), outside.creates(), is_only=True))


def _put_others(workspace: Workspace) -> None:
    """Bring in three passages, three images, and the table and task of three rows of one's own."""
    texts = [
        f"The keepers of {trade} write down each winter what the {trade} did."
        for trade in TRADES[:3]
    ]
    rows: list[Any] = [{"id": f"p-{index}", "text": text} for index, text in enumerate(texts)]
    workspace.put("passages.jsonl", "".join(json.dumps(one) + "\n" for one in rows))
    workspace.do("import_passages", "passages.jsonl")
    for colour in ("red", "lime", "blue"):
        Image.new("RGB", (8, 8), colour).save(workspace.put(f"pictures/{colour}.png", ""))
    workspace.do("import_images", "pictures")
    fields = {"kind": "Literal['good', 'bad']", "where": "Quote"}
    more = ["quotes_in='text'"]
    workspace.put(
        "tasks/own.py",
        declaration(fields, prompt="Is it good? {{text}}", items="own.csv", more=more),
    )
    workspace.put(
        "tasks/own.csv",
        "id,text\n" + "".join(f"{index},{text}\n" for index, text in enumerate(texts)),
    )
