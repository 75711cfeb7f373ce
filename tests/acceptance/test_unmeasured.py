"""Estimates before the first answer, and estimates without a key."""

from typing import Any

from tests.acceptance.product import MODEL, Workspace

MODES = ("batch", "flex", "live")


def write_notes(workspace: Workspace) -> str:
    """Write a table of twelve notes; return its name."""
    lines = [
        f"n{number},Kettle number {number} boils a litre of water in {number + 2} minutes."
        for number in range(12)
    ]
    return workspace.write_file("notes.csv", "\n".join(["id,text", *lines, ""])).name


def costs_by_mode(estimate: dict[str, Any]) -> dict[str, float]:
    """Return the cost of each mode."""
    return {mode: estimate[mode]["cost"] for mode in MODES}


def test_unmeasured_estimate_has_no_percentage_and_names_a_measurement(
    workspace: Workspace,
) -> None:
    """The named command asks five rows; later estimates include the error of past estimates."""
    workspace.run_command("new_task", "notes", **{"from": write_notes(workspace)})
    workspace.task = "notes"
    output = workspace.run_command("tag", dry=True).stdout
    command = "findable tag --task notes --pilot 5 --limit 5"
    assert f"output is guessed; `{command}` measures it" in output
    assert "%" not in output
    selected_output = workspace.run_command("tag", dry=True, where="id = 'n3'").stdout
    assert "(output is guessed)" in selected_output
    document = workspace.read_json("tag", dry=True)
    assert document["estimate"] == {"error": None, "answers": 0}
    assert document["with_key"] is None

    # The pilot measures the length of answers.
    workspace.run_command("tag", pilot=5, limit=5)
    assert workspace.state_counts("notes") == {"answered": 5, "open": 7}
    output = workspace.run_command("tag", dry=True).stdout
    assert "measured on 5 answers; past estimates were off by " in output
    assert "guessed" not in output
    estimate = workspace.read_json("tag", dry=True)["estimate"]
    assert estimate["answers"] == 5
    assert estimate["error"] is not None


def test_estimate_without_a_key_has_price_and_time_of_the_real_model(workspace: Workspace) -> None:
    """`ask` and `tag DRY=1` print the estimate that a workspace with a key prints."""
    file_name = write_notes(workspace)
    workspace.run_command("new_task", "notes", **{"from": file_name})
    # The other workspace has a key and the same rows.
    expected = workspace.read_json("tag", dry=True, TASK="notes")

    local_workspace = Workspace(workspace.home)
    local_workspace.data = workspace.home / "local"
    dry_output = local_workspace.run_command("tag", dry=True, TASK="notes").stdout
    assert "without a key, findable-local-1: 12 rows, at no cost; recommended: " in dry_output
    assert f"\nwith a key, {MODEL}: 12 rows" in dry_output
    key_recommendation = f"with a key, recommended: {expected['recommended']}, because "
    assert dry_output.splitlines()[-1].startswith(key_recommendation)
    command = "findable tag --task notes --pilot 5 --limit 5"
    assert f"output is guessed; with a key `{command}` measures it" in dry_output
    assert "unknown time" not in dry_output.partition("recommended")[0]
    assert "%" not in dry_output

    tag_document = local_workspace.read_json("tag", dry=True, TASK="notes")
    assert tag_document["with_key"]["model"] == MODEL
    assert costs_by_mode(tag_document["with_key"]) == costs_by_mode(expected)
    for mode in MODES:
        assert tag_document["with_key"][mode]["seconds"] == expected[mode]["seconds"]
    assert costs_by_mode(tag_document) == dict.fromkeys(MODES, 0)

    ask_run = local_workspace.run_command("ask", file_name, q="Praise?")
    assert (
        f"all 12 rows cost nothing here; with a key {MODEL} would cost about $0.0" in ask_run.stdout
    )
    assert "(output is guessed; the same command with a key measures it)" in ask_run.stdout
    assert "unknown time" not in ask_run.stdout
    estimates = local_workspace.read_json("ask", file_name, q="Praise?")["all"]
    assert all(cost > 0 for cost in costs_by_mode(estimates["with_key"]).values())
    assert estimates["with_key"]["items"] == 12
