"""Batches and live calls in OpenAI's form: what each failure of them costs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.database import connect
from tests.acceptance.engine import MANY_TIMES, Engine
from tests.acceptance.product import Workspace, write_declaration

ROW_COUNT = 200
TASK = "orders"
QUESTION = "What is the order about?"
FIELDS = "topic: refund|praise|question; reason: quote"
LIMIT_MESSAGE = (
    "Enqueued token limit reached for gpt-5-mini in organization org-1. "
    "Limit: {limit:,} enqueued tokens."
)


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[Engine]:
    """Start an engine that is called in OpenAI's form."""
    with Engine(tmp_path / "server") as engine:
        yield engine


@pytest.fixture(name="orders")
def _orders(tmp_path: Path, server: Engine) -> Iterator[Workspace]:
    """Return a workspace at OpenAI with a task of 200 rows, and check it after its test."""
    workspace = Workspace(tmp_path / "here", server.url, provider="openai", task=TASK)
    write_orders(workspace, [f"o-{number}" for number in range(ROW_COUNT)])
    yield workspace
    check_invariants(
        Inspection(workspace, server.batches(), [], is_single=True),
        excused=("batches_are_made_once",),
    )


def write_orders(workspace: Workspace, keys: list[str], *, fields: str = FIELDS) -> None:
    """Write a table with an order for each key, and ask about its first row live."""
    lines = [f"{key},Order {key} came late and broken" for key in keys]
    workspace.write_file("orders.csv", "\n".join(["id,text", *lines]))
    workspace.run_command("ask", "orders.csv", QUESTION, fields=fields, name=TASK, n=1, TASK="")


def ask_by_batch(workspace: Workspace, **options: Any) -> str:
    """Ask all open rows by batches, and return the output."""
    return workspace.run_command("tag", mode="batch", wait=True, yes=True, **options).output


def count_creates(server: Engine) -> int:
    """Return the number of create calls."""
    calls = [call["path"] for call in server.journal() if call["method"] == "POST"]
    return sum(path.endswith("/openai/v1/batches") for path in calls)


def test_a_form_that_all_requests_share_charges_no_row(orders: Workspace, server: Engine) -> None:
    """If all requests of a batch are refused alike, the command ends with 3 and parks nothing."""
    refusal = {"code": 3, "message": "Invalid schema for response_format 'answer'."}
    server.script_fault("error_line", times=MANY_TIMES, args=refusal, key=f"^{TASK}/")
    output = ask_by_batch(orders, code=3)
    assert "were refused alike" in output
    assert "Invalid schema" in output
    assert orders.state_counts() == {"answered": 1, "open": ROW_COUNT - 1}
    assert orders.spending()["lost"] == 0

    server.clear_faults()
    ask_by_batch(orders)
    assert orders.state_counts() == {"answered": ROW_COUNT}


def test_requests_that_an_expired_batch_did_not_run_cost_nothing(
    orders: Workspace, server: Engine
) -> None:
    """The answers of an expired batch are stored; its other rows are asked again."""
    server.script_fault("batch_expires", args={"partial": 0.5})
    ask_by_batch(orders, code=4)
    assert orders.spending()["lost"] == 0
    ask_by_batch(orders)
    assert orders.state_counts() == {"answered": ROW_COUNT}
    first, second = [batch for batch in orders.batches() if batch["mode"] == "batch"]
    assert first["answered"] + second["answered"] == ROW_COUNT - 1
    assert first["missing"] == second["requests"]
    assert orders.spending()["lost"] == 0


def test_files_of_a_result_need_no_last_line_end(orders: Workspace, server: Engine) -> None:
    """The last line of the output file and the first one of the error file are both read."""
    refusal = {"code": 3, "message": "The text is not allowed."}
    server.script_fault("error_line", args=refusal, key=f"^{TASK}/")
    server.script_fault("no_last_line_end", times=MANY_TIMES)
    ask_by_batch(orders)
    first_batch = next(batch for batch in orders.batches() if batch["mode"] == "batch")
    assert first_batch["answered"] == first_batch["requests"] - 1
    assert first_batch["missing"] == 0


def test_a_batch_above_the_limit_of_queued_tokens_is_split(
    orders: Workspace, server: Engine
) -> None:
    """A batch that failed because the queue is full was not run; its file is split."""
    error = {"code": "token_limit_exceeded", "message": LIMIT_MESSAGE.format(limit=4_000)}
    server.script_fault("batch_fails", args={"error": error})
    assert "token_limit_exceeded" in ask_by_batch(orders, code=4)
    assert orders.state_counts() == {"answered": 1, "open": ROW_COUNT - 1}
    ask_by_batch(orders)
    assert orders.state_counts() == {"answered": ROW_COUNT}
    sent = [batch for batch in orders.batches() if batch["mode"] == "batch"]
    assert [batch["state"] for batch in sent] == ["failed"] + ["ingested"] * (len(sent) - 1)
    assert len(sent) > 2
    assert orders.spending()["lost"] == 0


