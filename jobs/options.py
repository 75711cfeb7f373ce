"""Describe the options of a command, and define the types and options that commands share.

A command's function has one parameter per option, `Annotated` with a `Parameter`.
"""

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import click

from jobs.output import Output
from pipeline.core.command_hint import CommandHint
from pipeline.core.setting_parsers import parse_count, parse_duration, parse_money
from pipeline.core.settings import PREFIX
from pipeline.core.text import SURROGATES

# More than any table has rows, and well below the largest integer that a database accepts.
MAX_NUMBER = 10**15


class CommandReport(NamedTuple):
    """The result of a command."""

    # The JSON document, for `--json` and for pages.
    document: Any
    # Text for people, printed if there is no `--json`.
    output: Output
    # Called after printing. Raises the error that the command ends with.
    check: Callable[[], object] | None = None
    # The next command to type, if `output` does not name it.
    hint: CommandHint | None = None


@dataclass(frozen=True)
class Parameter:
    """An option of a command: its help text and how its text is read.

    The option, the variable of make and the member of a form have the name of the parameter.
    """

    help: str = ""
    # A click type, or a function that converts the text.
    value_type: Any = None
    metavar: str | None = None
    hidden: bool = False
    # A second name of the option, with its dashes.
    other_name: str = ""

    def make_click_parameter(
        self,
        name: str,
        default: Any,
        *,
        option_name: str,
        is_argument: bool,
    ) -> click.Parameter:
        """Make the click option or argument of a function's parameter.

        Args:
            name: The name of the function's parameter.
            default: Its default; a parameter with `inspect.Parameter.empty` is required.
            option_name: The name that users type, with underscores.
            is_argument: Whether it may be typed without its name.
        """
        is_required = default is inspect.Parameter.empty
        settings: dict[str, Any] = {
            "envvar": PREFIX + option_name.upper(),
            "required": is_required,
            "type": self.value_type,
            "metavar": self.metavar,
        }
        if not is_required:
            settings["default"] = default

        if is_argument:
            label = option_name.upper()
            default_metavar = label if is_required else f"[{label}]"
            settings["metavar"] = self.metavar or default_metavar
            return NamedArgument([name], nargs=-1 if default == () else 1, **settings)

        names = option_names(option_name)
        if default is False:
            settings["is_flag"] = True
        elif self.value_type is bool:
            names = [f"{names[0]}/--no-{option_name}"]
        if self.other_name:
            names.append(self.other_name)

        has_shown_default = isinstance(default, str | int) and default not in {"", False}
        return click.Option(
            [*names, name],
            help=self.help,
            hidden=self.hidden,
            show_default=has_shown_default,
            **settings,
        )


def option_names(name: str) -> list[str]:
    """Return how an option is typed: `--min-score`; a name of one letter also as `-q`."""
    long_name = f"--{name.replace('_', '-')}"
    if len(name) == 1:
        return [f"-{name}", long_name]
    return [long_name]


class NamedArgument(click.Argument):
    """An argument that may also be typed as an option of its name: `export --to x.csv`."""

    @property
    def option(self) -> click.Option:
        """Make the option of the same name, which no help lists."""
        names = option_names(str(self.envvar).removeprefix(PREFIX).lower())
        return click.Option([*names, f"{self.name}_option"], expose_value=False, hidden=True)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        """Return the value and its source; a value typed with the option's name comes first.

        If the argument accepts several values, the text of the option is split at blanks.

        Raises:
            UsageError: The value was typed both with and without the name.
        """
        argument_name = str(self.name)
        option_text = opts.get(f"{self.name}_option")
        argument_text = opts.get(argument_name)
        if not isinstance(option_text, str):
            return super().consume_value(ctx, opts)

        has_argument = isinstance(argument_text, str) or (
            isinstance(argument_text, tuple) and bool(argument_text)
        )
        if has_argument:
            message = (
                f"{self.option.opts[0]} and {argument_text!r} are the same option; nothing was done"
            )
            raise click.UsageError(message, ctx)

        parsed: str | tuple[str, ...] = option_text
        if self.nargs != 1:
            parsed = tuple(option_text.split())
        return super().consume_value(ctx, {**opts, argument_name: parsed})


def make_click_parameters(
    function: Callable[..., Any],
    arguments: Collection[str],
    renamed_options: Mapping[str, str],
    fixed_names: Collection[str],
) -> list[click.Parameter]:
    """Make the click parameters of a command's function, in the order of its parameters.

    The workspace `ws` and the parameters in `fixed_names` are left out.

    Args:
        arguments: Options that may be typed without their names.
        renamed_options: The option's name by the parameter's name, if it is another name. Otherwise
            the option has the parameter's name without trailing underscores.
    """
    hints = get_type_hints(function, include_extras=True)
    click_parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "ws" or parameter.name in fixed_names:
            continue

        option_name = renamed_options.get(parameter.name, parameter.name.rstrip("_"))
        annotation: Parameter = get_args(hints[parameter.name])[1]
        click_parameter = annotation.make_click_parameter(
            parameter.name,
            parameter.default,
            option_name=option_name,
            is_argument=option_name in arguments,
        )
        click_parameters.append(click_parameter)
    return click_parameters


