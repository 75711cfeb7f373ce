"""Commands lead from a file of people to a search."""

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace


def test_every_person_is_asked_once_and_can_be_found(workspace: Workspace, api: Engine) -> None:
    """Import, submit, poll, ingest and index make everyone with a bio searchable."""
    usernames = workspace.import_people(5, without_bio=1)
    assert workspace.state_counts() == {"untagged": 5, "no_bio": 1}

    workspace.run_command("submit")
    assert workspace.batch_states() == ["submitted"]
    assert workspace.state_counts() == {"claimed": 5, "no_bio": 1}

    workspace.run_commands("poll", "ingest", "index")
    assert workspace.state_counts() == {"tagged": 5, "no_bio": 1}
    # The last person has no bio.
    assert all(tags for name, tags in workspace.exported_tags().items() if name != usernames[-1])
    assert sorted(workspace.search("who knows water law")) == usernames[:5]
    assert [len(create["lines"]) for create in api.creates()] == [5]
    assert workspace.next_command()[:1] == ["search"]
