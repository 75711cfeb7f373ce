"""The variables of make and the options of `findable`: what is given is read, what is to be typed next is said alike.

A variable that no command knows is refused: a mistyped LIMIT= would ask about all people. Known are the settings, the
options of the commands, and what the Makefile and the tests use. On make's command line a variable must be one of a
target there; in the environment and in `.env`, which are for all commands, one of any.

Elsewhere a next step is written as for make, and here as this command was typed. The places that were given (DATA,
DATABASE_URL) are repeated, or the next step would work on another workspace.
"""

import difflib
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace

import click

from jobs.commands import NAMES, command_of, variables_of
from pipeline.core.errors import InputError
from pipeline.core.settings import PREFIX, VARIABLES, Settings, load_settings, read_dotenv

GIVEN = "FINDABLE_GIVEN"  # set by the Makefile: its goals, `:`, and the variables of its command line
OPTIONS = {"data": "findable_data", "task": "findable_task"}  # that every command has: where a context keeps each
_VARIABLE = r"""[A-Z_]+=(?:(?:"[^"]*"|'[^']*')+|[^\s`,;)]*[^\s`,;.)])"""
_STEP = re.compile(rf"\bmake ((?:[a-z]+(?:-[a-z]+)*)(?: [a-z]+(?:-[a-z]+)*)*)((?: {_VARIABLE})*)")
_ALONE = re.compile(r"(?<![\w'\"])([A-Z]+(?:_[A-Z]+)*)=(?:1\b|(?=[\s;,]))")  # as in `YES=1 answers yes`


def is_by_make() -> bool:
    """Return whether the Makefile runs this command."""
    return GIVEN in os.environ


def given_option(name: str) -> str | None:
    """Return the value of `--data` or `--task`, where it was given."""
    context = click.get_current_context(silent=True)
    return context.find_root().meta.get(OPTIONS[name]) if context else None


def as_typed(text: str) -> str:
    """Return a text with each `make TARGET NAME=value` in it as the caller would type it.

    So is a variable of this command that stands alone.
    """
    said = _STEP.sub(_rewritten, text)
    return said if is_by_make() else _ALONE.sub(_alone_rewritten, said)


def quoted_as_typed(text: str) -> str:
    """Return a text with the steps in it that stand between backticks as the caller would type them.

    What stands elsewhere may be a row's own words.
    """
    return re.sub(r"`make [^`]+`", lambda found: as_typed(found[0]), text)


def _alone_rewritten(found: re.Match[str]) -> str:
    """Return what a variable stands for: an argument or an option of this command, or an option that all have."""
    context = click.get_current_context(silent=True)
    name = context.invoked_subcommand if context else None
    param = variables_of(command_of(name)).get(found[1]) if name in NAMES else None
    if isinstance(param, click.Argument):
        return found[1]
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return f"--{found[1].lower()}" if found[1].lower() in OPTIONS else found[0]


def _rewritten(found: re.Match[str]) -> str:
    """Return one step as the caller would type it; words that are no targets stay as they are."""
    targets = _targets(found[1])
    if not targets:
        return found[0]
    after = found[1][len(" ".join(targets)) :]
    variables = dict(one.split("=", 1) for one in re.findall(_VARIABLE, found[2]))
    places = {name: value for name, value in _places().items() if name not in variables}
    if is_by_make():
        given = "".join(f" {name}={value}" for name, value in places.items())
        return f"make {' '.join(targets)}{after}{found[2]}{given}"
    steps = [_as_command(target, variables, places) for target in targets]
    return " && ".join(steps) + after


def _targets(words: str) -> list[str]:
    targets: list[str] = []
    for word in words.split(" "):
        if word not in NAMES:
            break
        targets.append(word)
    return targets


