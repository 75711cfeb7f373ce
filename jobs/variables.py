"""The variables of make and the options of `findable`: which were given, which are known, how steps are written back.

A variable that no command knows is refused: a mistyped LIMIT= would ask about all people. Known are the settings, the
options of the commands, and what the Makefile and the tests use. On make's command line a variable must be one of a
target there; in the environment and in `.env`, which are for all commands, one of any.
"""

import difflib
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import click

from jobs.commands import EVERY, Command
from pipeline.core.command_hint import CommandForm, write_as
from pipeline.core.errors import InputError
from pipeline.core.settings import PREFIX, VARIABLES, Settings, load_settings, read_dotenv

GIVEN = (
    "FINDABLE_GIVEN"  # set by the Makefile: its goals, `:`, and the variables of its command line
)
# Settings that a command line takes: those with a name of ours; a key would be seen by all who list processes.
SETTINGS = tuple(name for name, names in VARIABLES.items() if names == (f"{PREFIX}{name.upper()}",))
# Where a context keeps the options that all commands have.
KEPT = {name: f"findable_{name}" for name in (*SETTINGS, "json", "yes")}
# of the Makefile itself, and of the targets for developers
OF_MAKE = frozenset(
    {"PYTHON", "VENV", "EXTRAS", "SHELL", "MAKEFLAGS", "ALL", "DEBUG", "CI", "JSON", "YES", "HELP"}
)
OF_DEVELOPERS = frozenset(
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
    }
)
TESTS = "TEST_"  # what begins so is of the tests
# what stands in the environment without our prefix counts after make, but for what may be another project's there
SHARED = frozenset(
    {
        *(
            "DATABASE_URL",
            "VERSION",
            "DEBUG",
            "MAP",
            "FIND",
            "STATE",
            "AFTER",
            "NAME",
            "ITEM",
            "RAW",
            "A",
            "B",
            "N",
        ),
        *(
            "ROWS",
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
        ),
        *(
            "READONLY",
            "HOST",
            "SHEET",
            "ENCODING",
            "HEADER",
            "SOURCE",
            "OVERWRITE",
            "MORE",
            "K",
            "Q",
        ),
        *("TEXT", "KEY", "WITH", "FILE"),
    }
)


def begin_form(command: str) -> None:
    """Write steps from here on as this command was typed, the places repeated that were given on its line."""
    from pipeline.core.redact import without_password

    given = os.environ.get(GIVEN, "").partition(":")[2].split()
    places = {
        name.lower(): os.environ.get(PREFIX + name)
        for name in ("DATA", "DATABASE_URL")
        if name in given
    }
    places |= {name: value for name in ("data", "database_url") if (value := given_option(name))}
    form = CommandForm(
        "" if GIVEN in os.environ else program(),
        {name: without_password(value) for name, value in places.items() if value},
        {name: entry.arguments for name, entry in EVERY.items()},
        VARIABLES.keys(),
        command,
    )
    write_as(form)


def program() -> str:
    """Return what runs a command here: `findable` where it is on the PATH, else how this process was begun."""
    begun = Path(sys.argv[0])
    if shutil.which("findable") or begun.name not in {"findable", "__main__.py"}:
        return "findable"
    begun = begun if begun.name == "findable" else Path(sys.executable)
    shown = os.path.relpath(begun) if begun.is_relative_to(Path.cwd()) else str(begun)
    return shown if begun.name == "findable" else f"{shown} -m jobs"


def typed_variable(name: str) -> bool:
    """Return whether a variable stands on make's command line."""
    return name in os.environ.get(GIVEN, "").partition(":")[2].split()


def given_option(name: str) -> str | None:
    """Return the value of an option that is a setting, if it was given."""
    context = click.get_current_context(silent=True)
    return context.find_root().meta.get(KEPT[name]) if context else None


def take_short_names(entry: Command) -> None:
    """After make, take what stands in the environment under the short name of a setting or an option of a command."""
    if GIVEN not in os.environ:
        return
    for name in ({one.upper() for one in VARIABLES} | entry.variables.keys()) - SHARED:
        if os.environ.get(name) and PREFIX + name not in os.environ:
            os.environ[PREFIX + name] = os.environ[name]


def check_variables(
    entry: Command, environ: Mapping[str, str], dotenv: Mapping[str, str | None]
) -> None:
    """Refuse an unknown variable, before a command does anything.

    Raises:
        InputError: one is not known, or on make's command line not of a target there.
    """
    settings = {name.removeprefix(PREFIX) for names in VARIABLES.values() for name in names}
    own = settings.union(entry.variables, OF_MAKE)
    goals, _, given = environ.get(GIVEN, "").partition(":")
    on_line = [name for one in given.split() if (name := one.removeprefix(PREFIX)) not in own]
    elsewhere = [
        name.removeprefix(PREFIX) for name in (*environ, *dotenv) if name.startswith(PREFIX)
    ]
    strange = [
        name for name in elsewhere if name not in own | OF_DEVELOPERS and not name.startswith(TESTS)
    ]
    if not on_line and not strange:
        return
    taking = {target: one.variables.keys() for target, one in EVERY.items()}
    known = own.union(OF_DEVELOPERS, *taking.values())
    for name in (*on_line, *strange):
        if name not in known:
            meant = name.upper() if name.upper() in known else nearest(name, known)
            suggestion = f"; did you mean {meant}?" if meant else ""
            raise InputError(f"unknown {name}{suggestion}; nothing was done", hint="")
    for name in on_line:
        if not any(name in taking.get(goal, ()) for goal in goals.split()):
            targets = ", ".join(target for target in EVERY if name in taking[target])
            hint = (
                f"it is of {targets}; one for all commands may stand in the environment or in .env"
            )
            raise InputError(
                f"{name}= is not of `make {goals.strip()}`; nothing was done", hint=hint
            )


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the word that a mistyped one most likely was meant to be, or an empty text."""
    return next(iter(difflib.get_close_matches(word, sorted(words), n=1)), "")


def read_settings() -> Settings:
    """Return the settings of the environment and of `.env` in the current directory; options stand above both."""
    given = {name: value for name in SETTINGS if (value := given_option(name))}
    environ = os.environ | {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}
    settings = load_settings(environ, dotenv=read_dotenv())
    return replace(
        settings,
        sources={**settings.sources, **{name: f"--{name.replace('_', '-')}" for name in given}},
    )