@pytest.mark.parametrize("keeps_metadata", [True, False])
def test_a_lost_create_is_found(orders: Workspace, server: Engine, *, keeps_metadata: bool) -> None:
    """It is found by the metadata of the batch, else by the name of its file."""
    server.kill()
    server._settings["keeps_metadata"] = keeps_metadata
    server.start()
    server.script_fault("create_lost_reply")
    assert "found again" in ask_by_batch(orders)
    assert count_creates(server) == 1
    assert orders.state_counts() == {"answered": ROW_COUNT}


def test_keys_of_any_length_are_found_again(tmp_path: Path, server: Engine) -> None:
    """A key that is too long for the wire is sent as a hash, and found from the claims."""
    workspace = Workspace(tmp_path / "long", server.url, provider="openai", task=TASK)
    write_orders(workspace, [f"{number:0200}" for number in range(ROW_COUNT)])
    ask_by_batch(workspace)
    assert workspace.state_counts() == {"answered": ROW_COUNT}
    [number] = [batch["number"] for batch in workspace.batches() if batch["mode"] == "batch"]
    sent_keys = {line["key"] for line in workspace.sealed_requests(int(number))}
    assert {line["key"] for line in workspace.sealed_replies(int(number))} == sent_keys


def test_closed_fields_are_asked_without_a_decision_model(tmp_path: Path, server: Engine) -> None:
    """A task that a decision model could answer is estimated and asked by a writing model."""
    workspace = Workspace(tmp_path / "closed", server.url, provider="openai", task=TASK)
    write_orders(workspace, ["o-1", "o-2"], fields="topic: refund|praise")
    assert "decide" not in workspace.run_command("tag", dry=True).output
    workspace.run_command("tag", wait=True, yes=True)
    assert workspace.state_counts() == {"answered": 2}


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_a_schema_that_is_too_large_is_refused_before_it_is_sent(
    tmp_path: Path, server: Engine, mode: str
) -> None:
    """It is refused with what is too large; nothing is sent or claimed."""
    workspace = Workspace(tmp_path / "large", server.url, provider="openai", task="large")
    kinds = {
        name: "Literal[{}]".format(", ".join(f"'{name}{number}'" for number in range(501)))
        for name in ("first", "second")
    }
    declaration = write_declaration(
        kinds, prompt="Kind of: {text}", items="rows.csv", extra_arguments=["key='id'"]
    )
    workspace.write_file("tasks/large.py", declaration)
    workspace.write_file("tasks/rows.csv", "id,text\na,late\nb,broken\n")
    refusal = workspace.run_command("tag", mode=mode, yes=True, wait=True, code=3)
    assert "the answer has 1,002 choices, and OpenAI accepts 1,000" in refusal.stderr
    assert "split the task in two" in refusal.stderr
    assert workspace.state_counts() == {"open": 2}
    assert workspace.batches() == []
    assert not server.journal()


def test_a_workspace_keeps_its_provider_and_address(orders: Workspace, server: Engine) -> None:
    """A model of another provider, and another address, are refused before anything is sent."""
    calls = len(server.journal())
    refusal = orders.run_command("tag", code=3, MODEL="gemini-3.5-flash")
    assert "gemini-3.5-flash is not a model of OpenAI" in refusal.stderr
    orders.url = "http://127.0.0.1:9"
    refusal = orders.run_command("tag", code=3, yes=True)
    assert f"bound to OpenAI at {server.url}" in refusal.stderr
    assert len(server.journal()) == calls
    orders.url = server.url


def test_a_server_of_ones_own_has_live_calls_only(tmp_path: Path, server: Engine) -> None:
    """`tag` asks it by calls that cost nothing; a batch is refused, and no batch is listed."""
    settings = {"MODEL": "llama-3.3-70b"}
    workspace = Workspace(
        tmp_path / "own", server.url, provider="server", task=TASK, settings=settings
    )
    write_orders(workspace, [f"o-{number}" for number in range(20)])
    for options in ({"mode": "batch"}, {"mode": "flex"}, {"mode": "decide"}):
        assert (
            "your server has no" in workspace.run_command("tag", yes=True, code=3, **options).stderr
        )
    assert "only live calls" in workspace.run_command("submit", yes=True, code=3).stderr
    workspace.run_command("tag", yes=True, wait=True)
    assert workspace.state_counts() == {"answered": 20}
    assert workspace.spending()["actual"] == 0
    assert not [call for call in server.journal() if "batches" in call["path"]]


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_null_for_an_absent_optional_member_is_dropped(
    tmp_path: Path, server: Engine, mode: str
) -> None:
    """A row whose reply has no value for an optional member is answered, and paid once."""
    workspace = Workspace(tmp_path / "null", server.url, provider="openai", task="rooms")
    declaration = write_declaration(
        {"name": "str", "rooms": "list[Room] = []", "seats": "int = 4"},
        prompt="Rooms of: {text}",
        items="rows.csv",
        extra_arguments=["key='id'"],
    )
    room = "class Room(BaseModel):\n    number: int = 1\n\n\nclass Answer"
    workspace.write_file("tasks/rooms.py", declaration.replace("class Answer", room))
    workspace.write_file("tasks/rows.csv", "id,text\na,no number\nb,no room\n")
    reply = {"name": "hall", "rooms": [{"number": None}], "seats": None}
    server.script_fault("answer_text", times=MANY_TIMES, args={"text": json.dumps(reply)})
    workspace.run_command("tag", mode=mode, yes=True, wait=True)
    assert workspace.state_counts() == {"answered": 2}
    assert sum(batch["requests"] for batch in workspace.batches()) == 2


