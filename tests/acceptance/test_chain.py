"""Commands lead from a file of people to a search."""

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace


def test_every_person_is_asked_once_and_can_be_found(workspace: Workspace, api: Engine) -> None:
    """Import, submit, poll, ingest and index make everyone with a bio searchable."""
    usernames = workspace.people(5, without_bio=1)
    assert workspace.states() == {"untagged": 5, "no_bio": 1}

    workspace.do("submit")
    assert workspace.batch_states() == ["submitted"]
    assert workspace.states() == {"claimed": 5, "no_bio": 1}

    workspace.each("poll", "ingest", "index")
    assert workspace.states() == {"tagged": 5, "no_bio": 1}
    # The last person has no bio.
    assert all(tags for name, tags in workspace.tags().items() if name != usernames[-1])
    assert sorted(workspace.found("who knows water law")) == usernames[:5]
    assert [len(create["lines"]) for create in api.creates()] == [5]
    assert workspace.next()[:1] == ["search"]
