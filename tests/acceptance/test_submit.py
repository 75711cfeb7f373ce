"""`batch-submit` writes request files, respects limits and budgets, and creates batches."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from tests.acceptance.engine import CREATE_PATH, UPLOAD_PATH, Engine
from tests.acceptance.product import BATCH_PRICE, MODEL, ON_POSTGRESQL, PROVIDER, Workspace
from tests.outside.server import Outside

CATALOGUE = (
    f'[models."{MODEL}"]\nprice_in = {2 * BATCH_PRICE[0]}\nprice_out = {2 * BATCH_PRICE[1]}\n'
    "priced_on = 2026-10-07\n"
    f'source = "a page"\nkind = "generate"\nprovider = "{PROVIDER}"\nenqueued_tokens = {{}}\n'
)


def line_counts(workspace: Workspace) -> list[int]:
    """Return how many lines each request file has, in the order of batches."""
    return [len(workspace.sealed_requests(batch["number"])) for batch in workspace.batches()]


def keys(workspace: Workspace) -> list[str]:
    """Return the keys of all request files, in the order of batches."""
    request_keys = []
    for batch in workspace.batches():
        request_keys += [line["key"] for line in workspace.sealed_requests(batch["number"])]
    return request_keys


def test_everyone_with_a_bio_is_sent_once(workspace: Workspace, api: Engine) -> None:
    """The first run writes one file and creates one batch; the second run has nothing to do.

    The notice that texts leave the machine is printed once, before the first upload. Every path
    begins with the pinned API version. The name of the batch is deterministic and short.
    """
    workspace.import_people(12, without_bio=3)
    submit_run = workspace.run_command("submit", json=True)
    document = submit_run.json
    assert "the people of experts leave this machine" in submit_run.stderr
    assert (document["requests"], document["batches"]) == (12, 1)
    assert document["sent"] == {"1": "created"}
    assert keys(workspace) == [f"experts/{number}" for number in range(1, 13)]

    assert "leave this machine" not in workspace.run_command("submit").stderr

    # The upload is started, finished and followed by the create call.
    if PROVIDER == "gemini":
        check_calls(api)
    [batch] = api.batches()
    prefix = f"askrows-{workspace.status()['workspace_id']}-experts-1-"
    assert batch["displayName"].startswith(prefix)


def check_calls(api: Engine) -> None:
    """Assert that a file was uploaded in two steps, and that a batch was created then."""
    paths = [request["path"] for request in api.journal() if request["method"] == "POST"]
    assert [("upload_id=" in path, ":batch" in path) for path in paths] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert {path.removeprefix("/upload").split("/")[1] for path in paths} == {"v1beta"}


def test_nothing_is_sent_or_written_without_confirmation(workspace: Workspace, api: Engine) -> None:
    """DRY=1 prints people, tokens and cost.

    Without a terminal, a cost above CONFIRM_ABOVE is refused (exit code 2). CONFIRM_ABOVE accepts
    `inf` and refuses NaN, which no cost would exceed.
    """
    workspace.import_people(7)
    names_before = sorted(path.name for path in workspace.data.iterdir())
    dry_output = workspace.run_command("submit", dry=True).stdout
    assert dry_output.startswith("would submit 7 people; 1 batch, estimated ")

    workspace.run_command("submit", CONFIRM_ABOVE=0, code=2)
    workspace.run_command("submit", CONFIRM_ABOVE="nan", code=2)
    assert (workspace.batches(), workspace.state_counts(), api.journal()) == (
        [],
        {"open": 7},
        [],
    )
    assert sorted(path.name for path in workspace.data.iterdir()) == names_before
    assert not workspace.status()["bound"]

    workspace.run_command("submit", limit=3, CONFIRM_ABOVE=0, yes=True)
    workspace.run_command("submit", CONFIRM_ABOVE="inf")
    assert line_counts(workspace) == [3, 4]


@pytest.mark.skipif(PROVIDER == "openai", reason="test_openai counts the bytes that are sent")
def test_request_file_ends_before_the_line_that_passes_its_limit(
    workspace: Workspace, api: Engine
) -> None:
    """Each row is in exactly one file, in order; a limit below every line gives single lines."""
    workspace.write_file(
        "people.csv",
        "Username,Bio\n" + "".join(f"p{n},{'bees ' * (n * n)}law {n}\n" for n in range(8)),
    )
    workspace.run_command("import", "people.csv")
    api.configure(paused=True)
    workspace.run_command("submit")
    lines = _lines(workspace, 1)
    max_bytes = sum(map(len, lines)) // 3
    workspace.run_command("cancel", 1)
    workspace.run_command("poll")

    assert workspace.read_json("submit", dry=True, BATCH_TOKENS=1)["batches"] == len(lines)
    workspace.run_command("submit", BATCH_BYTES=max_bytes)
    files = [_lines(workspace, batch["number"]) for batch in workspace.batches()[1:]]
    assert [line for file in files for line in file] == lines
    for file, next_file in pairwise(files):
        file_bytes = sum(map(len, file))
        assert file_bytes <= max_bytes < file_bytes + len(next_file[0])


def _lines(workspace: Workspace, number: int) -> list[bytes]:
    """Return the lines of a batch's request file with their line breaks."""
    path = workspace.data / "batches" / f"{number:06d}-requests.jsonl"
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.promise("spending")
def test_a_budget_of_a_day_holds_over_all_processes(workspace: Workspace, api: Engine) -> None:
    """Running, paid and possibly paid requests count; requests over the budget are held back."""
    workspace.import_people(12)
    api.configure(paused=True)
    cost = workspace.read_json("submit", dry=True)["estimated_cost"]
    day = f"{cost / 2:.9f}"
    first_run = workspace.read_json("submit", BUDGET_PER_DAY=day)
    assert 0 < sum(batch["estimated_cost"] for batch in workspace.batches()) <= cost / 2
    sent_count = sum(line_counts(workspace))
    assert sent_count > 2
    assert sent_count + first_run["held_back"] == 12

    submit_run = workspace.run_command("submit", BUDGET_PER_DAY=day, code=3)
    assert "BUDGET_PER_DAY" in submit_run.output
    assert len(api.batches()) == 1

    # Paid requests count as well.
    api.configure(paused=False)
    workspace.run_commands("poll", "ingest")
    paid_cost = workspace.spending()["actual"]
    assert paid_cost > 0
    assert (
        "BUDGET_PER_DAY"
        in workspace.run_command("submit", BUDGET_PER_DAY=f"{paid_cost:.9f}", code=3).output
    )
    workspace.run_command("submit", BUDGET_PER_DAY=f"{2 * cost:.9f}")
    assert workspace.state_counts() == {"tagged": sent_count, "claimed": 12 - sent_count}


