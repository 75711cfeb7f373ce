"""Kill a command after a number of its calls."""

import signal
import time
from typing import Any

from tests.acceptance.engine import Engine
from tests.acceptance.process import Running
from tests.acceptance.product import Workspace

# Ends a hang.
LONGEST_S = 60.0


def kill_after_calls(
    workspace: Workspace,
    api: Engine,
    path_part: str,
    *words: object,
    call_count: int,
    **options: Any,
) -> None:
    """Kill a command after a number of POST requests with this part in their path."""
    verb, *arguments = words
    with workspace.start_command(str(verb), *arguments, CALL_TIMEOUT=200, **options) as running:
        wait_for_calls(api, running, path_part, call_count)
        running.signal(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL


def wait_for_calls(api: Engine, running: Running, path_part: str, count: int) -> None:
    """Wait until the server has a number of POST requests with this part in their path."""
    deadline = time.monotonic() + LONGEST_S
    while api.count_calls("POST", path_part) < count:
        assert time.monotonic() < deadline, running.read_output()
        time.sleep(0.01)