def test_the_limit_of_a_file_counts_the_bytes_that_are_sent(
    orders: Workspace, server: Engine
) -> None:
    """Files are as full as BATCH_BYTES allows in the provider's form, and none is larger."""
    server.configure(paused=True)
    orders.run_command("submit", yes=True, BATCH_BYTES=60_000)
    sizes = sorted(path.stat().st_size for path in server.root.rglob("wire-*"))
    assert len(sizes) > 2
    assert sizes[-1] <= 60_000
    assert sizes[1] > 58_000


def test_a_model_of_gemini_needs_its_key(tmp_path: Path, server: Engine) -> None:
    """With only a key of OpenAI it is refused in a sentence; no rehearsal answers in its place."""
    workspace = Workspace(tmp_path / "gemini", server.url, provider="openai", task=TASK)
    workspace.settings["BACKEND"] = ""
    workspace.write_file("orders.csv", "id,text\no-1,late\n")
    options = {"fields": FIELDS, "name": TASK, "TASK": "", "MODEL": "gemini-3.5-flash"}
    refusal = workspace.run_command("ask", "orders.csv", QUESTION, yes=True, code=3, **options)
    assert "gemini-3.5-flash is not a model of OpenAI" in refusal.stderr
    assert "GEMINI_API_KEY" in refusal.stderr
    assert not server.journal()


def test_a_lost_result_is_restored_though_it_is_translated_differently(
    orders: Workspace, server: Engine
) -> None:
    """The bytes as they came are compared, so a newer version finds the paid result again."""
    orders.run_command("submit", yes=True)
    orders.run_command("poll")
    [batch] = [batch for batch in orders.batches() if batch["mode"] == "batch"]
    [result] = orders.data.glob(f"batches/{int(batch['number']):06d}-results.jsonl")
    result.unlink()
    with connect(orders) as connection:
        # An earlier version wrote another file.
        connection.execute("UPDATE askrows_batches SET result_sha256 = '0' WHERE mode = 'batch'")
    assert "downloaded again" in orders.run_command("poll").stderr
    orders.run_command("ingest")
    assert orders.state_counts() == {"answered": ROW_COUNT}
    assert count_creates(server) == 1


def test_a_refused_account_charges_no_row(orders: Workspace, server: Engine) -> None:
    """Lines and calls that are refused because of the key stop the command; rows stay open."""
    refusal = {"code": 16, "message": "Incorrect API key provided."}
    server.script_fault("error_line", times=MANY_TIMES, args=refusal, key=f"^{TASK}/")
    assert "Incorrect API key" in ask_by_batch(orders, code=4)
    assert orders.state_counts() == {"answered": 1, "open": ROW_COUNT - 1}

    server.clear_faults()
    server.script_fault("key_invalid", times=MANY_TIMES)
    live_run = orders.run_command("tag_live", yes=True, code=3)
    assert "OPENAI_API_KEY" in live_run.stderr
    assert orders.state_counts() == {"answered": 1, "open": ROW_COUNT - 1}
    assert orders.spending()["lost"] == 0
    server.clear_faults()


def test_a_reply_about_another_batch_is_read_again(orders: Workspace, server: Engine) -> None:
    """A reply that describes no batch, or another one, changes nothing and is asked for again."""
    orders.run_command("submit", yes=True)
    other_batch = {"id": "other", "object": "batch", "status": "completed"}
    for document in ({"data": 1}, other_batch, {**other_batch, "id": "../files"}):
        server.script_fault(
            "wrong_shape", method="GET", path=r"/batches/[^/?]+$", args={"document": document}
        )
    orders.run_command("poll", RETRY_FOR=60)
    orders.run_command("ingest")
    assert orders.state_counts() == {"answered": ROW_COUNT}
    assert server.scripted_faults()["used_up"]
