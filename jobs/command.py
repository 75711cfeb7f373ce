"""What makes a command of a function: its options are the function's parameters, what it returns is printed."""

import contextlib
import inspect
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_type_hints

import click

from jobs.commands import variables_of
from jobs.output import Terminal, print_json, print_line
from jobs.variables import OPTIONS, check_variables, read_settings
from pipeline.core.settings import (
    BUILT_IN,
    PREFIX,
    Settings,
    parse_count,
    parse_duration,
    parse_money,
    read_dotenv,
)
from pipeline.core.text import BAD_TEXT

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace

AGREED = "findable_agreed"  # in a context: whether `--yes` was given
AS_JSON = "findable_json"  # in a context: whether `--json` was
WENT_ON = "findable_went_on"  # in a context: whether a question was answered with yes
LARGEST = 10**15  # more than any table holds, and well below what a database takes as a number


class Report(NamedTuple):
    """What a command ends with: a document for programs, else a line, or what prints it; then an error, if it is one.

    `hint` is what to type next, where the line does not say it.
    """

    document: Any
    shown: str | Callable[[], object]
    check: Callable[[], object] | None = None
    hint: str = ""


@dataclass(frozen=True)
class Taken:
    """How a parameter is taken from the command line, beside its name; without a help it is an argument.

    The variable that make takes for it has the same name, in capitals, but for `env`.
    """

    help: str | None = None
    kind: Any = None
    names: str = ""  # of the option, where it is not --name alone
    env: str | tuple[str, ...] = ""
    metavar: str | None = None
    hidden: bool = False

    def param(self, name: str, default: Any) -> click.Parameter:
        """Return it for click; what has no default is required."""
        plain = name.rstrip("_")
        env = [f"{PREFIX}{one}" for one in ([self.env] if isinstance(self.env, str) else self.env)]
        known: dict[str, Any] = {
            "envvar": env if len(env) > 1 else env[0] if self.env else f"{PREFIX}{plain.upper()}",
            "required": default is inspect.Parameter.empty,
            "type": self.kind,
            "metavar": self.metavar,
        }
        if not known["required"]:
            known["default"] = default
        if self.help is None:
            return click.Argument([name], nargs=-1 if default == () else 1, **known)
        names = self.names.split() or [f"--{plain.replace('_', '-')}"]
        flag = {"is_flag": True} if default is False else {}
        is_told = isinstance(default, str | int) and default not in {"", False}
        return click.Option([*names, name], help=self.help, hidden=self.hidden, show_default=is_told, **flag, **known)


def command(name: str, *, has_json: bool = True) -> Callable[[Callable[..., Report | None]], "Command"]:
    """Make a command of a function: its docstring is the help, each parameter is `Annotated[…, Taken(…)]`."""

    def made(function: Callable[..., Report | None]) -> Command:
        hints = get_type_hints(function, include_extras=True)
        signature = inspect.signature(function).parameters.values()
        params = [get_args(hints[one.name])[1].param(one.name, one.default) for one in signature]
        return Command(name, callback=function, params=params, help=function.__doc__, has_json=has_json)

    return made


