"""Tags merged by hand, for tests of what becomes of them."""

from tests.lab import Workspace


def merge(workspace: Workspace) -> None:
    """Let a person merge a tag; then build the index."""
    workspace.ran("tags", "--merge", "beekeeping=apiculture", "--who", "person-0002")
    workspace.ran("index")
    assert workspace.scalar("SELECT count(*) FROM findable_events WHERE kind LIKE 'merge %'")
