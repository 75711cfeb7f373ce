"""Let create calls fail, and count them and the batches they made."""

from typing import Any

from tests.acceptance.engine import CREATE_CALL, CREATE_PATH, Engine
from tests.acceptance.product import Workspace


def fail_creates(
    api: Engine, word: str, args: dict[str, Any] | None = None, **options: Any
) -> None:
    """Script a fault for create calls."""
    api.script_fault(word, method="POST", path=CREATE_PATH, args=args, **options)


def count_creates(api: Engine) -> int:
    """Return the number of create calls."""
    calls = [call["path"] for call in api.journal() if call["method"] == "POST"]
    return sum(path.endswith(CREATE_CALL) for path in calls)


def living_batches(api: Engine) -> list[str]:
    """Return the names of the remote batches that were not cancelled, oldest first."""
    return [batch["name"] for batch in api.batches() if batch["state"] != "CANCELLED"]


def remote_names(workspace: Workspace) -> list[str]:
    """Return the remote names of the batches, oldest first."""
    return [batch["remote_name"] for batch in workspace.batches()]