class Command(click.Command):
    """A command of `findable`, with the options that all have."""

    def __init__(self, *args: Any, has_json: bool = True, **kwargs: Any) -> None:
        """Add what every command takes."""
        super().__init__(*args, **kwargs)
        hidden: dict[str, Any] = {"expose_value": False, "callback": _keep}
        if has_json:
            said = "Print one JSON document, and nothing else."
            self.params.append(
                click.Option(["--json", "as_json"], is_flag=True, envvar=f"{PREFIX}JSON", help=said, **hidden)
            )
        self.params += [
            click.Option(
                ["--yes"], is_flag=True, envvar=f"{PREFIX}YES", help="Answer yes to every question.", **hidden
            ),
            click.Option(["--data"], metavar="FOLDER", help="The workspace.", **hidden),
            click.Option(["--task"], metavar="NAME", help="passages, images, or your own.", **hidden),
            click.Option(["--debug"], is_flag=True, envvar=f"{PREFIX}DEBUG", help="Show tracebacks.", **hidden),
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

    def invoke(self, ctx: click.Context) -> None:
        """Run the command, and print what it ends with."""
        if ctx.obj:  # an alias that is about one task
            ctx.meta[OPTIONS["task"]] = ctx.obj
        report = super().invoke(ctx)
        if report is None:
            return
        if ctx.meta.get(AS_JSON):
            print_json(report.document)
        elif isinstance(report.shown, str):
            print_line(report.shown)
        else:
            report.shown()
        if report.check is not None:
            report.check()
        if report.hint:
            Terminal().hint(report.hint)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep what was given of an option that all commands have: the folder and the task stand above the settings."""
    if value:
        ctx.meta[{**OPTIONS, "yes": AGREED, "as_json": AS_JSON, "debug": "findable_debug"}[str(param.name)]] = value


class Count(click.IntRange):
    """A whole number in a range, as people write it: 1,000 or 1k."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a usage error says how one is written."""
        try:
            number = parse_count(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        return super().convert(number, param, ctx)


def _text(value: str) -> str:
    """Return a text; raise BadParameter if it is not valid UTF-8, which reaches a program as lone surrogates."""
    if BAD_TEXT.search(value):
        raise click.BadParameter("it is not valid UTF-8")
    return value.strip() or value


def _version(value: str) -> str:
    if not _text(value).partition("/")[0].strip():
        raise click.BadParameter("it names no version; `make versions` lists all")
    return value


def _number(value: str) -> float:
    """Return a number; raise BadParameter if it is none, or infinite."""
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise click.BadParameter(f"{value!r} is no number")
    return found


def bounded(parse: Callable[[str], float], wanted: str) -> Callable[[str], float]:
    """Return what reads a value from 0 to `LARGEST`; another is a BadParameter."""

    def read(value: str) -> float:
        try:
            number = parse(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} {error}") from None
        if not 0 <= number <= LARGEST:
            raise click.BadParameter(f"{value!r} must be {wanted}")
        return number

    return read


COUNT = Count(1, LARGEST)
PATH = click.Path(path_type=Path)
NAME, VERSION, NUMBER = _text, _version, _number  # how texts are read
MONEY = bounded(parse_money, "an amount of USD, 0 or more")
DURATION = bounded(parse_duration, "a length of time that a person can wait")

Limit = Annotated[int | None, Taken("Ask about at most this many.", COUNT)]
Pilot = Annotated[int | None, Taken("Ask and judge this many first, then the rest.", COUNT)]
SkipPilot = Annotated[bool, Taken("Go on without a pilot that passed.")]
NoResume = Annotated[bool, Taken("Ask about all anew, under VERSION or the next free.")]
Deadline = Annotated[float | None, Taken("When it must be done: 2h30m, 90 min, 90s.", DURATION)]
Dry = Annotated[bool, Taken("Only show what would happen.")]
Raw = Annotated[bool, Taken("Requests and replies as they went over the wire.")]
Seed = Annotated[int | None, Taken("Draw them by this.", Count(0, 2**63 - 1))]
Item = Annotated[str | None, Taken("An item of the task TASK=, by its key.", NAME)]
Version = Annotated[str | None, Taken("A version, or version/model; default: the task's own.", VERSION)]
Tag = Annotated[str, Taken("Only those with each of these tags.", metavar="TAG,…")]
MinScore = Annotated[float | None, Taken("Only those with this score or a higher one.", NUMBER)]
Map = Annotated[
    str,
    Taken(
        "Which names in the file's header mean which columns: bio=Kurzbiografie,username=Mail.",
        metavar="COLUMN=NAME,…",
    ),
]


def wants_json() -> bool:
    """Return whether this command is to print one document, and nothing else."""
    return bool(click.get_current_context().meta.get(AS_JSON))


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


def make_workspace(
    *, task: str | None = None, whole: bool = False
) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    """Open the workspace that the settings name, to be written; it is made where there is none."""
    return _open(read_settings(), task, "create", whole=whole)


def look_at_workspace(*, task: str | None = None) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    """Open the workspace to see what would be written, by an import of a `task`; see `open_to_look`."""
    from pipeline.engine.workspace import open_to_look

    settings = read_settings()
    if task is None and settings.task in BUILT_IN:
        return read_workspace()
    return open_to_look(replace(settings, task=task or settings.task), Terminal(), agrees=confirmed)


def _open(
    settings: Settings, task: str | None, access: str, *, whole: bool = False
) -> "contextlib.AbstractContextManager[OpenWorkspace]":
    from pipeline.engine.workspace import Access, open_workspace

    settings = replace(settings, task=task or settings.task)
    return open_workspace(settings, Terminal(), access=Access(access), agrees=confirmed, whole=whole)


def confirmed(question: str) -> bool:
    """Ask a person at a terminal; `--yes` answers, and without a terminal the answer is no.

    A person's no ends the command, with exit code 0.
    """
    meta = click.get_current_context().meta
    if meta.get(AGREED) or (sys.stdin.isatty() and click.confirm(question, err=True)):
        meta[WENT_ON] = True
        return True
    if sys.stdin.isatty():
        Terminal().say("nothing more was changed" if meta.get(WENT_ON) else "nothing was changed")
        raise click.exceptions.Exit(0)
    return False


def goes_on(_cost: object) -> bool:
    """Ask whether to go on, once what it costs was said."""
    return confirmed("Go on?")
