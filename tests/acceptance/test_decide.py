"""Closed questions: decisions are asked once, and stored with probabilities."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace, write_declaration
from tests.outside.server import Outside

DECISIONS = "/decisions"
DECISION_MODEL = "gemini-decision-1"
CLOSED_FIELDS = {"tone": 'Literal["praise", "blame", "neutral"]', "is_urgent": "bool"}


@pytest.fixture(name="tickets")
def _tickets(workspace: Workspace) -> Workspace:
    """Return a workspace on the local engine whose commands use the task `tickets`."""
    return _with_task(workspace)


@pytest.fixture(name="served_tickets")
def _served_tickets(served_workspace: Workspace) -> Workspace:
    """Return a workspace on the outside server whose commands use the task `tickets`."""
    return _with_task(served_workspace)


def _with_task(workspace: Workspace) -> Workspace:
    workspace.task = "tickets"
    workspace.settings["YES"] = "1"
    return workspace


def declare(workspace: Workspace, fields: dict[str, str], row_count: int) -> None:
    """Write the task's file and its rows, with keys that count from 1."""
    text = write_declaration(fields, prompt="Ticket: {text}", items="tickets.csv")
    workspace.write_file("tasks/tickets.py", text)
    write_tickets(workspace, [f"The lamp of room {number} hums." for number in range(row_count)])


def write_tickets(workspace: Workspace, texts: list[str]) -> Path:
    """Write the rows of the task, with keys that count from 1."""
    lines = (f'{number},"{text}"' for number, text in enumerate(texts, 1))
    return workspace.write_file("tasks/tickets.csv", "\n".join(["id,text", *lines, ""]))


