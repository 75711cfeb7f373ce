"""Share what all commands need: settings, an open workspace, exit codes for errors, and common options."""

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click
from dotenv import dotenv_values

from jobs.output import Terminal
from jobs.values import COUNT
from pipeline.core.errors import ConfigurationError, FindableError
from pipeline.core.redact import redact
from pipeline.core.settings import KEY_NAMES, Settings, load_settings

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace

STOPPED = ("interrupted; what was finished is kept", "run the same command again to go on")
AGAIN_S = 0.01  # until a signal that was lost is sent once more
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BUG = 1
INPUT = 2
CONFIGURATION = 3


class Command(click.Command):
    """A command whose expected failures are one to three lines on standard error and an exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add `--debug`, which every command has."""
        super().__init__(*args, **kwargs)
        self.params.append(click.Option(["--debug"], is_flag=True, envvar="FINDABLE_DEBUG", help="Show tracebacks."))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line, `.env` beneath the environment; where a value is missing, say how make takes it."""
        ctx.default_map = self._in_dotenv()
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as error:
            if error.param is None or not isinstance(error.param.envvar, str):
                raise
            said = f"With make: {error.param.envvar.removeprefix('FINDABLE_')}=…"
            raise click.MissingParameter(said, ctx=error.ctx, param=error.param) from None

    def _in_dotenv(self) -> dict[str, Any]:
        """Return the values of options that stand in `.env`, by the options' names."""
        values = read_dotenv()
        named = {one.name: values.get(one.envvar) for one in self.params if isinstance(one.envvar, str)}
        return {name: value for name, value in named.items() if name and value}

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error ends it with its exit code."""
        with exit_on_error(debug=ctx.params.pop("debug")), interruptible():
            done = super().invoke(ctx)
            _flush()
            return done


@contextlib.contextmanager
def exit_on_error(*, debug: bool) -> Iterator[None]:
    """Print an error of a block in one to three lines, and end with its exit code."""
    _open_streams()
    try:
        yield
    except (KeyboardInterrupt, click.Abort):  # the latter is Ctrl-C at a question
        _fail(*STOPPED, INTERRUPTED, debug=debug)
    except FindableError as error:
        _fail(error.message, error.hint, error.exit_code, debug=debug)
    except BrokenPipeError:  # the reader of our output has seen enough
        with contextlib.suppress(BrokenPipeError):
            _flush()
        sys.exit(0)
    except (click.exceptions.Exit, click.ClickException):
        raise
    except OSError as error:
        said = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        _fail(f"{said}; what was finished is kept", _os_hint(error), _os_code(error), debug=debug)
    except Exception as error:  # noqa: BLE001 - a bug is printed in one line, without a traceback
        if _signals:  # some libraries in C raise an error of their own where a signal strikes them
            _fail(*STOPPED, INTERRUPTED, debug=debug)
        _fail(_bug(error), "--debug shows the traceback; what was finished is kept", BUG, debug=debug)


def code_of(error: BaseException) -> int:
    """Return the exit code with which an error ends a command; see `exit_on_error`."""
    if isinstance(error, FindableError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    return _os_code(error) if isinstance(error, OSError) else BUG


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end a block as Ctrl-C does, in order; signals that came are kept."""
    if threading.current_thread() is not threading.main_thread():  # signals arrive in the main thread alone
        yield
        return
    _signals.clear()
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _interrupt)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the caller wants it otherwise
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
    hook, sys.unraisablehook = sys.unraisablehook, _heard_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _open_streams() -> None:
    """Put the null device in the place of a standard stream that the caller has closed.

    Letters that the encoding of standard output has not are written as escapes.
    """
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Flush standard output, so that a closed pipe or a full disk is noticed before the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter fails on it once more
        raise


_signals: list[int] = []  # that came while a command ran


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signal handler's signature
    _signals.append(number)
    raise KeyboardInterrupt


def _heard_again(lost: "sys.UnraisableHookArgs") -> None:
    """Send an interrupt again that was raised in a destructor, where Python would print and forget it."""
    if not issubclass(lost.exc_type, KeyboardInterrupt) or not _signals:
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), _signals[-1]))
    again.daemon = True
    again.start()


