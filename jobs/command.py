"""What all commands share: settings, an open workspace, errors turned to exit codes, and the common options."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.output import Terminal
from pipeline.errors import FindableError

if TYPE_CHECKING:
    from pipeline.runtime import Runtime
    from pipeline.settings import Settings

INTERRUPTED = 130  # 128 + SIGINT, as shells count
BUG = 1

F = TypeVar("F", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose expected failures are one to three lines on standard error and an exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add `--debug`, which every command has."""
        super().__init__(*args, **kwargs)
        self.params.append(click.Option(["--debug"], is_flag=True, envvar="FINDABLE_DEBUG", help="Show tracebacks."))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and end with the exit code of whatever went wrong."""
        debug = ctx.params.pop("debug")
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail(
                "interrupted; what was finished is kept",
                "run the same command again to go on",
                INTERRUPTED,
                debug=debug,
            )
        except FindableError as error:
            _fail(error.message, error.hint, error.exit_code, debug=debug)
        except BrokenPipeError:  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except OSError as error:
            _fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), "", _os_code(error), debug=debug)
        except Exception as error:  # noqa: BLE001 - the last line of defence: a bug is said in one line, not shown raw
            _fail(
                f"this is a bug in findable: {type(error).__name__}: {error}", "--debug shows where", BUG, debug=debug
            )


def _os_code(error: OSError) -> int:
    """Return the exit code for what the system refused: the input where a file is missing, else configuration."""
    return 2 if isinstance(error, FileNotFoundError | IsADirectoryError) else 3


def _fail(message: str, hint: str, code: int, *, debug: bool) -> None:
    """Say what happened and what to type next, and end."""
    if debug:
        traceback.print_exc()
    terminal = Terminal()
    terminal.error(message)
    if hint:
        terminal.hint(hint)
    sys.exit(code)


def json_option(function: F) -> F:
    """Add `--json`: one JSON document on standard output, nothing else there."""
    return click.option("--json", "as_json", is_flag=True, envvar="FINDABLE_JSON", help="Print one JSON document.")(
        function
    )


def yes_option(function: F) -> F:
    """Add `--yes`, which answers every question."""
    return click.option("--yes", is_flag=True, envvar="FINDABLE_YES", help="Answer yes to every question.")(function)


def read_settings() -> "Settings":
    """Return the settings of the environment and of `.env` in the current directory."""
    from pipeline import settings

    dotenv: dict[str, str | None] = {}
    if Path(".env").is_file():
        from dotenv import dotenv_values

        dotenv = dotenv_values(".env")
    return settings.load(os.environ, dotenv=dotenv)


@contextlib.contextmanager
def open_workspace(settings: "Settings | None" = None) -> "Iterator[Runtime]":
    """Open the workspace that the settings name, for the length of a block."""
    from pipeline.runtime import open_runtime

    with open_runtime(settings or read_settings(), Terminal()) as rt:
        yield rt


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask a person at a terminal; `yes` answers, and without a terminal nobody does."""
    if yes:
        return True
    if not sys.stdin.isatty():
        return False
    return click.confirm(question, err=True)
