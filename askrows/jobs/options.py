"""Describe the options of a command, and define the types and options that commands share.

A command's function has one parameter per option, `Annotated` with a `Parameter`. A value is typed
as an option (`--limit 5`), as a variable of make (`LIMIT=5`), or as a member of a page's form.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import click

from askrows.pipeline.core.command_hint import PREFIX, CommandHint, OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.setting_parsers import (
    MAX_NUMBER,
    parse_count,
    parse_duration,
    parse_money,
)
from askrows.pipeline.core.states import SINGLE_ROW_MODES
from askrows.pipeline.core.text import SURROGATES

# The key under which click's context stores the name of an argument that was typed without it.
POSITIONAL_ARGUMENT_KEY = "askrows_positional_argument"


def check_at_most_one_is_typed(consequence: str, /, **options: object) -> None:
    """Check that at most one of some options was typed.

    Args:
        consequence: The end of the error, such as "nothing was changed".
        options: The options by name; None if it was not typed.

    Raises:
        InputError: Two of them were typed.
    """
    names = [name for name, value in options.items() if value is not None]
    if len(names) > 1:
        message = f"{OptionHint(names[0])} excludes {OptionHint(names[1])}; {consequence}"
        raise InputError(message)


@dataclass(frozen=True)
class Parameter:
    """An option of a command: its help text and how its text is read.

    The option, the variable of make and the member of a form have the name of the parameter.
    """

    # Text for the help of the command; empty for an argument that its name explains.
    help: str = ""
    # A click type, or a function that converts the text.
    value_type: Any = None
    # The placeholder of the value in the help; None means the name of the type.
    metavar: str | None = None
    # Whether the help leaves the option out.
    hidden: bool = False

    def make_click_parameter(
        self,
        name: str,
        default: Any,
        *,
        option_name: str,
        is_argument: bool,
    ) -> click.Parameter:
        """Make the click parameter of a function's parameter: an argument, a flag, or an option.

        With `is_argument` it is a `NamedArgument`, which may be typed with or without its name. It
        takes any number of values if the default is (), else one. An option is a flag if the
        default is False. Any other option of the type bool also has a `--no-` form. The variable of
        make is set as the parameter's environment variable.

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

        names = format_option_names(option_name)
        if default is False:
            settings["is_flag"] = True
        elif self.value_type is bool:
            names = [f"{names[0]}/--no-{option_name}"]

        has_shown_default = isinstance(default, str | int) and default not in {"", False}
        return click.Option(
            [*names, name],
            help=self.help,
            hidden=self.hidden,
            show_default=has_shown_default,
            **settings,
        )