def exported_confidences(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Return the exported probability of each closed field, by row id."""
    return {
        str(row["id"]): {name: row[f"{name}_confidence"] for name in CLOSED_FIELDS}
        for row in workspace.exported_rows()
    }


@pytest.mark.alike
def test_closed_task_goes_from_rows_to_export_by_decisions(
    served_tickets: Workspace, outside_server: Outside
) -> None:
    """Each row is decided once; its answer has the decision's version, cost and probabilities."""
    declare(served_tickets, CLOSED_FIELDS, 12)

    document = served_tickets.read_json("tag", mode="decide")
    assert document["version"] == f"tickets@1/{DECISION_MODEL}"
    assert document["mode"] == "decide"
    assert document["answered"] == 12
    assert document["spent"] > 0

    rows = served_tickets.exported_rows()
    assert {row["answer_version"] for row in rows} == {f"tickets@1/{DECISION_MODEL}"}
    assert {row["tone"] for row in rows} <= {"praise", "blame", "neutral"}
    confidences = exported_confidences(served_tickets)
    assert len(confidences) == 12
    for confidence in confidences.values():
        assert 1 / 3 < confidence["tone"] <= 1
        assert 0.5 <= confidence["is_urgent"] <= 1

    assert len(outside_server.decisions) == 12
    served_tickets.run_command("tag", mode="decide")
    assert len(outside_server.decisions) == 12


@pytest.mark.alike
def test_next_commands_continue_by_decisions(served_tickets: Workspace) -> None:
    """After rows were decided, `status` names the mode for the other rows."""
    declare(served_tickets, CLOSED_FIELDS, 6)
    served_tickets.run_command("tag", mode="decide", limit=3)
    assert served_tickets.read_json("status")["next"].endswith("tag --task tickets --mode decide")

    # A new version of the task is decided, too.
    served_tickets.write_file(
        "tasks/tickets.py",
        write_declaration(
            CLOSED_FIELDS,
            prompt="Ticket: {text}",
            items="tickets.csv",
            extra_arguments=["version=2"],
        ),
    )
    status = served_tickets.status()
    assert status["file_version"] == "tickets@2"
    assert status["next"].endswith("tag --task tickets --mode decide")


@pytest.mark.alike
@pytest.mark.parametrize("fault", ["503", "429", "drop", "lost", "unknown"])
def test_decisions_survive_faults_of_the_service(
    served_tickets: Workspace, outside_server: Outside, fault: str
) -> None:
    """A failed decision is made again, and every row is answered."""
    declare(served_tickets, CLOSED_FIELDS, 6)
    outside_server.troubles.decision_faults = ["", fault, "", fault]
    served_tickets.run_command("tag", mode="decide", CONCURRENCY=1)
    assert served_tickets.state_counts() == {"answered": 6}


@pytest.mark.alike
@pytest.mark.parametrize(
    ("fault", "reason"), [("blocked", "prompt-blocked"), ("400", "refused the request permanently")]
)
def test_refused_decisions_are_charged_to_their_rows(
    served_tickets: Workspace, outside_server: Outside, fault: str, reason: str
) -> None:
    """A 400 parks its row, and a blocked prompt does at the second time."""
    declare(served_tickets, CLOSED_FIELDS, 4)
    outside_server.troubles.decision_faults = ["", fault, "", "", fault]
    served_tickets.run_command("tag", mode="decide", CONCURRENCY=1)
    reasons = served_tickets.parked_reasons()
    assert list(reasons) == ["2"]
    assert reason in reasons["2"]
    assert reasons["2"].count("refused the request") <= 1

    outside_server.troubles.decision_faults = []
    served_tickets.run_command("unpark", all=True)
    served_tickets.run_command("tag", mode="decide")
    assert served_tickets.state_counts() == {"answered": 4}


@pytest.mark.alike
def test_text_that_is_too_long_parks_its_row_alone(
    served_tickets: Workspace, outside_server: Outside
) -> None:
    """A row whose text exceeds the limit of a decision is parked, and the others are answered."""
    declare(served_tickets, CLOSED_FIELDS, 3)
    write_tickets(
        served_tickets, ["The lamp hums.", "All is well. " * 120_000, "A chair is short."]
    )
    served_tickets.run_command("tag", mode="decide", TPM=100_000_000)
    assert served_tickets.state_counts() == {"answered": 2, "parked": 1}
    assert list(served_tickets.parked_reasons()) == ["2"]
    assert len(outside_server.decisions) == 2


@pytest.mark.alike
def test_budget_stops_decisions(served_tickets: Workspace, outside_server: Outside) -> None:
    """Decisions stop before the budget is exceeded, and go on with a larger one."""
    declare(served_tickets, CLOSED_FIELDS, 40)
    document = served_tickets.read_json("tag", mode="decide", budget="0.0001")
    assert 0 < document["answered"] < 40
    assert document["spent"] <= 0.0001
    assert document["out_of_money"]

    stopped_run = served_tickets.run_command(
        "tag", mode="decide", code="any", BUDGET_PER_DAY="0.0001"
    )
    assert "BUDGET_PER_DAY" in stopped_run.output
    served_tickets.run_command("tag", mode="decide", budget="1")
    assert served_tickets.state_counts() == {"answered": 40}
    assert len(outside_server.decisions) == 40


@pytest.mark.alike
def test_task_with_open_and_closed_fields_is_refused(tickets: Workspace, api: Engine) -> None:
    """The error names all open fields and proposes two tasks; each command asks nothing."""
    declare(tickets, {**CLOSED_FIELDS, "summary": "str", "year": "int"}, 2)
    tickets.run_command("tag", dry=True)
    for command in ("tag", "try"):
        refused_run = tickets.run_command(command, mode="decide", code=2)
        assert "decisions cannot answer `summary`, `year`" in refused_run.stderr
    question = {"q": "Tone?", "fields": "tone: praise|blame; why: text", "mode": "decide"}
    tickets.run_command("ask", "tasks/tickets.csv", code=2, TASK="", **question)

    estimate = tickets.read_json("tag", dry=True)["decide"]
    assert "decisions cannot answer `summary`" in estimate["absent"]
    assert tickets.state_counts() == {"open": 2}
    assert not tickets.batches()
    assert not api.count_calls("POST", DECISIONS)


@pytest.mark.alike
def test_estimate_lists_decisions_beside_other_modes(served_tickets: Workspace) -> None:
    """2,000 short tickets cost about two cents and take minutes; nothing chooses decisions."""
    declare(served_tickets, {"tone": CLOSED_FIELDS["tone"]}, 2000)
    estimate = served_tickets.read_json("tag", dry=True)
    decide = estimate["decide"]
    assert 0.01 < decide["cost"] < 0.03
    assert decide["cost"] < estimate["batch"]["cost"]
    assert 60 < decide["seconds"] < 1200
    assert decide["absent"] is None
    assert estimate["recommended"] != "decide"


@pytest.mark.alike
def test_ask_and_try_by_decisions(served_tickets: Workspace, outside_server: Outside) -> None:
    """`ask` proposes decisions with their price; MODE=decide shows and stores probabilities."""
    write_tickets(served_tickets, ["The lamp hums.", "A chair is short.", "All is well."])
    question: dict[str, Any] = {"q": "Praise or blame?", "fields": "tone: praise|blame", "TASK": ""}
    table = "tasks/tickets.csv"
    served_tickets.task = ""
    asked = served_tickets.read_json("ask", table, **question)
    assert asked["all"]["decide"]["absent"] is None
    assert not outside_server.decisions

    asked = served_tickets.read_json("ask", table, mode="decide", **question)
    assert {row["confidences"].keys() == {"tone"} for row in asked["tried"]["rows"]} == {True}
    assert len(outside_server.decisions) == 3
    kept = served_tickets.run_command("ask", table, mode="decide", name="tones", **question)
    assert "answers stored" in kept.output
    assert len(outside_server.decisions) == 6
    assert served_tickets.state_counts("tones") == {"answered": 3}

    tried = served_tickets.read_json("try", mode="decide", n=1, TASK="tones", seed=1)
    assert tried["rows"][0]["confidences"].keys() == {"tone"}
    outside_server.troubles.decision_faults = ["blocked"]
    (blocked,) = served_tickets.read_json("try", mode="decide", n=1, TASK="tones", seed=1)["rows"]
    assert (blocked["outcome"], blocked["calls"], blocked["answer"]) == ("refused", 1, None)


def test_decision_without_token_counts_may_have_cost_its_estimate(
    served_tickets: Workspace, outside_server: Outside
) -> None:
    """Decisions count at their estimate if the replies have no usage."""
    declare(served_tickets, CLOSED_FIELDS, 4)
    outside_server.decision_replies = lambda reply: {**reply, "usage": {}}
    served_tickets.run_command("tag", mode="decide")
    [decided_batch] = served_tickets.batches()
    assert decided_batch["estimated_cost"] > 0
    lost_cost = served_tickets.spending()["lost"]
    assert lost_cost == pytest.approx(decided_batch["estimated_cost"], abs=1e-6)


@pytest.mark.alike
def test_rows_that_wait_for_equal_rows_are_named(tickets: Workspace) -> None:
    """While a batch runs, `tag` says that the open rows get the answers of equal rows."""
    declare(tickets, CLOSED_FIELDS, 12)
    write_tickets(tickets, [f"The lamp of room {number % 6} hums." for number in range(12)])
    sent_run = tickets.run_command("tag", mode="batch")
    assert (
        "6 rows in unfinished batches, 6 waiting for the answers of equal rows; $0.00 spent"
        in sent_run.stdout
    )

    waiting_run = tickets.run_command("tag")
    assert "6 rows, no request; the answers of equal rows are copied" in waiting_run.stderr
    assert (
        "6 rows in unfinished batches, 6 waiting for the answers of equal rows; $0.00 spent"
        in waiting_run.stdout
    )
    live_run = tickets.run_command("tag", mode="live")
    assert "6 waiting for the answers of equal rows" in live_run.stdout
    tickets.run_command("tag", wait=True)
    assert tickets.state_counts() == {"answered": 12}


def declare_photos(workspace: Workspace, *arguments: str) -> None:
    """Write a closed task with two rows: each has a text, and a photo in a colour."""
    for colour in ("red", "blue"):
        buffer = io.BytesIO()
        Image.new("RGB", (400, 300), colour).save(buffer, "PNG")
        path = workspace.write_file(f"tasks/{colour}.png", "")
        path.write_bytes(buffer.getvalue())
    workspace.write_file(
        "tasks/tickets.csv", "id,text,photo\n1,A lamp.,red.png\n2,A bed.,blue.png\n"
    )
    text = write_declaration(
        CLOSED_FIELDS,
        prompt="{text}",
        items="tickets.csv",
        extra_arguments=['images=["photo"]', 'system="Look."', *arguments],
    )
    workspace.write_file("tasks/tickets.py", text)


def test_images_are_decided(served_tickets: Workspace, outside_server: Outside) -> None:
    """A decision has the image of its row between the instruction and the text.

    No command prints the bytes, and the estimate counts the image.
    """
    declare_photos(served_tickets, 'media_resolution="low"')
    estimate = served_tickets.read_json("tag", dry=True)["decide"]
    assert estimate["cost"] > 0
    served_tickets.run_command("tag", mode="decide")
    assert served_tickets.state_counts() == {"answered": 2}
    inputs = [decision["input"] for decision in outside_server.decisions]
    assert [[block["type"] for block in blocks] for blocks in inputs] == [
        ["text", "image", "text"]
    ] * 2
    for instruction, image, prompt in inputs:
        assert instruction["text"].startswith("Look.")
        assert image["resolution"] == "low"
        content = base64.b64decode(image["data"])
        assert Image.open(io.BytesIO(content)).size == (400, 300)
        assert prompt["text"].startswith("<text>A ")
    assert inputs[0][1]["data"] != inputs[1][1]["data"]

    printed = served_tickets.run_command("try", mode="decide", row="1").stdout
    assert "image/jpeg" in printed
    (tried,) = served_tickets.read_json("try", mode="decide", row="1")["rows"]
    shown_image = tried["request"]["input"][1]
    assert shown_image["data"].keys() == {"mimeType", "size", "sha256"}
    shown = served_tickets.run_command("show", row="1", raw=True).output
    assert inputs[0][1]["data"][:60] not in shown


@pytest.mark.alike
def test_local_engine_decides_about_images(tickets: Workspace) -> None:
    """The local engine measures images of decisions, as it does for other requests."""
    declare_photos(tickets)
    tickets.run_command("tag", mode="decide")
    assert tickets.state_counts() == {"answered": 2}
    assert all(row["tone_confidence"] > 0 for row in tickets.exported_rows())


def test_ask_confirms_the_price_of_decisions(served_workspace: Workspace) -> None:
    """The price to confirm is that of decisions."""
    texts = [f"The lamp of room {number} hums." for number in range(9)]
    path = write_tickets(served_workspace, texts)
    options: dict[str, Any] = {
        "q": "Tone?",
        "fields": "tone: praise|blame|neutral",
        "n": 9,
        "CONFIRM_ABOVE": 0,
        "code": 2,
    }
    live_text = served_workspace.run_command("ask", path, mode="live", **options).stderr
    (live_usd,) = re.findall(r": 9 rows, estimated \$([\d.]+)", live_text)
    for name_option in ({}, {"name": "asked"}):
        decide_options = {**options, **name_option, "mode": "decide"}
        refused_run = served_workspace.run_command("ask", path, **decide_options)
        ((model, usd),) = re.findall(r"(\S+): 9 rows, estimated \$([\d.]+)", refused_run.stderr)
        assert model == DECISION_MODEL
        assert float(usd) < float(live_usd) / 2
        assert "not confirmed; nothing was asked" in refused_run.stderr
