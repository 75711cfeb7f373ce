"""Variables of make and options of `askrows`: check them, read settings, set the form of hints.

An unknown variable is refused, because a mistyped LIMIT= would ask about all people. These are
known:

- the settings,
- the options of the commands,
- the variables of the Makefile and of the tests.

A variable on make's command line must belong to one of the targets there. A variable in the
environment or in `.env` may belong to any command. Variables have the prefix ASKROWS_, which may
be left out on make's command line.
"""

import os
from collections.abc import Iterable, Mapping
from itertools import chain

import click
from click.core import ParameterSource

from askrows.jobs.commands import ALL_COMMANDS, Command
from askrows.pipeline.core.command_hint import PREFIX, CommandForm, set_command_form
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.settings import VARIABLES, Settings, load_settings, read_dotenv
from askrows.pipeline.core.text import find_most_similar

# The program as people type it. Hints never have a path, which differs between machines.
PROGRAM = "askrows"
# The Makefile sets this variable to its goals, a colon, and the variables of its command line.
MAKE_COMMAND_LINE_VARIABLE = "ASKROWS_GIVEN"
# Settings that are options of every command. Keys are left out: a list of processes would show
# them to all users of the machine.
OPTION_SETTINGS = tuple(
    name for name, variables in VARIABLES.items() if variables == (f"{PREFIX}{name.upper()}",)
)
# The keys under which click's context stores the options that all commands have.
CONTEXT_KEYS = {name: f"askrows_{name}" for name in (*OPTION_SETTINGS, "json", "yes")}
# Settings that select the workspace.
WORKSPACE_SETTINGS = ("data", "database_url")

MAKEFILE_VARIABLES = frozenset(
    {
        "PYTHON",
        "VENV",
        "EXTRAS",
        "SHELL",
        "MAKEFLAGS",
        "ALL",
        "DEBUG",
        "CI",
        "JSON",
        "YES",
        "HELP",
    },
)
# Variables of the targets for developers.
DEVELOPER_VARIABLES = frozenset(
    {
        "GIVEN",
        "ROUNDS",
        "SHARE",
        "SECONDS",
        "KEEP",
        "MINUTES",
        "SEED",
        "WORKERS",
        "MOST",
        "KILLS",
        "PART",
        "NAMES",
    },
)
TEST_VARIABLE_PREFIX = "TEST_"
# After make, a variable of the environment may lack our prefix, except for these names: another
# program may use them for something else.
AMBIGUOUS_NAMES = frozenset(
    {
        "DATABASE_URL",
        "VERSION",
        "DEBUG",
        "MAP",
        "FIND",
        "STATE",
        "AFTER",
        "NAME",
        "ROW",
        "RAW",
        "A",
        "B",
        "N",
        "COST",
        "RANK",
        "TAG",
        "SORT",
        "FIELDS",
        "COUNTS",
        "FORMAT",
        "WHERE",
        "LIKE",
        "ADD",
        "REMOVE",
        "READONLY",
        "HOST",
        "SHEET",
        "ENCODING",
        "HEADER",
        "SOURCE",
        "OVERWRITE",
        "K",
        "Q",
        "TEXT",
        "KEY",
        "WITH",
        "FILE",
    },
)


def set_hint_form(command_name: str) -> None:
    """Set for this process how hints print the commands to type next: as this command was typed.

    They are targets of make if make started the program, else commands of the program. Options
    outside of a command are arguments of Python if Python runs no command. Commands repeat
    --data and --database-url if these were typed on the command line, with passwords masked.

    Args:
        command_name: The running command, or an empty text if Python runs no command.
    """
    from askrows.pipeline.core.redact import mask_url_secrets

    own_options = ALL_COMMANDS[command_name].variables if command_name in ALL_COMMANDS else ()
    typed_places = read_typed_settings(WORKSPACE_SETTINGS)
    workspace_settings = {name: mask_url_secrets(text) for name, text in typed_places.items()}
    form = CommandForm(
        program="" if MAKE_COMMAND_LINE_VARIABLE in os.environ else PROGRAM,
        places=workspace_settings,
        arguments={name: entry.arguments for name, entry in ALL_COMMANDS.items()},
        # An option of the command may have the name of a setting.
        settings=[name for name in VARIABLES if name.upper() not in own_options],
        command=command_name,
        typed_settings=[name for name in OPTION_SETTINGS if read_setting_option(name)],
        is_python=not command_name,
    )
    set_command_form(form)


def read_typed_settings(names: Iterable[str]) -> dict[str, str]:
    """Return those of the named settings that were typed with the running command, as texts."""
    make_variables = read_make_variables()
    texts = {name: read_setting_option(name) or make_variables.get(name) for name in names}
    return {name: text for name, text in texts.items() if text}


