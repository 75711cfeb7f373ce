"""What a command takes: its function's parameters, each `Annotated` with how it is read; those that several take."""

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import click

from jobs.output import Shown
from pipeline.core.command_hint import CommandHint
from pipeline.core.settings import PREFIX, parse_count, parse_duration, parse_money
from pipeline.core.text import BAD_TEXT

LARGEST = 10**15  # more than any table holds, and well below what a database takes as a number


class CommandReport(NamedTuple):
    """What a command ends with: a document for programs, else what is shown; then an error, if it is one.

    `hint` is what to type next, where the line does not say it.
    """

    document: Any
    shown: Shown
    check: Callable[[], object] | None = None
    hint: CommandHint | None = None


@dataclass(frozen=True)
class Parameter:
    """How a parameter is read, and its help. Its option, its variable of make and its member in a form are its name."""

    help: str = ""
    kind: Any = None
    metavar: str | None = None
    hidden: bool = False
    also: str = ""  # another name that it had

    def param(self, name: str, default: Any, *, shown: str, is_argument: bool) -> click.Parameter:
        """Return it for click under the name that is shown; what has no default is required."""
        known: dict[str, Any] = {
            "envvar": PREFIX + shown.upper(),
            "required": default is inspect.Parameter.empty,
            "type": self.kind,
            "metavar": self.metavar,
        }
        if not known["required"]:
            known["default"] = default
        if is_argument:
            known["metavar"] = self.metavar or (
                shown.upper() if known["required"] else f"[{shown.upper()}]"
            )
            return NamedArgument([name], nargs=-1 if default == () else 1, **known)
        names = option_names(shown)
        if default is False:
            known["is_flag"] = True
        elif self.kind is bool:
            names = [f"{names[0]}/--no-{shown}"]
        names += [self.also] * bool(self.also)
        is_told = isinstance(default, str | int) and default not in {"", False}
        return click.Option(
            [*names, name], help=self.help, hidden=self.hidden, show_default=is_told, **known
        )


def option_names(name: str) -> list[str]:
    """Return how an option is typed by its name: `--min-score`; one letter also as `-q`."""
    dashed = f"--{name.replace('_', '-')}"
    return [f"-{name}", dashed] if len(name) == 1 else [dashed]


class NamedArgument(click.Argument):
    """An argument that may also be typed as an option of its name: `export --to x.csv`."""

    @property
    def option(self) -> click.Option:
        """Return the option, which no help lists."""
        names = option_names(str(self.envvar).removeprefix(PREFIX).lower())
        return click.Option([*names, f"{self.name}_option"], expose_value=False, hidden=True)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        """Return the value and where it is from; the option takes the place of what stands without a name.

        Raises:
            UsageError: both are there.
        """
        named, bare = (opts.get(name) for name in (f"{self.name}_option", str(self.name)))
        if not isinstance(named, str):
            return super().consume_value(ctx, opts)
        if isinstance(bare, str) or (isinstance(bare, tuple) and bare):
            raise click.UsageError(
                f"{self.option.opts[0]} and {bare!r} are the same option; nothing was done", ctx
            )
        return super().consume_value(
            ctx, {**opts, str(self.name): named if self.nargs == 1 else tuple(named.split())}
        )


def params_of(
    function: Callable[..., Any],
    arguments: Collection[str],
    names: dict[str, str],
    fixed: Collection[str],
) -> list[click.Parameter]:
    """Return what a function takes besides its workspace and what is fixed, in the order of its parameters."""
    hints = get_type_hints(function, include_extras=True)
    found = []
    for one in inspect.signature(function).parameters.values():
        if one.name == "ws" or one.name in fixed:
            continue
        shown = names.get(one.name, one.name.rstrip("_"))
        taken: Parameter = get_args(hints[one.name])[1]
        found.append(
            taken.param(one.name, one.default, shown=shown, is_argument=shown in arguments)
        )
    return found


