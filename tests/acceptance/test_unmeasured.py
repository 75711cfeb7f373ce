"""Estimates without a key."""

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


def test_estimate_without_a_key_has_price_and_time_of_the_real_model(workspace: Workspace) -> None:
    """The estimate is that of a workspace with a key; calls of the local engine predict no time."""
    file_name = write_notes(workspace)
    workspace.run_command("new_task", "notes", **{"from": file_name})
    # The other workspace has a key and the same rows.
    expected = workspace.read_json("tag", dry=True, TASK="notes")

    local_workspace = Workspace(workspace.home)
    local_workspace.data = workspace.home / "local"
    dry_output = local_workspace.run_command("tag", dry=True, TASK="notes").stdout
    assert f"with an API key:\n{MODEL}: 12 rows" in dry_output

    tag_document = local_workspace.read_json("tag", dry=True, TASK="notes")
    assert tag_document["with_key"]["model"] == MODEL
    assert costs_by_mode(tag_document["with_key"]) == costs_by_mode(expected)
    for mode in MODES:
        assert tag_document["with_key"][mode]["seconds"] == expected[mode]["seconds"]
    assert costs_by_mode(tag_document) == dict.fromkeys(MODES, 0)

    local_workspace.run_command("ask", file_name, q="Praise?")
    estimates = local_workspace.read_json("ask", file_name, q="Praise?")["all"]
    assert all(cost > 0 for cost in costs_by_mode(estimates["with_key"]).values())
    assert estimates["with_key"]["rows"] == 12
    local_document = local_workspace.read_json("tag", dry=True, TASK="notes")
    assert {local_document[mode]["seconds"] for mode in MODES} == {None}