def _places() -> dict[str, str]:
    """Return the places that were given on this command's line, as a shell takes them."""
    from pipeline.core.redact import without_password

    given = os.environ.get(GIVEN, "").partition(":")[2].split()
    found = {name: os.environ.get(PREFIX + name) for name in ("DATA", "DATABASE_URL") if name in given}
    found["DATA"] = given_option("data") or found.get("DATA")
    return {name: shlex.quote(without_password(value)) for name, value in found.items() if value}


def _as_command(target: str, variables: Mapping[str, str], places: Mapping[str, str]) -> str:
    ahead, options = [], []
    params = variables_of(command_of(target)) if variables else {}
    for name, value in variables.items():
        param = params.get(name)
        if name.lower() in OPTIONS:
            options.append(f"--{name.lower()} {value}")
        elif param is None:
            ahead.append(f"{PREFIX}{name}={value}")
        elif isinstance(param, click.Argument):
            options.append(value)
        elif isinstance(param, click.Option) and param.is_flag:
            options.append((param.secondary_opts if value == "0" else param.opts)[0])
        else:
            options.append(f"{max(param.opts, key=len)} {value}")
    if "DATABASE_URL" in places:
        ahead.append(f"{PREFIX}DATABASE_URL={places['DATABASE_URL']}")
    if "DATA" in places:
        options.append(f"--data {places['DATA']}")
    return " ".join([*ahead, f"findable {target}", *options])


# of the Makefile itself, and of the targets for developers
OF_MAKE = frozenset({"PYTHON", "VENV", "EXTRAS", "SHELL", "MAKEFLAGS", "ALL", "DEBUG", "CI"})
OF_DEVELOPERS = frozenset(
    {"GIVEN", "ROUNDS", "SHARE", "SECONDS", "KEEP", "MINUTES", "SEED", "WORKERS", "MOST", "KILLS", "PART", "NAMES"}
)
TESTS = "TEST_"  # what begins so is of the tests


def check_variables(command: click.Command, environ: Mapping[str, str], dotenv: Mapping[str, str | None]) -> None:
    """Refuse an unknown variable, before a command does anything.

    Raises:
        InputError: one is not known, or on make's command line not of a target there.
    """
    own = {name.removeprefix(PREFIX) for names in VARIABLES.values() for name in names}.union(
        variables_of(command), OF_MAKE
    )
    goals, _, given = environ.get(GIVEN, "").partition(":")
    on_line = [name for one in given.split() if (name := one.removeprefix(PREFIX)) not in own]
    elsewhere = [name.removeprefix(PREFIX) for name in (*environ, *dotenv) if name.startswith(PREFIX)]
    strange = [name for name in elsewhere if name not in own | OF_DEVELOPERS and not name.startswith(TESTS)]
    if not on_line and not strange:
        return
    taking = {target: variables_of(command_of(target)).keys() for target in NAMES}
    known = own.union(OF_DEVELOPERS, *taking.values())
    for name in (*on_line, *strange):
        if name not in known:
            meant = nearest(name, known)
            suggestion = f"; did you mean {meant}?" if meant else ""
            raise InputError(f"unknown {name}{suggestion}; nothing was done", hint="")
    for name in on_line:
        if not any(name in taking.get(goal, ()) for goal in goals.split()):
            targets = ", ".join(target for target in NAMES if name in taking[target])
            hint = f"it is of {targets}; one for all commands may stand in the environment or in .env"
            raise InputError(f"{name}= is not of `make {goals.strip()}`; nothing was done", hint=hint)


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the word that a mistyped one most likely was meant to be, or an empty text."""
    return next(iter(difflib.get_close_matches(word, sorted(words), n=1)), "")


def read_settings() -> Settings:
    """Return the settings of the environment and of `.env` in the current directory; options stand above both."""
    given = {name: value for name in OPTIONS if (value := given_option(name))}
    environ = os.environ | {f"{PREFIX}{name.upper()}": value for name, value in given.items()}
    settings = load_settings(environ, dotenv=read_dotenv())
    return replace(settings, sources={**settings.sources, **{name: f"--{name}" for name in given}})
