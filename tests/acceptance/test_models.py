"""Requests have a thinking level that the model accepts, and new models need only prices."""

import json
from pathlib import Path

import pytest

from tests.acceptance.product import MODEL, Workspace, write_declaration
from tests.outside.server import Outside

# The API knows this model, and the table of models does not.
# An old entry, from before the model was known to refuse MINIMAL.
OLD_ENTRY = """
[models."gemini-3.8-flash"]
kind = "generate"
price_in = 1.5
price_out = 7.5
priced_on = 2026-10-07
source = "an older table"
thinking = { thinkingLevel = "MINIMAL" }
thinking_levels = ["MINIMAL", "LOW"]
"""


def sent_levels(workspace: Workspace, number: int) -> set[str]:
    """Return the thinking levels in the request lines of a batch."""
    lines = workspace.sealed_requests(number)
    return {
        line["request"]["generationConfig"]["thinkingConfig"]["thinkingLevel"] for line in lines
    }


def test_prepared_batches_of_a_retired_model_are_replaced(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """After another model is set, it is asked about their rows, at its announced cost."""
    message = f"This model models/{MODEL} is no longer available to new users."
    document = {"error": {"code": 404, "status": "NOT_FOUND", "message": message}}
    refusal = (404, {"content-type": "application/json"}, json.dumps(document).encode())
    create_call = f"models/{MODEL}:batchGenerateContent"
    served_workspace.import_people(4)
    outside_server.instead = lambda call: (503, {}, b"") if "/upload/" in call else None
    served_workspace.run_command("submit", BATCH_ROWS=2, code=4)

    outside_server.instead = lambda call: refusal if call.endswith(create_call) else None
    served_workspace.settings["MODEL"] = "gemini-3.8-flash"
    served_workspace.run_command("tag", mode="batch", wait=True, yes=True, code=3)
    assert served_workspace.batch_states() == ["prepared", "prepared"]

    tag_run = served_workspace.run_command("tag", mode="batch", wait=True, yes=True)
    assert f"batch 2 was not sent because Gemini refuses its model {MODEL}" in tag_run.stderr
    assert served_workspace.batch_states() == ["failed", "failed", "ingested"]
    assert served_workspace.state_counts() == {"tagged": 4}
    assert len(outside_server.creates()) == 1


def test_error_about_a_refused_level_names_its_setting(
    served_workspace: Workspace, tmp_path: Path
) -> None:
    """The error comes before any request if the table knows the levels, else from the API."""
    served_workspace.write_file("tasks/rows.csv", "id,text\n1,bees\n")
    minimal = """thinking={"thinkingLevel": "MINIMAL"}"""
    served_workspace.write_file(
        "tasks/notes.py",
        write_declaration(
            {"note": "str"}, prompt="{text}", items="rows.csv", extra_arguments=[minimal]
        ),
    )
    served_workspace.task = "notes"
    served_workspace.settings["MODEL"] = "gemini-3.8-flash"

    error_output = served_workspace.run_command("tag", mode="live", yes=True, code=3).stderr
    assert "LOW, MEDIUM, HIGH" in error_output

    models_file = tmp_path / "models.toml"
    models_file.write_text(OLD_ENTRY, encoding="utf-8")
    refused_run = served_workspace.try_command(
        "tag", mode="live", yes=True, MODELS_FILE=models_file
    )
    assert "Allowed values are: medium, low, high" in refused_run.output


def test_unknown_model_is_refused(served_workspace: Workspace) -> None:
    """A model without an entry in the table is refused before anything is asked."""
    served_workspace.import_people(2)
    refused_run = served_workspace.run_command(
        "tag", mode="live", yes=True, code=3, MODEL="gemini-0-flash"
    )
    assert "MODELS_FILE" in refused_run.stderr
    assert served_workspace.batches() == []


# The prices of this check have no cached price.
@pytest.mark.excused("spend_adds_up")
def test_cached_tokens_have_the_cached_price(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A live call pays the cached price for the cached part of its prompt."""
    served_workspace.import_people(1)
    outside_server.cached_share = 1.0
    served_workspace.run_command("tag", mode="live", yes=True)
    (batch,) = served_workspace.batches()
    expected_cost = (0.03 * batch["tokens_in"] + 2.50 * batch["tokens_out"]) / 1e6
    assert batch["cost"] == pytest.approx(expected_cost)
