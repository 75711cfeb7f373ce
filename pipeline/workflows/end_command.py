"""Run the user's own command when a command of ours ends, with what was done as JSON on its standard input."""

import contextlib
import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from pipeline.core.errors import ConfigurationError, FindableError

STANDARD_ERROR = 2  # standard output is ours, and may hold one JSON document


@contextlib.contextmanager
def run_end_command(
    *, on_done: str, on_fail: str, code_of: Callable[[BaseException], int], warn: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Give a summary to fill; at the end of the block `on_done` gets it, or `on_fail` with the error in it.

    It says when the block began and ended (`began_at`, `ended_at`, ISO 8601 in UTC).
    Each is a line for `sh` in our directory and environment; its output goes to standard error. An empty line is not
    run. `code_of` returns the exit code of an error. If `on_fail` fails too, `warn` gets its error.

    Raises:
        ConfigurationError: `on_done` did not end with 0; what was done is kept.
    """
    summary: dict[str, Any] = {"began_at": _now()}
    try:
        yield summary
    except BaseException as error:
        # the text of an error that is not ours may hold users' data
        said = error.message if isinstance(error, FindableError) else type(error).__name__
        summary |= {"ended_at": _now(), "ok": False, "error": said, "exit_code": code_of(error)}
        try:
            _run(on_fail, "ON_FAIL", summary)
        except ConfigurationError as another:
            warn(another.message)
        raise
    summary |= {"ended_at": _now(), "ok": True}
    _run(on_done, "ON_DONE", summary)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _run(command: str, name: str, summary: dict[str, Any]) -> None:
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
