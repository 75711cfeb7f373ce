"""People whose biography changed after tagging are asked again only with REFRESH=1."""

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace

HOME = ("submit", "poll", "ingest")
NAMES = [f"person-{number:04d}" for number in range(6)]


def answers_next(api: Engine, tags: str) -> None:
    """Give all later answers of the engine these tags."""
    api.clear_faults()
    api.script_fault("answer_text", times=99, args={"text": f'{{"tags": [{tags}]}}'})


def row_ids_of_batch(workspace: Workspace, number: int) -> list[str]:
    """Return the ids of the people in the sealed request file of a batch."""
    return sorted(
        request["key"].rpartition("/")[2] for request in workspace.sealed_requests(number)
    )


# REFRESH=1 asks about people again and changes their tags.
@pytest.mark.excused("tags_never_change", "nobody_is_answered_twice")
def test_changed_biography_is_asked_again_only_with_refresh(
    workspace: Workspace, api: Engine
) -> None:
    """Old tags stay until valid new tags arrive.

    A changed title, corrected tags and foreign tags are no reason to ask again.
    """
    workspace.import_people(6)
    answers_next(api, '"beekeeping"')
    workspace.run_commands(*HOME)
    for number in (1, 2, 3, 4):
        bio = f"I mend clocks, number {number}."
        run_sql(workspace, "UPDATE experts SET bio = :bio WHERE id = :id", bio=bio, id=number)
    workspace.run_command("correct", NAMES[2], set="tags=clocks")
    run_sql(workspace, "UPDATE experts SET tags = '[\"theirs\"]' WHERE id = 4")
    run_sql(workspace, "UPDATE experts SET job_title = 'Head of Bees' WHERE id = 5")

    assert workspace.status()["stale"]["count"] == 2
    output = workspace.run_command("status").stdout
    assert "2 rows changed after the answer" in output
    assert "findable tag --refresh" in output
    workspace.run_commands(*HOME)
    assert len(workspace.batches()) == 1, "somebody with tags was asked again"

    answers_next(api, '"clock repair"')
    workspace.run_command("submit", refresh=True)
    assert row_ids_of_batch(workspace, 2) == ["1", "2"]
    assert workspace.state_counts() == {"tagged": 4, "claimed": 2}
    assert workspace.exported_tags()[NAMES[0]] == ["beekeeping"]
    run_sql(workspace, "UPDATE experts SET bio = 'I grow oysters.' WHERE id = 2")
    workspace.run_commands("poll", "ingest")
    expected = [
        ["clock repair"],
        ["beekeeping"],
        ["clocks"],
        ["theirs"],
        ["beekeeping"],
        ["beekeeping"],
    ]
    assert workspace.exported_tags() == dict(zip(NAMES, expected, strict=True))
    assert workspace.status()["stale"]["count"] == 1

    # An empty answer changes no tags.
    answers_next(api, "")
    workspace.run_command("tag", refresh=True, mode="live", yes=True)
    assert workspace.batches()[-1]["requests"] == 1
    assert workspace.exported_tags() == dict(zip(NAMES, expected, strict=True)), (
        "an empty answer took tags away"
    )
    batch_count = len(workspace.batches())
    workspace.run_command("tag", refresh=True, mode="live", yes=True)
    assert len(workspace.batches()) == batch_count, "nothing changed, and somebody was asked again"
    assert "stale" not in workspace.status()
    workspace.run_commands("score", "doctor")


@pytest.mark.alike
def test_import_names_the_command_for_changed_biographies(workspace: Workspace) -> None:
    """The import prints the command if a biography changed, and only then."""
    workspace.import_people(2)
    workspace.run_commands(*HOME)
    workspace.write_file(
        "new.csv", f"Username,Job Title,Bio\n{NAMES[0]},Baker,I bake.\n{NAMES[1]},Clerk,\n"
    )
    output = workspace.run_command("import", "new.csv").output
    assert "findable tag --refresh" in output
    assert workspace.status()["stale"]["count"] == 1
