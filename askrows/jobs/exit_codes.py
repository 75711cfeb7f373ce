"""End a command: print an error and exit with its code, handle signals and closed streams.

| code | meaning |
| ---: | --- |
| 1 | a bug in askrows |
| 2 | wrong input or usage |
| 3 | something must be configured: key, disk, memory, time zones |
| 130 | interrupted by SIGINT or SIGTERM |

Errors of `askrows.pipeline.core.errors` have their own codes.
"""

import contextlib
import errno
import io
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn
from zoneinfo import ZoneInfoNotFoundError

import click

from askrows.jobs.output import Terminal, has_printed_json, print_json
from askrows.jobs.variables import MAKE_COMMAND_LINE_VARIABLE, PROGRAM, read_settings
from askrows.pipeline.core.command_hint import PREFIX, CommandHint, OptionHint
from askrows.pipeline.core.errors import AskrowsError, ConfigurationError, InputError
from askrows.pipeline.core.files import make_path_hint
from askrows.pipeline.core.redact import redact, redact_keys

BUG_CODE = 1
# 128 + SIGINT, as shells count.
INTERRUPTED_CODE = 130

# A message and its hint.
NO_MEMORY_ERROR = (
    "not enough memory; finished work is stored",
    "end other programs, then run the same command again",
)
NO_TIME_ZONES_ERROR = (
    "this machine has no time zone data, but daily limits and costs need them; nothing was done",
    "install the package tzdata for this Python: `pip install tzdata`",
)
INTERRUPTED_ERROR = (
    "interrupted; finished work is stored",
    "run the same command again to continue",
)

# A signal whose error Python dropped is sent again after this time. By then the code that drops
# errors has usually ended.
RESEND_DELAY_S = 0.01
# Connections that wait until a server accepts them.
SOCKET_BACKLOG = 256

# The signals that arrived while the current command runs.
_received_signals: list[int] = []

# Prints a message, a hint, and exits with a code.
Fail = Callable[[str, str, int], NoReturn]


@contextlib.contextmanager
def exit_on_error(arguments: Sequence[str]) -> Iterator[None]:
    """Print an error of a `with` block in one to three lines, and exit with its code.

    `--json` also prints the error as a document, unless the block has printed a document. Its
    members are error, hint and exit_code. `--debug` prints the traceback first. If the reader of
    standard output closed it, the exit code is 0. Standard streams that the caller closed are
    opened on the null device before the block.

    Args:
        arguments: The command line; it may have --json and --debug.

    Raises:
        SystemExit: The block raised an error.
        Exit: The block ended the command by click's Exit, which is passed on.
    """
    _open_closed_standard_streams()
    # A process may run several commands.
    _received_signals.clear()
    fail: Fail = partial(
        _print_error_and_exit,
        has_traceback=_is_flag_set("debug", arguments),
        as_json=_is_flag_set("json", arguments),
    )

    try:
        yield
    # Click raises Abort for Ctrl-C at a question.
    except (KeyboardInterrupt, click.Abort) as error:
        # An error with arguments has a message and a hint of its own.
        message, hint = error.args or INTERRUPTED_ERROR
        fail(message, hint, INTERRUPTED_CODE)
    except AskrowsError as error:
        fail(error.message, error.hint, error.exit_code)
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            flush_output()
        sys.exit(0)
    except click.exceptions.Exit:
        raise
    except click.ClickException as error:
        hint = "check the path"
        if isinstance(error, click.UsageError):
            hint = _make_help_hint(error)
        fail(error.format_message(), hint, error.exit_code)
    except MemoryError:
        fail(*NO_MEMORY_ERROR, ConfigurationError.exit_code)
    except OSError as error:
        _print_os_error_and_exit(error, fail)
    except Exception as error:  # noqa: BLE001 - a bug is printed in one line, without a traceback
        _print_unexpected_error_and_exit(error, fail)


def _print_os_error_and_exit(error: OSError, fail: Fail) -> NoReturn:
    """Print an error of the operating system, and exit.

    A missing file or a folder in place of a file has the exit code of an InputError, any other
    error that of a ConfigurationError.
    """
    message = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    message += "; finished work is stored"
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        fail(message, make_path_hint(Path(str(error.filename))), InputError.exit_code)
    fail(
        message,
        "check the disk and its permissions, then run the same command again",
        ConfigurationError.exit_code,
    )


def _print_unexpected_error_and_exit(error: Exception, fail: Fail) -> NoReturn:
    """Print the type and place of an unexpected error, without its text, and exit with BUG_CODE.

    After a signal, print that the command was interrupted instead, and exit with INTERRUPTED_CODE,
    because some C libraries raise errors of their own when a signal arrives. Missing time zones are
    no bug either.
    """
    if isinstance(error, ZoneInfoNotFoundError):
        fail(*NO_TIME_ZONES_ERROR, ConfigurationError.exit_code)
    if _received_signals:
        fail(*INTERRUPTED_ERROR, INTERRUPTED_CODE)

    # The error's text may contain users' data.
    last_frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last_frame.filename).name}, line {last_frame.lineno}"
    message = f"this is a bug in askrows: {type(error).__name__} in {place}"
    hint = f"{OptionHint(debug=True)} prints the traceback; finished work is stored"
    fail(message, hint, BUG_CODE)


