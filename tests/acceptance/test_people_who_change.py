"""People whose biography changes after they were tagged: asked again with REFRESH=1 alone, and never else."""

import pytest

from tests.acceptance.database import sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace

HOME = ("submit", "poll", "ingest")
NAMES = [f"person-{number:04d}" for number in range(6)]


def answers_next(api: Engine, tags: str) -> None:
    """Let every further answer of the engine name these tags."""
    api.clear_faults()
    api.fault("answer_text", times=99, args={"text": f'{{"tags": [{tags}]}}'})


def asked_in(workspace: Workspace, number: int) -> list[str]:
    """Return the ids of the people that a batch asks about, as its sealed file has them."""
    return sorted(request["key"].rpartition("/")[2] for request in workspace.requests(number))


@pytest.mark.excused("tags_never_change", "nobody_is_answered_twice")  # REFRESH=1 asks for that
def test_a_changed_biography_is_asked_about_again_with_refresh_alone(
    workspace: Workspace, api: Engine
) -> None:
    """Old tags stay until valid new ones come; a title, corrected tags and another program's are no reason to ask."""
    workspace.people(6)
    answers_next(api, '"beekeeping"')
    workspace.each(*HOME)
    for number in (1, 2, 3, 4):
        sql(
            workspace,
            f"UPDATE experts SET bio = 'I mend clocks, number {number}.' WHERE id = {number}",  # noqa: S608 - ours
        )
    workspace.do("correct", NAMES[2], set="tags=clocks")
    sql(workspace, "UPDATE experts SET tags = '[\"theirs\"]' WHERE id = 4")
    sql(workspace, "UPDATE experts SET job_title = 'Head of Bees' WHERE id = 5")

    assert workspace.status()["stale"]["count"] == 2
    output = workspace.do("status").out
    assert "2 changed since they were answered" in output
    assert "REFRESH=1 findable tag" in output
    workspace.each(*HOME)
    assert len(workspace.batches()) == 1, "somebody with tags was asked again"

    answers_next(api, '"clock repair"')
    workspace.do("submit", REFRESH=1)
    assert asked_in(workspace, 2) == ["1", "2"]
    assert workspace.states() == {"tagged": 6}
    assert workspace.tags()[NAMES[0]] == ["beekeeping"]
    sql(workspace, "UPDATE experts SET bio = 'I grow oysters.' WHERE id = 2")
    workspace.each("poll", "ingest")
    expected = [
        ["clock repair"],
        ["beekeeping"],
        ["clocks"],
        ["theirs"],
        ["beekeeping"],
        ["beekeeping"],
    ]
    assert workspace.tags() == dict(zip(NAMES, expected, strict=True))
    assert workspace.status()["stale"]["count"] == 1

    answers_next(api, "")
    workspace.do("tag", REFRESH=1, mode="live", yes=True)
    assert workspace.batches()[-1]["requests"] == 1
    assert workspace.tags() == dict(zip(NAMES, expected, strict=True)), (
        "an empty answer took tags away"
    )
    count = len(workspace.batches())
    workspace.do("tag", REFRESH=1, mode="live", yes=True)
    assert len(workspace.batches()) == count, "nothing changed, and somebody was asked again"
    assert workspace.status()["stale"]["count"] == 0
    workspace.each("score", "doctor")


def test_an_import_says_how_a_changed_biography_is_asked_about_again(workspace: Workspace) -> None:
    """The import names the command, and only a biography is a reason."""
    workspace.people(2)
    workspace.each(*HOME)
    workspace.put(
        "new.csv", f"Username,Job Title,Bio\n{NAMES[0]},Baker,I bake.\n{NAMES[1]},Clerk,\n"
    )
    said = workspace.do("import", "new.csv").said
    assert "REFRESH=1 findable tag" in said
    assert workspace.status()["stale"]["count"] == 1
