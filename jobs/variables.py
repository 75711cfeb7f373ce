"""Read the settings of the environment and of `.env` beneath it, and refuse variables that no command knows.

A mistyped LIMIT= would ask about all people.

Known are the settings, the options of the commands, and what the Makefile and the tests use. On make's command line a
variable must be one of a target there; in the environment and in `.env`, which are for all commands, one of any.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import click

from jobs.commands import NAMES, command_of, variables_of
from jobs.typed import GIVEN, OPTIONS, given_option
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.settings import PREFIX, VARIABLES, Settings, load_settings

# of the Makefile itself, and of the targets for developers
OF_MAKE = frozenset({"PYTHON", "VENV", "EXTRAS", "SHELL", "MAKEFLAGS", "ALL", "DEBUG", "CI"})
OF_DEVELOPERS = frozenset(
    {"GIVEN", "ROUNDS", "SHARE", "SECONDS", "KEEP", "MINUTES", "SEED", "WORKERS", "MOST", "KILLS", "PART", "NAMES"}
)
TESTS = "TEST_"  # what begins so is of the tests
NOT_OURS = frozenset(
    {"DATABASE_URL", "VERSION", "DEBUG", "MODEL", "TASK", "SEED", "ALL", "Q", "K", "N", "TO", "FROM", "FIND"}
    | {"ROWS", "COST", "STATE", "AFTER", "NAME", "ITEM", "RAW", "A", "B", "RANK", "TAG", "WHERE", "LIKE"}
    | {"ADD", "REMOVE", "RENAME"}
)


def check_variables(command: click.Command, environ: Mapping[str, str], dotenv: Mapping[str, str | None]) -> None:
    """Refuse an unknown variable, before a command does anything.

    Raises:
        InputError: one is not known, or on make's command line not of a target there.
    """
    settings = {name.removeprefix(PREFIX) for names in VARIABLES.values() for name in names}
    own = settings.union(variables_of(command), OF_MAKE)
    goals, _, given = environ.get(GIVEN, "").partition(":")
    on_line = [name for name in (one.removeprefix(PREFIX) for one in given.split()) if name not in own]
    elsewhere = [name.removeprefix(PREFIX) for name in (*environ, *dotenv) if name.startswith(PREFIX)]
    strange = [name for name in elsewhere if name not in own | OF_DEVELOPERS and not name.startswith(TESTS)]
    if not on_line and not strange:
        return
    of_goals = own.union(*(variables_of(one) for one in _commands(goals.split())))
    known = own.union(OF_DEVELOPERS, *(variables_of(one) for one in _commands(None)))
    for name in (*on_line, *strange):
        if name not in known:
            raise InputError(f"unknown {name}{_suggestion(name, known)}; nothing was done", hint="")
    for name in on_line:
        if name not in of_goals:
            raise InputError(f"{name}= is not of `make {goals.strip()}`; nothing was done", hint=_of(name))


def bare_names(command: click.Command, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what to set instead of the variables in the environment that `findable` does not read, and make would."""
    if GIVEN in environ:
        return {}
    params = variables_of(command)
    names = {*params, "DATA", "BACKEND"} - NOT_OURS
    given = sorted(name for name in names if environ.get(name) and not environ.get(PREFIX + name))
    options = {name: one.opts[-1] for name, one in params.items()} | {"DATA": "--data"}
    instead = {name: options.get(name, "") for name in given}
    return {name: f"{PREFIX}{name}" + (f" or {one}" if one.startswith("--") else "") for name, one in instead.items()}


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the word that a mistyped one most likely was meant to be, or an empty text."""
    return next(iter(difflib.get_close_matches(word, sorted(words), n=1)), "")


def _suggestion(name: str, known: Iterable[str]) -> str:
    found = nearest(name, known)
    return f"; did you mean {found}?" if found else ""


def _commands(names: Iterable[str] | None) -> list[click.Command]:
    return [command_of(name) for name in NAMES if names is None or name in names]


def _of(name: str) -> str:
    taking = [target for target in NAMES if name in variables_of(command_of(target))]
    return f"it is of {', '.join(taking)}; one for all commands may stand in the environment or in .env"


def read_settings() -> Settings:
    """Return the settings of the environment and of `.env` in the current directory; options stand above both."""
    given = {name: value for name in OPTIONS if (value := given_option(name))}
    environ = os.environ | {f"{PREFIX}{name.upper()}": value for name, value in given.items()}
    settings = load_settings(environ, dotenv=read_dotenv())
    return replace(settings, sources={**settings.sources, **{name: f"--{name}" for name in given}})


def read_dotenv() -> dict[str, str | None]:
    """Return the values in `.env` in the current directory, if it exists.

    Raises:
        ConfigurationError: it is not valid UTF-8.
    """
    if not Path(".env").is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(".env")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f".env cannot be read: it is not valid UTF-8 (byte {error.start})", hint="save it as UTF-8, or remove it"
        ) from error