def test_enqueued_tokens_stay_below_the_limit_of_the_model(
    workspace: Workspace, api: Engine
) -> None:
    """The client's own count respects the catalogue's limit, and the message names that quota."""
    workspace.import_people(20)
    tokens = workspace.read_json("submit", dry=True)["tokens_in"]
    max_tokens = tokens * 3 // 4
    workspace.write_file("models.toml", CATALOGUE.format(max_tokens))
    workspace.settings["MODELS_FILE"] = str(workspace.home / "models.toml")
    api.configure(enqueued_tokens={"*": max_tokens}, paused=True)

    first_run = workspace.read_json("submit")
    assert first_run["no_room"] > 0
    assert first_run["held_back"] == 0
    waiting_tokens = [batch["estimated_in"] for batch in workspace.batches()]
    assert sum(waiting_tokens) <= max_tokens
    assert 0.6 < waiting_tokens[0] / max_tokens <= 0.8, "there is room for a count that is too low"

    # A budget changes neither the reason nor the next step.
    for budget in ({}, {"BUDGET_PER_DAY": 20}):
        assert "quota of queued tokens\n" in workspace.run_command("submit", **budget).stdout
    assert len(api.batches()) == len(waiting_tokens)

    api.configure(paused=False)
    workspace.run_commands("poll", "submit", "poll", "ingest")
    assert workspace.state_counts() == {"tagged": 20}


