"""Share what all commands need: an open workspace, common options, and what each does before and after its work."""

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from jobs.commands import variables_of
from jobs.output import Terminal, begin_output, has_printed_json, print_json
from jobs.typed import OPTIONS, as_typed
from jobs.values import COUNT
from jobs.variables import bare_names, check_variables, read_dotenv, read_settings
from pipeline.core.errors import FindableError
from pipeline.core.settings import BUILT_IN, KEY_NAMES, PREFIX, Settings

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace

AGREED = "findable_agreed"  # in a context: whether `--yes` was given
WENT_ON = "findable_went_on"  # in a context: whether a question was answered with yes


class Command(click.Command):
    """A command whose expected failures are one to three lines on standard error and an exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add `--data`, `--task` and `--debug`, which every command has."""
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(["--data"], metavar="FOLDER", expose_value=False, callback=_keep, help="The workspace."),
            click.Option(
                ["--task"], metavar="NAME", expose_value=False, callback=_keep, help="passages, images, or your own."
            ),
            click.Option(["--debug"], is_flag=True, envvar="FINDABLE_DEBUG", help="Show tracebacks."),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line, `.env` beneath the environment; where a value is missing, say how make takes it.

        Raises:
            InputError: a variable is not known.
        """
        dotenv = read_dotenv()
        check_variables(self, os.environ, dotenv)
        named = {one.name: dotenv.get(PREFIX + variable) for variable, one in variables_of(self).items()}
        ctx.default_map = {name: value for name, value in named.items() if name and value}
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as error:
            if error.param is None or not isinstance(error.param.envvar, str):
                raise
            said = f"With make: {error.param.envvar.removeprefix(PREFIX)}=…"
            raise click.MissingParameter(said, ctx=error.ctx, param=error.param) from None
        except click.NoSuchOption as error:
            shown = {name for one in self.get_params(ctx) if not getattr(one, "hidden", False) for name in one.opts}
            meant = [one for one in error.possibilities or () if one in shown]
            raise click.NoSuchOption(error.option_name, possibilities=meant, ctx=error.ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error ends it with its exit code."""
        as_json = bool(ctx.params.get("as_json"))
        with exit_on_error(debug=ctx.params.pop("debug"), as_json=as_json), interruptible():
            begin_output()
            for name, instead in bare_names(self, os.environ).items():
                Terminal().warn(f"{name} in the environment is not read without make: set {instead}")
            done = super().invoke(ctx)
            flush()
            return done


class WritingCommand(Command):
    """A command that writes to the workspace, and so may ask whether to add to another program's database."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add `--yes`, which every writing command has, where the command does not take it itself."""
        super().__init__(*args, **kwargs)
        if not any(one.name == "yes" for one in self.params):
            said = "Agree to add tables and columns to another program's database."
            option = click.Option(["--yes"], is_flag=True, envvar="FINDABLE_YES", expose_value=False, help=said)
            option.callback = _keep_yes
            self.params.append(option)


def _keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Keep the folder or the task that was given, above the settings."""
    if value:
        ctx.meta[OPTIONS[str(param.name)]] = value


def _keep_yes(ctx: click.Context, param: click.Parameter, value: bool) -> bool:  # noqa: ARG001, FBT001 - click's own
    """Keep the answer to questions that are asked before a command's own."""
    ctx.meta[AGREED] = value
    return value


json_option = click.option(
    "--json", "as_json", is_flag=True, envvar="FINDABLE_JSON", help="Print one JSON document, and nothing else."
)
yes_option = click.option(
    "--yes", is_flag=True, envvar="FINDABLE_YES", callback=_keep_yes, help="Answer yes to every question."
)
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


def read_workspace(
    *, task: str | None = None, brings_items: bool = False, whole: bool = False
) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    """Open the workspace that the settings name, for the length of a block, to be read; `task` overrides TASK.

    What is about the `whole` of it works too where TASK names a task that was never used here.
    Where items are to be counted that a task of one's own brings with it, it is written for these alone.
    """
    settings = read_settings()
    return _open(settings, task, "write" if brings_items and settings.task not in BUILT_IN else "read", whole=whole)


def open_workspace(
    settings: Settings | None = None, *, task: str | None = None, whole: bool = False
) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    """Open the workspace that the settings name, for the length of a block, to be written."""
    return _open(settings or read_settings(), task, "write", whole=whole)


def make_workspace(*, task: str | None = None) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    """Open the workspace that the settings name, to be written; it is made where there is none."""
    return _open(read_settings(), task, "create")


def look_at_workspace(*, task: str | None = None) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    """Open the workspace to see what would be written, by an import of a `task`; see `open_to_look`."""
    from pipeline.engine.workspace import open_to_look

    settings = read_settings()
    if task is None and settings.task in BUILT_IN:
        return read_workspace()
    return open_to_look(replace(settings, task=task or settings.task), Terminal(), agrees=_agrees)