def _bug(error: Exception) -> str:
    """Return where a bug was raised, without the error's text, which may hold users' data."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"this is a bug in findable: {type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"


def _os_code(error: OSError) -> int:
    """Return the exit code for an error of the system: input if a file is missing, else configuration."""
    return INPUT if isinstance(error, FileNotFoundError | IsADirectoryError) else CONFIGURATION


def _os_hint(error: OSError) -> str:
    """Return what to do about an error of the system."""
    return "check the path" if _os_code(error) == INPUT else "check the disk and its permissions, then run it again"


def _fail(message: str, hint: str, code: int, *, debug: bool) -> NoReturn:
    """Say what happened and what to type next, and end."""
    terminal = Terminal()
    if debug:
        for line in redact(traceback.format_exc(), *_keys()).splitlines():
            terminal.say(line)
    terminal.error(message)
    if hint:
        terminal.hint(hint)
    sys.exit(code)


def _keys() -> list[str]:
    """Return the keys in the environment and in `.env`, which a traceback must not show."""
    keys = [os.environ.get(name, "").strip() for name in KEY_NAMES]
    with contextlib.suppress(Exception):  # another error is being printed
        keys.append(read_settings().api_key or "")
    return keys


def _refuse_probe(ctx: click.Context, param: click.Parameter, value: bool | None) -> None:  # noqa: FBT001 - click's own
    """Refuse the option that a pilot replaced."""
    if value:
        raise click.BadParameter("there are no probes any more; use `make tag PILOT=20` instead", ctx, param)


json_option = click.option(
    "--json", "as_json", is_flag=True, envvar="FINDABLE_JSON", help="Print one JSON document, and nothing else."
)
yes_option = click.option("--yes", is_flag=True, envvar="FINDABLE_YES", help="Answer yes to every question.")
limit_option = click.option("--limit", type=COUNT, envvar="FINDABLE_LIMIT", help="Ask about at most this many.")
pilot_option = click.option(
    "--pilot", type=COUNT, envvar="FINDABLE_PILOT", help="Ask and judge this many first, then the rest."
)
map_option = click.option(
    "--map",
    "mapping",
    default="",
    envvar="FINDABLE_MAP",
    metavar="COLUMN=NAME,…",
    help="Which names in the file's header mean which columns: bio=Kurzbiografie,username=Mail.",
)
skip_pilot_option = click.option(
    "--skip-pilot", is_flag=True, envvar="FINDABLE_SKIP_PILOT", help="Go on without a pilot that passed."
)
no_probe_option = click.option(
    "--probe/--no-probe", hidden=True, envvar="FINDABLE_PROBE", expose_value=False, callback=_refuse_probe
)


def read_settings() -> Settings:
    """Return the settings of the environment and of `.env` in the current directory."""
    return load_settings(os.environ, dotenv=read_dotenv())


def read_dotenv() -> dict[str, str | None]:
    """Return the values in `.env` in the current directory, if it exists.

    Raises:
        ConfigurationError: it is not valid UTF-8.
    """
    if not Path(".env").is_file():
        return {}
    try:
        return dotenv_values(".env")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f".env cannot be read: it is not valid UTF-8 (byte {error.start})", hint="save it as UTF-8, or remove it"
        ) from error


def open_workspace(
    settings: Settings | None = None, *, task: str | None = None
) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    """Open the workspace that the settings name, for the length of a block; `task` overrides TASK."""
    from pipeline.engine import workspace

    settings = settings or read_settings()
    return workspace.open_workspace(replace(settings, task=task or settings.task), Terminal())


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask a person at a terminal; `yes` answers, and without a terminal the answer is no."""
    if yes:
        return True
    if not sys.stdin.isatty():
        return False
    return click.confirm(question, err=True)


def confirm_guess() -> Callable[[str], bool] | None:
    """Return what asks a person at a terminal about a guess, which `--yes` does not answer; None without a terminal."""
    return partial(click.confirm, default=True, err=True) if sys.stdin.isatty() else None
