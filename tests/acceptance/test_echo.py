"""A server puts answers on wrong rows, and a task with `echo=True` stores none of them."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.acceptance.product import Workspace
from tests.acceptance.test_ingest import make_line, make_response, sort_by_row
from tests.acceptance.test_own_tasks import declare, write_rows
from tests.outside.server import Outside

ROWS = 60
CODE_MARK = "row_code: "
MixUp = Callable[[list[str]], list[str]]


def rotate(answers: list[str]) -> list[str]:
    """Move all answers by one row."""
    return [*answers[1:], answers[0]]


def swap_two(answers: list[str]) -> list[str]:
    """Swap two answers."""
    swapped = list(answers)
    swapped[3], swapped[40] = answers[40], answers[3]
    return swapped


def shift_second_half(answers: list[str]) -> list[str]:
    """Give each row of the second half the answer of the row before."""
    middle = len(answers) // 2
    return [*answers[:middle], *answers[middle - 1 : -1]]


def make_answers(workspace: Workspace, number: int, keys: Sequence[str]) -> list[str]:
    """Return the right answers to the requests of a batch, in the order of the keys."""
    prompt_by_key = {
        line["key"]: line["request"]["contents"][0]["parts"][-1]["text"]
        for line in workspace.sealed_requests(number)
    }
    answers = []
    for key in keys:
        prompt_text, _, code = prompt_by_key[key].rpartition(CODE_MARK)
        topic = prompt_text.partition("<text>")[2].partition("</text>")[0]
        answers.append(json.dumps({"row_code": code, "topic": topic}))
    return answers


def export_topics(workspace: Workspace) -> dict[str, str]:
    """Return the topic of each answered row by the text of the row; the export has no code."""
    rows = workspace.exported_rows()
    assert rows
    assert "row_code" not in rows[0]
    return {row["text"]: row["topic"] for row in rows if row["topic"]}


@pytest.mark.alike
@pytest.mark.parametrize(
    ("mix_up", "right_count"),
    [(rotate, 0), (swap_two, 58), (shift_second_half, 30)],
)
def test_no_answer_is_stored_on_a_wrong_row(
    served_workspace: Workspace,
    outside_server: Outside,
    mix_up: MixUp,
    right_count: int,
) -> None:
    """Answers on wrong rows are invalid with a reason, and these rows are asked again."""
    workspace = served_workspace
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    outside_server.manner.pending_s = 0
    outside_server.manner.running_s = 0
    write_rows(workspace, *(f"note {number}" for number in range(ROWS)))
    declare(workspace, "echo=True")

    def make_mixed_results(keys: Sequence[str]) -> bytes:
        """Return the results of the first batch with contents under wrong keys."""
        sorted_keys = sort_by_row(keys)
        answers = mix_up(make_answers(workspace, 1, sorted_keys))
        lines = [
            make_line(key, make_response(answer))
            for key, answer in zip(sorted_keys, answers, strict=True)
        ]
        return b"\n".join(lines)

    outside_server.results = make_mixed_results
    workspace.run_commands("submit", "poll", "ingest")
    topics = export_topics(workspace)
    assert len(topics) == right_count
    assert all(topic == text for text, topic in topics.items())
    [batch] = workspace.batches()
    assert batch["invalid"] == ROWS - right_count

    def make_right_results(keys: Sequence[str]) -> bytes:
        """Return the results of the second batch."""
        answers = make_answers(workspace, 2, keys)
        return b"\n".join(
            make_line(key, make_response(answer)) for key, answer in zip(keys, answers, strict=True)
        )

    outside_server.results = make_right_results
    workspace.run_commands("submit", "poll", "ingest")
    topics = export_topics(workspace)
    assert len(topics) == ROWS
    assert all(topic == text for text, topic in topics.items())


@pytest.mark.same_sql
@pytest.mark.parametrize("mode", ["batch", "live", "flex"])
def test_equal_rows_share_an_answer_in_each_mode(
    workspace: Workspace,
    mode: str,
) -> None:
    """The local engine repeats codes; an equal row gets a copy although its code is another."""
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    write_rows(workspace, "the kettle leaks", "a lamp that hums", "the kettle leaks")
    declare(workspace, "echo=True")
    workspace.run_command("tag", mode=mode)
    if mode == "batch":
        workspace.run_commands("poll", "ingest")

    rows = workspace.exported_rows()
    assert [row["state"] for row in rows] == ["answered"] * 3
    assert rows[0]["topic"] == rows[2]["topic"]
    assert "row_code" not in json.dumps([rows, workspace.read_json("items")])
    assert sum(batch["requests"] for batch in workspace.batches()) == 2


@pytest.mark.same_sql
def test_switching_echo_on_needs_a_version_and_the_estimate_names_its_price(
    workspace: Workspace,
) -> None:
    """The change is named; under a new version all rows are asked again."""
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    write_rows(workspace, "the kettle leaks", "a lamp that hums")
    declare(workspace)
    workspace.run_command("tag", mode="live")
    declare(workspace, "echo=True")
    assert "the echo changed" in workspace.run_command("tag", code=3).output

    declare(workspace, "echo=True", "version=2")
    estimate: dict[str, Any] = workspace.read_json("tag", dry=True)
    assert estimate["echo"]["live"] > estimate["echo"]["batch"] > 0
    assert "row codes (echo) are $" in workspace.run_command("tag", dry=True).output
    workspace.run_command("tag", mode="live")
    assert {row["extractor"].partition("/")[0] for row in workspace.exported_rows()} == {"notes@2"}

    declare(workspace, "version=2")
    assert "the echo changed" in workspace.run_command("tag", code=3).output


@pytest.mark.alike
def test_answers_unlike_their_rows_hold_the_batch(
    served_workspace: Workspace,
    outside_server: Outside,
) -> None:
    """A rotated batch without codes is held until a person accepts it; nothing is stored before."""
    workspace = served_workspace
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    outside_server.manner.pending_s = 0
    outside_server.manner.running_s = 0
    write_rows(workspace, *(f"kettle{number} lamp{number} hums" for number in range(ROWS)))
    declare(workspace)

    def make_rotated_results(keys: Sequence[str]) -> bytes:
        """Return results whose contents moved by one row."""
        sorted_keys = sort_by_row(keys)
        numbers = rotate([str(number) for number in range(len(sorted_keys))])
        topics = [json.dumps({"topic": f"kettle{number} lamp{number}"}) for number in numbers]
        return b"\n".join(
            make_line(key, make_response(topic))
            for key, topic in zip(sorted_keys, topics, strict=True)
        )

    outside_server.results = make_rotated_results
    workspace.run_commands("submit", "poll")
    for _ in range(2):
        assert "shuffled rows" in workspace.run_command("ingest", code=5).output
        assert {row["state"] for row in workspace.exported_rows()} == {"claimed"}
        assert workspace.batch_states() == ["downloaded"]

    workspace.run_command("ingest", accept=1)
    assert {row["state"] for row in workspace.exported_rows()} == {"answered"}