@contextlib.contextmanager
def raise_interrupt_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in a `with` block for SIGTERM and SIGINT.

    - If the caller has set a handler of SIGINT of its own, that handler is called for SIGINT
      instead. A handler of SIGTERM is always replaced.
    - Python drops all errors in some places, for example in `__del__`. A signal that arrives there
      is sent again.
    - Outside of the main thread this does nothing, because Python handles signals only there.

    The former handlers are restored at the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    _received_signals.clear()
    former_hook = sys.unraisablehook
    sys.unraisablehook = _handle_dropped_error
    former_handlers = {signal.SIGTERM: signal.signal(signal.SIGTERM, _raise_interrupt_on_signal)}
    # A handler of the caller stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        former_handlers[signal.SIGINT] = signal.signal(signal.SIGINT, _raise_interrupt_on_signal)

    try:
        yield
    finally:
        for signal_number, handler in former_handlers.items():
            signal.signal(signal_number, handler)
        sys.unraisablehook = former_hook


def flush_output() -> None:
    """Flush standard output, to notice a closed pipe or a full disk before the interpreter ends.

    Raises:
        OSError: The output cannot be written. Later output goes to the null device.
    """
    try:
        sys.stdout.flush()
    except OSError:
        # Otherwise the interpreter fails again when it flushes the stream at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def listen_on_port(command: str, host: str, port: int, **options: object) -> socket.socket:
    """Return a socket that listens on a port of a host.

    Args:
        command: The name of the command that serves. The hint of an error suggests its --port, or
            another --host if the host is wrong.
        host: A name or address of this machine.
        port: The port; 0 is any free port.
        **options: More options of that command in the hint.

    Raises:
        ConfigurationError: The port is in use or not allowed, or the host is not this machine.
    """
    try:
        return socket.create_server((host, port), backlog=SOCKET_BACKLOG)
    except OSError as error:
        is_wrong_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        if is_wrong_host:
            hint = "--host must be an address of this machine, such as 127.0.0.1"
        else:
            hint = f"use another port, or any free port: {CommandHint(command, **options, port=0)}"
        message = f"port {port} of {host} cannot be used: {error.strerror or error}"
        raise ConfigurationError(message, hint=hint) from error


def _is_flag_set(name: str, arguments: Sequence[str]) -> bool:
    """Return whether a flag is on the command line or set in the environment."""
    if f"--{name}" in arguments:
        return True
    return os.environ.get(f"{PREFIX}{name.upper()}", "0") not in {"", "0"}


def _open_closed_standard_streams() -> None:
    """Open the null device for each standard stream that the caller has closed.

    In any case, standard output is also set to write characters that its encoding lacks as escapes.
    """
    for stream_name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, stream_name) is None:
            null_device = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - stays open
            setattr(sys, stream_name, null_device)

    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _raise_interrupt_on_signal(signal_number: int, frame: FrameType | None) -> None:
    """Handle a signal: record it, and raise KeyboardInterrupt.

    While a dropped error is handled, another error would be dropped, too. Then the signal is sent
    again instead.
    """
    _received_signals.append(signal_number)
    for caller_frame, _ in traceback.walk_stack(frame):
        if caller_frame.f_code is _handle_dropped_error.__code__:
            return _resend_signal_later(signal_number)
    raise KeyboardInterrupt


def _handle_dropped_error(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send the last signal again if Python dropped its KeyboardInterrupt; print other errors."""
    if unraisable.exc_type is not KeyboardInterrupt or not _received_signals:
        sys.__unraisablehook__(unraisable)
    else:
        _resend_signal_later(_received_signals[-1])


def _resend_signal_later(signal_number: int) -> None:
    """Send a signal to this process again after RESEND_DELAY_S, if it is still handled then."""

    def resend() -> None:
        if signal.getsignal(signal_number) is _raise_interrupt_on_signal:
            os.kill(os.getpid(), signal_number)

    threading.Timer(RESEND_DELAY_S, resend).start()


def _make_help_hint(error: click.UsageError) -> str:
    """Return the hint that names the command which prints the help about a usage error.

    It is the help of the typed command, or the list of commands if there is no command. If make
    started the program, it is a target of make. For an unknown option of `search`, the hint also
    says how a word is excluded.
    """
    has_make = MAKE_COMMAND_LINE_VARIABLE in os.environ
    if error.ctx is None or error.ctx.parent is None:
        help_command = "make help ALL=1" if has_make else f"{PROGRAM} --help"
        return f"`{help_command}` lists the commands"

    name = error.ctx.info_name
    help_command = f"make {name} HELP=1" if has_make else f"{PROGRAM} {name} --help"
    if isinstance(error, click.NoSuchOption) and name == "search":
        return f"`{PROGRAM} {name} -- -word` leaves out a word; `{help_command}` lists options"
    return f"`{help_command}` lists its options"


def _print_error_and_exit(
    message: str,
    hint: str,
    exit_code: int,
    *,
    has_traceback: bool,
    as_json: bool,
) -> NoReturn:
    """Print the message and the hint of an error on standard error, and raise SystemExit.

    API keys are masked in all output, also keys of the settings if these can be read.

    Args:
        message: The message.
        hint: The hint; empty for none.
        exit_code: The exit code.
        has_traceback: First print the traceback of the exception that is being handled.
        as_json: Print a JSON document (error, hint, exit_code) on standard output first, unless the
            command has printed a document.
    """
    # Reading the settings hides their keys in all output. They may be the reason for the error.
    with contextlib.suppress(Exception):
        read_settings()
    message = redact_keys(message)
    hint = redact_keys(hint)
    if as_json and not has_printed_json():
        print_json({"error": message, "hint": hint, "exit_code": exit_code})

    terminal = Terminal()
    if has_traceback:
        for line in redact(traceback.format_exc()).splitlines():
            terminal.say(line)
    terminal.error(message)
    if hint:
        terminal.hint(hint)
    # A full disk at the end of the interpreter would change the exit code.
    with contextlib.suppress(OSError):
        flush_output()
    sys.exit(exit_code)