def format_option_names(name: str) -> list[str]:
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
        names = format_option_names(str(self.envvar).removeprefix(PREFIX).lower())
        return click.Option([*names, f"{self.name}_option"], expose_value=False, hidden=True)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        """Return the argument's value and click's name of its source, such as the environment.

        If the value was typed as an option (`--to x.csv`), that text is the value. It is split at
        blanks if the argument accepts several values. If the value was typed without its name, the
        name of the argument is stored in click's context.

        Raises:
            UsageError: The value was typed both with and without the name.
        """
        argument_name = str(self.name)
        option_text = opts.get(f"{self.name}_option")
        argument_text = opts.get(argument_name)
        has_argument = isinstance(argument_text, str) or (
            isinstance(argument_text, tuple) and bool(argument_text)
        )
        if has_argument:
            ctx.meta[POSITIONAL_ARGUMENT_KEY] = argument_name
        if not isinstance(option_text, str):
            return super().consume_value(ctx, opts)

        if has_argument:
            message = (
                f"{self.option.opts[0]} was given twice: {option_text!r} and {argument_text!r}; "
                "nothing was done"
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

    The run `run` and the parameters in `fixed_names` are left out.

    Args:
        arguments: Options that may be typed without their names.
        renamed_options: The option's name by the parameter's name, if it is another name. Otherwise
            the option has the parameter's name without trailing underscores.
    """
    hints = get_type_hints(function, include_extras=True)
    click_parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "run" or parameter.name in fixed_names:
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


@dataclass(frozen=True)
class NumberParam(click.ParamType[float]):
    """A number in a range, as people write it: 1,000 or 1k for a count, $5 or 2.5h for others."""

    minimum: int = 0
    maximum: int = MAX_NUMBER
    # Returns the number of a text, or raises ValueError with the end of a message.
    parse: Callable[[str], float] = parse_count
    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number of a typed text, or a number unchanged.

        Any other text, and a number outside of the range, is a usage error.
        """
        try:
            number = self.parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        if not self.minimum <= number <= self.maximum:
            self.fail(f"{value!r} must be from {self.minimum:,} to {self.maximum:,}", param, ctx)
        return number


class NamesParam(click.ParamType[str]):
    """Names on a command line; a variable is one name, because names may contain blanks."""

    name = "text"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Return the text of a variable as a list of one name; a blank text gives no name."""
        return [rv] if rv.strip() else []

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002 - click's signature
    ) -> str:
        """Return a name without blanks around it; raise BadParameter if it is not valid UTF-8."""
        return text(value)


# Help texts print the names of the next functions (text, version, number, amount) as metavars.


def text(value: str) -> str:
    """Return a text without blanks around it, except if it is all blank.

    Raises:
        BadParameter: The text has lone surrogates: its bytes were not valid UTF-8.
    """
    if SURROGATES.search(value):
        raise click.BadParameter("the text is not valid UTF-8")
    return value.strip() or value


def version(value: str) -> str:
    """Return a text `version` or `version/model`; raise BadParameter if the version is empty."""
    if not text(value).partition("/")[0].strip():
        raise click.BadParameter(f"the version is empty; `{CommandHint('versions')}` lists all")
    return value


COUNT = NumberParam(1)
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
# A file, or `-` for a standard stream.
STREAM = click.Path(path_type=Path, allow_dash=True)
TEXT = text
VERSION = version
NAMES = NamesParam()
MONEY = NumberParam(parse=parse_money)
DURATION = NumberParam(parse=parse_duration)

Limit = Annotated[
    int | None,
    Parameter(
        "Ask about at most this many rows. Equal rows get the same answers and do not count. "
        "Default: all open rows.",
        COUNT,
        metavar="ROWS",
    ),
]
Pilot = Annotated[
    int | None,
    Parameter(
        "Ask and judge this many random rows first; stop if a gate fails. Default: no pilot.",
        COUNT,
        metavar="ROWS",
    ),
]
SkipPilot = Annotated[bool, Parameter("Continue without a passed pilot.")]
Strict = Annotated[bool, Parameter("Exit with code 6 if a quality gate fails.")]
Deadline = Annotated[
    float | None,
    Parameter(
        "Finish within this time: 90s, 30m, 2.5h, 1d. Default: no deadline.",
        DURATION,
        metavar="TIME",
    ),
]
Dry = Annotated[bool, Parameter("Only print the plan.")]
AcceptChanged = Annotated[
    bool,
    Parameter("Keep the version of a task whose declaration changed."),
]
Full = Annotated[
    bool,
    Parameter("Read all rows of a query, not only those that are new by the task's cursor=."),
]
Refresh = Annotated[bool, Parameter("Also ask rows that changed after their answer.")]
BudgetLimit = Annotated[
    float | None, Parameter("Spend at most this many USD. Default: no limit.", MONEY, "USD")
]
Wait = Annotated[
    bool | None,
    Parameter("Wait for batches until all rows are done. Default: return after sending.", bool),
]
SingleRowMode = Annotated[
    str,
    Parameter(
        "Decide asks closed fields as questions of a decision model.",
        click.Choice([mode.value for mode in SINGLE_ROW_MODES]),
    ),
]
Raw = Annotated[bool, Parameter("Add the sealed lines of requests and replies.")]
Seed = Annotated[
    int | None,
    Parameter("Seed of the random sample.", NumberParam(0, 2**63 - 1), metavar="NUMBER"),
]
Expert = Annotated[str | None, Parameter("Username of the person.", TEXT)]
Experts = Annotated[
    tuple[str, ...],
    Parameter("Usernames, separated by commas.", NAMES),
]
RowKey = Annotated[str | None, Parameter("Key of a row of TASK.", TEXT, metavar="KEY")]
Version = Annotated[
    str | None,
    Parameter("A version, or version/model. Default: the version of the task.", VERSION),
]
Tag = Annotated[str, Parameter("Only rows that have all of these tags.", metavar="TAG,…")]
WhereCondition = Annotated[
    str,
    Parameter(
        "Only rows that match, such as: stars < 3 AND NOT verdict = 'praise'.",
        metavar="CONDITION",
    ),
]
Sheet = Annotated[
    str,
    Parameter("Sheet of an .xlsx file. Default: the first.", TEXT, metavar="NAME"),
]
Encoding = Annotated[
    str,
    Parameter("Encoding of a text file, such as cp1250. Default: detected.", TEXT, metavar="NAME"),
]
Header = Annotated[
    str,
    Parameter(
        "Line number of the column names, or none. Default: the first line with text.",
        TEXT,
        metavar="LINE",
    ),
]
Source = Annotated[
    str,
    Parameter(
        "Database of the SELECT: a URL, or $NAME for a variable with the URL. "
        "Default: the workspace's.",
        metavar="URL",
    ),
]
TextColumn = Annotated[
    str,
    Parameter("Column to ask about. Default: guessed.", TEXT, metavar="COLUMN"),
]
KeyColumn = Annotated[
    str,
    Parameter(
        "Column with a unique key; 'row' uses a hash of the whole row. Default: guessed.",
        TEXT,
        metavar="COLUMN",
    ),
]
WithColumns = Annotated[
    str,
    Parameter("More columns to send with the text. Default: none.", TEXT, metavar="COLUMN,…"),
]
Overwrite = Annotated[bool, Parameter("Replace the file TO if it exists.")]
Map = Annotated[
    str,
    Parameter(
        "Columns of the file by field, such as bio=Kurzbiografie,username=Mail.",
        metavar="FIELD=COLUMN,…",
    ),
]
