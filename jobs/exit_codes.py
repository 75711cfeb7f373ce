"""How a command ends: an error in one to three lines and its exit code, signals, streams that were closed."""

import contextlib
import errno
import io
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from jobs.output import Terminal, has_printed_json, print_json
from jobs.variables import GIVEN, program, read_settings
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import ConfigurationError, FindableError
from pipeline.core.settings import KEY_NAMES, PREFIX

NO_MEMORY = (
    "there is not enough memory; what was finished is kept",
    "end other programs, then run it again",
)
STOPPED = ("interrupted; what was finished is kept", "run the same command again to go on")
AGAIN_S = 0.01  # until a signal whose error was dropped comes again, out of what dropped it
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BUG = 1
INPUT = 2
CONFIGURATION = 3


@contextlib.contextmanager
def exit_on_error(words: Sequence[str]) -> Iterator[None]:
    """Print an error of a block in one to three lines, and end with its exit code.

    Where the words of the command line ask for JSON, it is a document, too, {error, hint, exit_code}, unless one was
    printed before.
    """
    _open_streams()
    _signals.clear()  # those of a command before, in one process
    fail = partial(_fail, debug=_is_asked("debug", words), as_json=_is_asked("json", words))
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
    except click.exceptions.Exit:
        raise
    except click.ClickException as error:
        hint = _help_of(error) if isinstance(error, click.UsageError) else "check the path"
        fail(error.format_message(), hint, error.exit_code)
    except MemoryError:
        fail(*NO_MEMORY, CONFIGURATION)
    except OSError as error:
        is_input = isinstance(error, FileNotFoundError | IsADirectoryError)
        said = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        hint = (
            "check the path"
            if is_input
            else "check the disk and its permissions, then run it again"
        )
        fail(f"{said}; what was finished is kept", hint, INPUT if is_input else CONFIGURATION)
    except Exception as error:  # noqa: BLE001 - a bug is printed in one line, without a traceback
        if _signals:  # some libraries in C raise an error of their own where a signal strikes them
            fail(*STOPPED, INTERRUPTED)
        last = traceback.extract_tb(error.__traceback__)[
            -1
        ]  # without the error's text, which may hold users' data
        said = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
        hint = f"{OptionHint(debug=True)} shows the traceback; what was finished is kept"
        fail(f"this is a bug in findable: {said}", hint, BUG)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end a block as Ctrl-C does, in order; signals that came are kept.

    One that strikes where Python drops all errors, as in what runs when an object goes, comes again.
    """
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # signals arrive in the main thread alone
        yield
        return
    _signals.clear()
    hook = sys.unraisablehook
    sys.unraisablehook = _dropped
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _interrupt)}
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # else the caller wants it otherwise
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def flush() -> None:
    """Flush standard output, so that a closed pipe or a full disk is noticed before the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or the interpreter fails on it once more
        raise


def bound(command: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens, or say in a ConfigurationError why that port of that host cannot be served on."""
    try:
        return socket.create_server((host, port), backlog=256)
    except OSError as error:
        is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        another = f"name another one, or any that is free: {CommandHint(command, port=0)}"
        hint = "--host is an address of this machine, such as 127.0.0.1" if is_host else another
        said = f"port {port} of {host} cannot be used: {error.strerror or error}"
        raise ConfigurationError(said, hint=hint) from error


_signals: list[int] = []  # that came while a command ran


def _is_asked(name: str, words: Sequence[str]) -> bool:
    return f"--{name}" in words or os.environ.get(f"{PREFIX}{name.upper()}", "0") not in {"", "0"}


def _open_streams() -> None:
    """Put the null device in the place of a standard stream that the caller has closed.

    Letters that the encoding of standard output has not are written as escapes.
    """
    for name, flags, mode in (
        ("stdin", os.O_RDONLY, "r"),
        ("stdout", os.O_WRONLY, "w"),
        ("stderr", os.O_WRONLY, "w"),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _interrupt(number: int, frame: FrameType | None) -> None:
    _signals.append(number)
    if any(
        one.f_code is _dropped.__code__ for one, _ in traceback.walk_stack(frame)
    ):  # where it would be dropped, too
        return _come_again(number)
    raise KeyboardInterrupt


def _dropped(what: "sys.UnraisableHookArgs") -> None:
    """Let a signal come again whose error was dropped, while the block goes on."""
    if what.exc_type is not KeyboardInterrupt or not _signals:
        sys.__unraisablehook__(what)
    else:
        _come_again(_signals[-1])


def _come_again(number: int) -> None:
    def again() -> None:
        if signal.getsignal(number) is _interrupt:
            os.kill(os.getpid(), number)

    threading.Timer(AGAIN_S, again).start()


def _help_of(error: click.UsageError) -> str:
    by_make = GIVEN in os.environ
    if error.ctx is None or error.ctx.parent is None:
        return f"`{'make help ALL=1' if by_make else f'{program()} --help'}` lists the commands"
    name = error.ctx.info_name
    return f"`{f'make {name} HELP=1' if by_make else f'{program()} {name} --help'}` lists what it takes"


def _fail(message: str, hint: str, code: int, *, debug: bool, as_json: bool) -> NoReturn:
    if as_json and not has_printed_json():
        print_json({"error": message, "hint": hint, "exit_code": code})
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
