"""The user's own command, run when a command of ours ends: told what was done as JSON on its standard input."""

import contextlib
import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.errors import ConfigurationError, FindableError

STANDARD_ERROR = 2  # standard output is ours, and may hold one JSON document


@contextlib.contextmanager
def telling(
    *, on_done: str, on_fail: str, code_of: Callable[[BaseException], int], warn: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Give a summary to fill; at the end of the block `on_done` gets it, or `on_fail` with the error in it.

    Each is a line for `sh`, run where we run, with our environment; what it prints goes to standard error. An empty
    one is not run. `code_of` says with which exit code an error ends the command. Where `on_fail` fails as well, `warn`
    is told, and the error stays what it was.

    Raises:
        ConfigurationError: `on_done` did not end with 0; what was done is kept.
    """
    summary: dict[str, Any] = {}
    try:
        yield summary
    except BaseException as error:
        summary |= {"ok": False, "error": _said(error), "exit_code": code_of(error)}
        try:
            _run(on_fail, "ON_FAIL", summary)
        except ConfigurationError as another:
            warn(another.message)
        raise
    summary["ok"] = True
    _run(on_done, "ON_DONE", summary)


def _said(error: BaseException) -> str:
    """Return an error in its own words where it is one of ours; nobody's data goes out with another one."""
    return error.message if isinstance(error, FindableError) else type(error).__name__


def _run(command: str, name: str, summary: dict[str, Any]) -> None:
    """Run a command with the summary on its standard input; one that does not read it all is not to blame."""
    if not command.strip():
        return
    document = json.dumps(summary, default=str).encode()
    shell = ["/bin/sh", "-c", command]
    done = subprocess.run(shell, input=document, stdout=STANDARD_ERROR, check=False)  # noqa: S603 - the user's own
    if done.returncode:
        raise ConfigurationError(
            f"the command of {name} ended with {done.returncode}; what was done is kept",
            hint=f"try it by itself: echo '{{}}' | sh -c {shlex.quote(command)}",
        )