class CountParam(click.IntRange):
    """A whole number in a range, as people write it: 1,000 or 1k."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a usage error says how one is written."""
        try:
            number = parse_count(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        return super().convert(number, param, ctx)


class NamesParam(click.ParamType[str]):
    """Names of a command line; of a variable its whole text, for names may hold blanks."""

    name = "text"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Return the text of a variable, in a list."""
        return [rv] if rv.strip() else []

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's
        """Return a name; a BadParameter if it is not valid UTF-8."""
        return text(value)


def text(value: str) -> str:
    """Return a text; raise BadParameter if it is not valid UTF-8, which reaches a program as lone surrogates."""
    if BAD_TEXT.search(value):
        raise click.BadParameter("it is not valid UTF-8")
    return value.strip() or value


def version(value: str) -> str:
    """Return a version, or version/model; raise BadParameter if it names none."""
    if not text(value).partition("/")[0].strip():
        raise click.BadParameter(f"it names no version; `{CommandHint('versions')}` lists all")
    return value


def number(value: str) -> float:
    """Return a finite number; raise BadParameter if it is none."""
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise click.BadParameter(f"{value!r} is no number")
    return found


def _bounded(parse: Callable[[str], float], wanted: str) -> Callable[[str], float]:
    """Return what reads a value from 0 to `LARGEST`; another is a BadParameter."""

    def amount(value: str) -> float:
        try:
            number = parse(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} {error}") from None
        if not 0 <= number <= LARGEST:
            raise click.BadParameter(f"{value!r} must be {wanted}")
        return number

    return amount


COUNT = CountParam(1, LARGEST)
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
STREAM = click.Path(path_type=Path, allow_dash=True)
NAME = text  # how texts are read
VERSION = version
NUMBER = number
NAMES = NamesParam()
MONEY = _bounded(parse_money, "an amount of USD, 0 or more")
DURATION = _bounded(parse_duration, "a length of time that a person can wait")

Limit = Annotated[int | None, Parameter("Ask about at most this many.", COUNT)]
Pilot = Annotated[int | None, Parameter("Ask and judge this many first, then the rest.", COUNT)]
SkipPilot = Annotated[bool, Parameter("Go on without a pilot that passed.")]
Strict = Annotated[bool, Parameter("End with exit code 6 if a quality gate fails.")]
NoResume = Annotated[bool, Parameter("Ask about all anew, under VERSION or the next free.")]
Deadline = Annotated[float | None, Parameter("When it must be done: 2h30m, 90 min, 90s.", DURATION)]
Dry = Annotated[bool, Parameter("Only show what would happen.")]
Wait = Annotated[bool | None, Parameter("Go on until all is done.", bool)]
Raw = Annotated[bool, Parameter("Requests and replies as they went over the wire.")]
Seed = Annotated[int | None, Parameter("Draw them by this.", CountParam(0, 2**63 - 1))]
Expert = Annotated[str | None, Parameter("A person, by username.", NAME)]
Experts = Annotated[
    tuple[str, ...], Parameter("People, by username; several with commas between them.", NAMES)
]
Item = Annotated[str | None, Parameter("An item of the task TASK=, by its key.", NAME)]
Passage = Annotated[str | None, Parameter("A passage, by its id.", NAME)]
Version = Annotated[
    str | None, Parameter("A version, or version/model; default: the task's own.", VERSION)
]
Tag = Annotated[str, Parameter("Only those with each of these tags.", metavar="TAG,…")]
MinScore = Annotated[float | None, Parameter("Only those with this score or a higher one.", NUMBER)]
MaxScore = Annotated[float | None, Parameter("Only those with this score or a lower one.", NUMBER)]
Where = Annotated[
    str,
    Parameter(
        "Only those of which it holds: stars < 3 AND NOT verdict = 'praise'.", metavar="CONDITION"
    ),
]
Sheet = Annotated[str, Parameter("The sheet of an .xlsx file; else the first.", NAME)]
Encoding = Annotated[
    str, Parameter("The encoding of a text file, such as cp1250; else it is found out.", NAME)
]
Header = Annotated[
    str, Parameter("The line with the names of the columns, or none.", NAME, metavar="LINE")
]
Source = Annotated[
    str,
    Parameter("The SELECT's database: its address, or $NAME of a variable; else the workspace's."),
]
TextColumn = Annotated[
    str, Parameter("The column to ask about; else it is found.", NAME, metavar="COLUMN")
]
KeyColumn = Annotated[
    str,
    Parameter(
        "The column that tells rows apart; 'row' is a hash of each row.", NAME, metavar="COLUMN"
    ),
]
WithColumns = Annotated[
    str, Parameter("Other columns to send with the text.", NAME, metavar="COLUMN,…")
]
Overwrite = Annotated[bool, Parameter("Replace the file TO, if it is there.")]
Map = Annotated[
    str,
    Parameter(
        "What names in a file's header mean: bio=Kurzbiografie,username=Mail.",
        metavar="COLUMN=NAME,…",
    ),
]
