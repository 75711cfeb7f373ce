"""What waits at the API is counted by the database: it is looked at for each batch, and there may be many."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event

from tests.integration.looks import states
from tests.lab import Api, Workspace


def test_no_batch_is_read_for_another(workspace: Workspace, people: Callable[..., list[str]], api: Api) -> None:
    """However many are prepared and sent, those that wait are read a few times, and not once more for each."""
    api.configure(paused=True)

    def reads(batches: int) -> int:
        """Return how often the rows of waiting batches were read while so many were prepared and sent."""
        said: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            """Keep what is run."""
            said.append(statement)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            assert workspace.run("batch-submit", "--limit", str(batches), BATCH_ROWS="1").exit_code == 0
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        return sum("request_sha256" in one and ".state IN (" in one for one in said)

    people(9)
    once = reads(1)
    assert reads(7) == once
    assert states(workspace) == ["submitted"] * 8