def _open(
    settings: Settings, task: str | None, access: str, *, whole: bool = False
) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    from pipeline.engine.workspace import Access, open_workspace

    return open_workspace(
        replace(settings, task=task or settings.task),
        Terminal(),
        access=Access(access),
        agrees=_agrees,
        whole=whole,
    )


def _agrees(question: str) -> bool:
    """Return whether a person agrees, by `--yes` or at a terminal; see `confirmed`."""
    return confirmed(question, yes=click.get_current_context().meta.get(AGREED, False))


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask a person at a terminal; `yes` answers, and without a terminal the answer is no.

    A person's no ends the command, with exit code 0.
    """
    meta = click.get_current_context().meta
    if answered(question, yes=yes):
        meta[WENT_ON] = True
        return True
    if sys.stdin.isatty():
        Terminal().say("nothing more was changed" if meta.get(WENT_ON) else "nothing was changed")
        raise click.exceptions.Exit(0)
    return False


def answered(question: str, *, yes: bool) -> bool:
    """Ask a person at a terminal, and go on after a no; `yes` answers, and without a terminal the answer is no."""
    return yes or (sys.stdin.isatty() and click.confirm(question, err=True))


NO_MEMORY = ("there is not enough memory; what was finished is kept", "end other programs, then run it again")
STOPPED = ("interrupted; what was finished is kept", "run the same command again to go on")
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BUG = 1
INPUT = 2
CONFIGURATION = 3


@contextlib.contextmanager
def exit_on_error(*, debug: bool, as_json: bool = False) -> Iterator[None]:
    """Print an error of a block in one to three lines, and end with its exit code.

    `as_json` prints it as a document, too, {error, hint, exit_code}, where no document was printed before.
    """
    _open_streams()
    _signals.clear()  # those of a command before, in one process
    fail = partial(_fail, debug=debug, as_json=as_json)
    try:
        yield
    except (KeyboardInterrupt, click.Abort) as error:  # the latter is Ctrl-C at a question
        said, hint = error.args or STOPPED  # what keeps nothing says so
        fail(said, hint, INTERRUPTED)
    except FindableError as error:
        fail(error.message, error.hint, error.exit_code)
    except BrokenPipeError:  # the reader of our output has seen enough
        with contextlib.suppress(BrokenPipeError):
            flush()
        sys.exit(0)
    except click.UsageError as error:
        fail(error.format_message(), _help_of(error), error.exit_code)
    except click.exceptions.Exit:
        raise
    except click.ClickException as error:
        fail(error.format_message(), "check the path", error.exit_code)
    except (OSError, MemoryError) as error:
        fail(*_os_words(error), _os_code(error))
    except Exception as error:  # noqa: BLE001 - a bug is printed in one line, without a traceback
        if _signals:  # some libraries in C raise an error of their own where a signal strikes them
            fail(*STOPPED, INTERRUPTED)
        fail(_bug(error), "--debug shows the traceback; what was finished is kept", BUG)


def code_of(error: BaseException) -> int:
    """Return the exit code with which an error ends a command; see `exit_on_error`."""
    if isinstance(error, FindableError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    return _os_code(error) if isinstance(error, OSError | MemoryError) else BUG


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
    try:
        yield
    finally:
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


def flush() -> None:
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


def _bug(error: Exception) -> str:
    """Return where a bug was raised, without the error's text, which may hold users' data."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"this is a bug in findable: {type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"


def _os_code(error: OSError | MemoryError) -> int:
    """Return the exit code for an error of the system: input if a file is missing, else configuration."""
    return INPUT if isinstance(error, FileNotFoundError | IsADirectoryError) else CONFIGURATION


def _os_words(error: OSError | MemoryError) -> tuple[str, str]:
    if isinstance(error, MemoryError):
        return NO_MEMORY
    said = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    is_input = _os_code(error) == INPUT
    hint = "check the path" if is_input else "check the disk and its permissions, then run it again"
    return f"{said}; what was finished is kept", hint


def _help_of(error: click.UsageError) -> str:
    if error.ctx is None or error.ctx.parent is None:
        return "`findable --help` lists the commands"
    return f"`findable {error.ctx.info_name} --help` lists what it takes"


def _fail(message: str, hint: str, code: int, *, debug: bool, as_json: bool) -> NoReturn:
    if as_json and not has_printed_json():
        print_json({"error": message, "hint": as_typed(hint), "exit_code": code})
    terminal = Terminal()
    if debug:
        from pipeline.core.redact import redact

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
        keys.append(key.reveal() if (key := read_settings().api_key) else "")
    return keys
