"""Kill a command after a number of its calls."""

import signal
from typing import Any

from tests.acceptance.engine import Engine
from tests.acceptance.process import Running
from tests.acceptance.product import Workspace
from tests.scratch import wait_until


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
    wait_until(lambda: api.count_calls("POST", path_part) >= count, running.read_output)