def _split_make_command_line(environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the goals and variable names on make's command line; both are empty without make."""
    goals, _, variables = environ.get(MAKE_COMMAND_LINE_VARIABLE, "").partition(":")
    return goals.split(), variables.split()


def read_setting_option(name: str) -> str | None:
    """Return the text of a setting's option on the command line, or None if it was not typed."""
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    return context.find_root().meta.get(CONTEXT_KEYS[name])


def copy_make_variables_to_prefixed_names(entry: Command) -> None:
    """Copy variables of the environment, such as LIMIT, to ASKROWS_LIMIT if make started us.

    Only settings and options of the command `entry` are copied, without AMBIGUOUS_NAMES and without
    empty values. A variable with the prefix that is set already stays as it is. If make did not
    start us, no variable is copied.
    """
    if MAKE_COMMAND_LINE_VARIABLE not in os.environ:
        return

    setting_names = {name.upper() for name in VARIABLES}
    for name in (setting_names | entry.variables.keys()) - AMBIGUOUS_NAMES:
        if os.environ.get(name) and PREFIX + name not in os.environ:
            os.environ[PREFIX + name] = os.environ[name]


def check_variables_are_known(
    entry: Command,
    environ: Mapping[str, str],
    dotenv: Mapping[str, str | None],
) -> None:
    """Check that all variables are known, before a command does anything.

    Checks the variables on make's command line (which is also read from `environ`), and those
    variables of the environment and of `.env` that begin with our prefix. In the environment and in
    `.env`, a variable of any command, of developers or of the tests is accepted. On make's command
    line, a variable must be a setting, be in MAKEFILE_VARIABLES, or belong to `entry` or to a
    target of that line.

    Args:
        entry: The command that will run.
        environ: The variables of the environment.
        dotenv: The variables of `.env`.

    Raises:
        InputError: A variable is unknown, or a variable on make's command line belongs to no target
            of that line.
    """
    setting_variables = chain.from_iterable(VARIABLES.values())
    setting_names = {name.removeprefix(PREFIX) for name in setting_variables}
    accepted_names = setting_names.union(entry.variables, MAKEFILE_VARIABLES)

    goals, typed_variables = _split_make_command_line(environ)
    typed_names = [name.removeprefix(PREFIX) for name in typed_variables]
    prefixed = [name for name in (*environ, *dotenv) if name.startswith(PREFIX)]
    environment_names = [name.removeprefix(PREFIX) for name in prefixed]
    # A developer's variable in the environment belongs to another target.
    unaccepted_names = {
        name
        for name in environment_names
        if name not in DEVELOPER_VARIABLES and not name.startswith(TEST_VARIABLE_PREFIX)
    }
    unaccepted_names = unaccepted_names.union(typed_names) - accepted_names
    if not unaccepted_names:
        return

    # Reading the options of all commands takes a while, so it comes after the return above.
    names_by_target = {target: command.variables.keys() for target, command in ALL_COMMANDS.items()}
    known_names = accepted_names.union(DEVELOPER_VARIABLES, *names_by_target.values())
    for name in sorted(unaccepted_names):
        prefix = "" if name in typed_names else PREFIX
        if name not in known_names:
            suggestion = find_most_similar(name, sorted(known_names))
            question = format_suggestion(suggestion and f"{prefix}{suggestion}")
            raise InputError(
                f"unknown variable {prefix}{name}{question}; nothing was done",
                hint=f"leave out {prefix}{name}",
            )
        if name in typed_names and not any(name in names_by_target.get(goal, ()) for goal in goals):
            raise InputError(
                f"`make {' '.join(goals)}` has no variable {name}=; nothing was done",
                hint=f"leave out {name}=",
            )


def read_make_variables() -> dict[str, str]:
    """Return the variables on make's command line: texts by lower-case names without PREFIX.

    make has put the texts into the environment; "" is an empty text.
    """
    _, typed_variables = _split_make_command_line(os.environ)
    names = [name.removeprefix(PREFIX) for name in typed_variables]
    return {name.lower(): os.environ.get(PREFIX + name, "") for name in names}


def is_option_typed(name: str) -> bool:
    """Return whether an option was typed with the running command, after make as a variable.

    Args:
        name: The name of the parameter, which is also that of the option.
    """
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE or name in read_make_variables()


def format_suggestion(suggestion: str) -> str:
    """Return the end of a message with a suggested name; empty without a suggestion."""
    return f"; did you mean {suggestion}?" if suggestion else ""


def read_settings() -> Settings:
    """Read the settings from the running command's options, the environment, and `./.env`.

    An option overrides the environment, which overrides `.env`. The `sources` of the settings name
    the option of each setting that was typed.

    Raises:
        ConfigurationError: A setting is invalid, or `.env` cannot be read.
    """
    all_texts = {name: read_setting_option(name) for name in OPTION_SETTINGS}
    return load_settings(
        os.environ,
        dotenv=read_dotenv(),
        option_texts={name: str(text) for name, text in all_texts.items() if text},
        make_variables=read_make_variables(),
    )