class CountParam(click.IntRange):
    """A whole number in a range, as people write it: 1,000 or 1k."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a text that is not a number in the range is a usage error."""
        try:
            count = parse_count(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        return super().convert(count, param, ctx)


class NamesParam(click.ParamType[str]):
    """Names on a command line; a variable is one name, because names may contain blanks."""

    name = "text"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Return the text of a variable as a list of one name; a blank text gives no name."""
        return [rv] if rv.strip() else []

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's
        """Return a name without blanks around it; raise BadParameter if it is not valid UTF-8."""
        return text(value)


# Help texts print the names of the next functions (text, version, number, amount) as metavars.


def text(value: str) -> str:
    """Return a text without blanks around it, except if it is all blank.

    Raises:
        BadParameter: The text has lone surrogates: its bytes were not valid UTF-8.
    """
    if SURROGATES.search(value):
        raise click.BadParameter("it is not valid UTF-8")
    return value.strip() or value


def version(value: str) -> str:
    """Return a text `version` or `version/model`; raise BadParameter if the version is empty."""
    if not text(value).partition("/")[0].strip():
        raise click.BadParameter(f"it names no version; `{CommandHint('versions')}` lists all")
    return value


def number(value: str) -> float:
    """Return a finite number; raise BadParameter for any other text."""
    try:
        parsed = float(value)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise click.BadParameter(f"{value!r} is no number")
    return parsed


def _make_bounded_parser(parse: Callable[[str], float], expectation: str) -> Callable[[str], float]:
    """Return a parser that raises BadParameter for numbers outside 0 to MAX_NUMBER.

    Texts that `parse` refuses raise BadParameter, too.

    Args:
        parse: Returns the number, or raises ValueError with the end of a sentence.
        expectation: The required value, for the message.
    """

    def amount(value: str) -> float:
        """Return the number of a text; raise BadParameter if it is invalid or out of range."""
        try:
            parsed = parse(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} {error}") from None
        if not 0 <= parsed <= MAX_NUMBER:
            raise click.BadParameter(f"{value!r} must be {expectation}")
        return parsed

    return amount


COUNT = CountParam(1, MAX_NUMBER)
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
# A file, or `-` for a standard stream.
STREAM = click.Path(path_type=Path, allow_dash=True)
TEXT = text
VERSION = version
NUMBER = number
NAMES = NamesParam()
MONEY = _make_bounded_parser(parse_money, "an amount of USD, 0 or more")
DURATION = _make_bounded_parser(parse_duration, "a length of time that a person can wait")

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
Expert = Annotated[str | None, Parameter("A person, by username.", TEXT)]
Experts = Annotated[
    tuple[str, ...],
    Parameter("People, by username; several with commas between them.", NAMES),
]
Item = Annotated[str | None, Parameter("An item of the task TASK=, by its key.", TEXT)]
Passage = Annotated[str | None, Parameter("A passage, by its id.", TEXT)]
Version = Annotated[
    str | None,
    Parameter("A version, or version/model; default: the task's own.", VERSION),
]
Tag = Annotated[str, Parameter("Only those with each of these tags.", metavar="TAG,…")]
MinScore = Annotated[float | None, Parameter("Only those with this score or a higher one.", NUMBER)]
MaxScore = Annotated[float | None, Parameter("Only those with this score or a lower one.", NUMBER)]
Where = Annotated[
    str,
    Parameter(
        "Only those of which it holds: stars < 3 AND NOT verdict = 'praise'.",
        metavar="CONDITION",
    ),
]
Sheet = Annotated[str, Parameter("The sheet of an .xlsx file; else the first.", TEXT)]
Encoding = Annotated[
    str,
    Parameter("The encoding of a text file, such as cp1250; else it is found out.", TEXT),
]
Header = Annotated[
    str,
    Parameter("The line with the names of the columns, or none.", TEXT, metavar="LINE"),
]
Source = Annotated[
    str,
    Parameter("The SELECT's database: its address, or $NAME of a variable; else the workspace's."),
]
TextColumn = Annotated[
    str,
    Parameter("The column to ask about; else it is found.", TEXT, metavar="COLUMN"),
]
KeyColumn = Annotated[
    str,
    Parameter(
        "The column that tells rows apart; 'row' is a hash of each row.",
        TEXT,
        metavar="COLUMN",
    ),
]
WithColumns = Annotated[
    str,
    Parameter("Other columns to send with the text.", TEXT, metavar="COLUMN,…"),
]
Overwrite = Annotated[bool, Parameter("Replace the file TO, if it is there.")]
Map = Annotated[
    str,
    Parameter(
        "What names in a file's header mean: bio=Kurzbiografie,username=Mail.",
        metavar="COLUMN=NAME,…",
    ),
]
