"""What an estimate says that no answer has measured, and what one says where no key is set."""

from typing import Any

from tests.acceptance.product import MODEL, Workspace

WAYS = ("batch", "flex", "live")


def notes(workspace: Workspace) -> str:
    """Write a table of twelve notes; return its name."""
    lines = [
        f"n{number},Kettle number {number} boils a litre of water in {number + 2} minutes."
        for number in range(12)
    ]
    return workspace.put("notes.csv", "\n".join(["id,text", *lines, ""])).name


def costs(estimate: dict[str, Any]) -> dict[str, float]:
    """Return what each way costs."""
    return {way: estimate[way]["cost"] for way in WAYS}


def test_an_unmeasured_estimate_has_no_percentage_and_names_what_measures_it(
    workspace: Workspace,
) -> None:
    """The command that it names asks five rows and no more; from then on the error of past estimates is told."""
    workspace.do("new_task", "notes", **{"from": notes(workspace)})
    workspace.task = "notes"
    said = workspace.do("tag", dry=True).out
    measures = "findable tag --task notes --pilot 5 --limit 5"
    assert f"output is guessed; `{measures}` measures it" in said
    assert "%" not in said
    document = workspace.read("tag", dry=True)
    assert (document["estimate"], document["with_key"]) == ({"error": None, "answers": 0}, None)

    workspace.do("tag", pilot=5, limit=5)
    assert workspace.states("notes") == {"answered": 5, "open": 7}
    said = workspace.do("tag", dry=True).out
    assert "learned from 5 answers; past estimates were off by " in said
    assert "guessed" not in said
    measured = workspace.read("tag", dry=True)["estimate"]
    assert (measured["answers"], measured["error"] is None) == (5, False)


def test_without_a_key_the_price_and_time_of_the_real_model_are_shown(workspace: Workspace) -> None:
    """`ask` and `tag DRY=1` tell what `tag DRY=1` tells with a key, and never an unknown time."""
    file = notes(workspace)
    workspace.do("new_task", "notes", **{"from": file})
    wanted = workspace.read("tag", dry=True, TASK="notes")

    local = Workspace(workspace.home)
    local.data = workspace.home / "local"
    dry = local.do("tag", dry=True, TASK="notes").out
    assert "findable-local-1: 12 rows, at no cost" in dry
    assert f"{MODEL}: 12 rows" in dry
    assert (
        "output is guessed; with a key `findable tag --task notes --pilot 5 --limit 5` measures it"
        in dry
    )
    assert ("unknown time" in dry.partition("recommended")[0], "%" in dry) == (False, False)
    tag_document = local.read("tag", dry=True, TASK="notes")
    assert tag_document["with_key"]["model"] == MODEL
    assert costs(tag_document["with_key"]) == costs(wanted)
    assert [tag_document["with_key"][way]["seconds"] for way in WAYS] == [
        wanted[way]["seconds"] for way in WAYS
    ]
    assert costs(tag_document) == dict.fromkeys(WAYS, 0)

    ask_run = local.do("ask", file, q="Praise?")
    assert f"all 12 rows cost nothing here; with a key {MODEL} would cost about $0.0" in ask_run.out
    assert "(output is guessed; the same command with a key measures it)" in ask_run.out
    assert "unknown time" not in ask_run.out
    both = local.read("ask", file, q="Praise?")["all"]
    assert all(cost > 0 for cost in costs(both["with_key"]).values())
    assert both["with_key"]["items"] == 12