def test_token_estimates_learn_from_past_answers(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """If the model counts twice as many tokens as the client, files get half as many rows."""
    served_workspace.import_people(26)
    served_workspace.run_command("submit", limit=6)
    row_tokens = 2 * served_workspace.batches()[0]["estimated_in"] // 6
    outside_server.results = lambda keys: b"\n".join(_result_line(key, row_tokens) for key in keys)
    served_workspace.run_commands("poll", "ingest")

    room = 5 * row_tokens + row_tokens // 2
    assert served_workspace.read_json("submit", dry=True, BATCH_TOKENS=room)["batches"] == 4
    served_workspace.run_command("submit", BATCH_TOKENS=room)
    assert line_counts(served_workspace) == [6, 5, 5, 5, 5]


def _result_line(key: str, tokens: int) -> bytes:
    """Return a result line whose usage has this number of prompt tokens."""
    content = {"parts": [{"text": '{"tags": ["bees"]}'}], "role": "model"}
    usage = {"promptTokenCount": tokens, "candidatesTokenCount": 9}
    response = {
        "candidates": [{"content": content, "finishReason": "STOP"}],
        "usageMetadata": usage,
    }
    return json.dumps({"response": response, "key": key}).encode()


def test_number_of_batches_stays_below_the_limit_of_the_api(
    workspace: Workspace, api: Engine
) -> None:
    """After a hundred active batches the next batch stays prepared (exit code 4)."""
    workspace.import_people(101)
    api.configure(paused=True)
    workspace.run_command("submit", BATCH_ROWS=1, code=4)
    assert len(api.batches()) == 100
    assert workspace.batch_states() == ["submitted"] * 100 + ["prepared"]


def test_waiting_tag_stores_sent_batches_before_it_reports_a_daily_quota(
    workspace: Workspace, api: Engine
) -> None:
    """Answers that are paid for do not wait for the next day; the rest does (exit code 4)."""
    workspace.import_people(4)
    api.script_fault("quota_day", nth=2, times=9, method="POST", path=CREATE_PATH)
    workspace.run_command("tag", mode="batch", wait=True, BATCH_ROWS=2, code=4)
    assert workspace.batch_states() == ["ingested", "prepared"]
    assert workspace.state_counts() == {"tagged": 2, "claimed": 2}


def test_prepared_batches_are_priced_and_confirmed(workspace: Workspace, api: Engine) -> None:
    """Every command that sends a prepared batch counts its cost."""
    workspace.import_people(5)
    api.script_fault("key_invalid", method="POST", path=UPLOAD_PATH)
    workspace.run_command("submit", code=3)
    workspace.run_command("submit", CONFIRM_ABOVE=0, code=2)
    assert workspace.batch_states() == ["prepared"]
    workspace.run_command("preflight")
    workspace.run_command("tag", mode="batch", code=2, CONFIRM_ABOVE=0.0001)
    assert api.batches() == []

    workspace.run_command("tag", mode="batch", yes=True, CONFIRM_ABOVE=0.0001)
    assert len(api.batches()) == 1


@pytest.mark.excused("sealed_files_are_as_sealed")
@pytest.mark.promise("sealed")
def test_a_request_file_that_changed_after_sealing_is_never_sent(
    workspace: Workspace, api: Engine
) -> None:
    """Changed or missing bytes end with exit code 5; the batch and its claims stay as they are."""
    workspace.import_people(2)
    api.script_fault("key_invalid", method="POST", path=UPLOAD_PATH)
    workspace.run_command("submit", code=3)
    path = workspace.data / "batches" / "000001-requests.jsonl"
    changed_bytes = bytearray(path.read_bytes())
    changed_bytes[-3] ^= 1
    path.unlink()
    path.write_bytes(changed_bytes)
    requests_before = len(api.journal())
    for _ in range(2):
        assert str(path) in workspace.run_command("submit", code=5).stderr
        path.unlink(missing_ok=True)
    assert len(api.journal()) == requests_before
    assert (workspace.batch_states(), workspace.state_counts()) == (["prepared"], {"claimed": 2})


# The copy does not know the first batch.
@pytest.mark.excused("batches_are_made_once")
@pytest.mark.skipif(ON_POSTGRESQL, reason="the database is not in the folder")
@pytest.mark.promise("sealed")
def test_an_older_copy_of_the_folder_pays_for_nothing_twice(
    workspace: Workspace, api: Engine, tmp_path: Path
) -> None:
    """The same request file adopts its old batch, and a paid result is never overwritten."""
    workspace.import_people(3)
    older_copy = tmp_path / "older"
    shutil.copytree(workspace.data, older_copy)
    workspace.run_command("submit")

    # The copy writes the same file again and adopts the batch.
    _restore_copy(older_copy, workspace.data)
    assert "does not contain" not in workspace.run_command("submit").stderr
    assert (len(api.batches()), workspace.batch_states()) == (1, ["submitted"])
    workspace.run_commands("poll", "ingest")
    assert workspace.state_counts() == {"tagged": 3}

    # An old database next to newer files never writes over them.
    paid_files = {path: path.read_bytes() for path in (workspace.data / "batches").iterdir()}
    for path in workspace.data.glob("askrows.db*"):
        path.unlink()
    shutil.copy(older_copy / "askrows.db", workspace.data)
    workspace.run_command("submit", code=5)
    assert {path: path.read_bytes() for path in paid_files} == paid_files

    _restore_copy(older_copy, workspace.data)
    message = "the API has at least 1 batch of this workspace that the database does not contain"
    assert message in workspace.run_command("submit", limit=2).stderr
    assert len(api.batches()) == 2
    assert "does not contain" not in workspace.run_command("submit").stderr


def _restore_copy(older_copy: Path, folder: Path) -> None:
    """Replace a folder by its older copy."""
    shutil.rmtree(folder)
    shutil.copytree(older_copy, folder)
