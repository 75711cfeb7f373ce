"""Batches that wait at the API: slow batches, a full queue, and another key."""

from pathlib import Path

import pytest

from tests.acceptance.database import shift_recorded_times
from tests.acceptance.engine import CANCEL_PATH, MANY_TIMES, Engine
from tests.acceptance.product import KEY, MODEL, PROVIDER, Workspace

OTHER_KEY = f"{KEY}-of-another-project"
# Room for one batch of two people, and not for two.
DOCUMENTED_TOKENS = 1_000
CATALOGUE = (
    f'[models."{MODEL}"]\nprice_in = 0.3\nprice_out = 2.5\npriced_on = 2026-10-07\n'
    f'source = "a page"\nkind = "generate"\nprovider = "{PROVIDER}"\n'
    f"enqueued_tokens = {DOCUMENTED_TOKENS}\n"
)


@pytest.mark.promise("waiting")
def test_batch_that_never_runs_is_called_slow(workspace: Workspace, api: Engine) -> None:
    """From 24 hours on, `status` and `work` name its end, and `batch-move`."""
    workspace.import_people(2)
    api.script_fault("never_ends", times=MANY_TIMES)
    workspace.run_command("submit")
    (waiting,) = workspace.read_json("status")["waiting"]
    assert not waiting["is_slow"]
    assert "expires at" not in workspace.run_command("status").stdout

    company = {"gemini": "Google", "openai": "OpenAI"}[PROVIDER]
    slow_text = f"longer than {company}'s target of 24 h"
    shift_recorded_times(workspace, days=-1)
    status_output = workspace.run_command("status").stdout
    assert slow_text in status_output
    assert "batch-move 1 --to flex` asks its rows in another mode" in status_output
    assert slow_text in workspace.run_command("work", once=True).stdout
    with workspace.serve_page() as page:
        assert "Slower than 24 h. " in page.get("/runs").text

    shift_recorded_times(workspace, days=-1)
    assert "should have expired at" in workspace.run_command("status").stdout
    assert workspace.batch_states() == ["submitted"]


@pytest.mark.alike
def test_batch_of_the_local_engine_is_never_slow(tmp_path: Path) -> None:
    """The local engine works while a command looks, so its times mean nothing."""
    workspace = Workspace(tmp_path / "local")
    workspace.import_people(2)
    workspace.run_command("submit")
    assert "waiting" not in workspace.read_json("status")
    shift_recorded_times(workspace, days=-1)
    assert "target" not in workspace.run_command("status").stdout


@pytest.mark.alike
@pytest.mark.promise("waiting")
def test_cancelled_batch_that_holds_quota_is_waited_for(workspace: Workspace, api: Engine) -> None:
    """The message names the cancelled batch, its tokens, and until when they may be held."""
    workspace.import_people(4)
    api.script_fault("never_ends", times=MANY_TIMES)
    workspace.run_command("submit", limit=2)
    api.script_fault("unknown_state", times=MANY_TIMES, args={"state": "BATCH_STATE_CANCELLING"})
    workspace.run_command("cancel", 1)
    workspace.run_command("poll", no_wait=True)
    assert "batch 1, 2 rows, cancelling for" in workspace.run_command("status").stdout

    api.script_fault("quota_batch")
    assert "batch 1 was cancelled at" in workspace.run_command("submit", code=4).stderr
    use_small_queue(workspace)
    error_output = workspace.run_command("submit", code=4).stderr
    assert "until the API says that it is over, at the latest at" in error_output


@pytest.mark.promise("waiting")
def test_batch_of_another_key_is_continued_with_the_first_key(
    workspace: Workspace, api: Engine
) -> None:
    """Commands name the key as a possible cause, and the first key continues the batch."""
    workspace.import_people(2)
    api.configure(paused=True)
    workspace.run_command("submit")
    workspace.key = OTHER_KEY
    api.script_fault("batch_vanishes", times=MANY_TIMES, args={"code": 403})
    assert "set the key of its project" in workspace.run_command("doctor", code=5).stderr
    poll = workspace.run_command("poll", code=3)
    assert "batch 1" in poll.stderr
    assert "set GEMINI_API_KEY to a key of the project that created it" in poll.stderr
    assert workspace.batch_states() == ["submitted"]

    workspace.key = KEY
    api.clear_faults()
    api.configure(paused=False)
    workspace.run_commands("poll", "ingest")
    assert workspace.state_counts() == {"tagged": 2}
    assert_key_is_nowhere(workspace)


def test_given_up_batch_of_another_key_is_named_and_cancelled_later(
    workspace: Workspace, api: Engine
) -> None:
    """The cancel names the cost that goes on, and the first key cancels the remote batch."""
    workspace.import_people(2)
    api.configure(paused=True)
    workspace.run_command("submit")
    workspace.key = OTHER_KEY
    api.script_fault("batch_vanishes", times=MANY_TIMES, args={"code": 403})
    api.script_fault("status", method="POST", path=CANCEL_PATH, args={"code": 404})
    cancel_output = workspace.run_command("cancel", 1, yes=True).stdout
    assert "if it runs on ($0.0" in cancel_output

    workspace.key = KEY
    api.clear_faults()
    workspace.run_command("poll")
    status_output = workspace.run_command("status").stdout
    assert "belongs to the cancelled or given-up batch 1" in status_output


def use_small_queue(workspace: Workspace) -> None:
    """Document a queue of DOCUMENTED_TOKENS for the model."""
    workspace.write_file("models.toml", CATALOGUE)
    workspace.settings["MODELS_FILE"] = str(workspace.home / "models.toml")


def assert_key_is_nowhere(workspace: Workspace) -> None:
    """No file contains a key."""
    for path in workspace.home.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
