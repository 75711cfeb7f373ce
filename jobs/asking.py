"""Ask a person at a terminal what `init` needs to know; every question has a default, which Enter takes."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from jobs import values
from jobs.output import Terminal
from pipeline.core.errors import InputError

SAMPLE = Path(__file__).parents[1] / "data" / "sample" / "experts.csv"
ENDINGS = {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet"}
BACKENDS = ("gemini", "local")
BUDGET = 5.0  # USD a day


def check_terminal(given: Mapping[str, object]) -> None:
    """Refuse to ask where there is no terminal.

    Raises:
        InputError: there is none, and not all is given.
    """
    missing = [name for name, value in given.items() if not value]
    if missing and not sys.stdin.isatty():
        raise InputError(
            f"there is no terminal to ask at, and {' and '.join(missing)} not given; nothing was written",
            hint="make init EXPERTS=people.csv BACKEND=local BUDGET=5",
        )


def existing(path: Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        InputError: it is not.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there, or no file; nothing was written", hint="check the path")
    return path


def ask_file() -> Path:
    """Ask for the people: the first table that is here, else the sample."""
    here = sorted(path for path in Path().iterdir() if path.suffix.lower() in ENDINGS and path.is_file())
    if not here:
        Terminal().say("no table of people is here: Enter takes 150 invented ones")
    said = "People to import (CSV, JSON, JSON lines, Parquet)"
    return Path(click.prompt(said, str(here[0] if here else SAMPLE), value_proc=_file, err=True))


def _file(text: str) -> Path:
    """Return a path at which there is a file; the question is asked again where there is none."""
    path = Path(text.strip()).expanduser()
    if not path.is_file():
        raise click.UsageError(f"{path} is not there, or no file")
    return path


def ask_backend(default: str, *, yes: bool) -> str:
    """Ask where the work is done."""
    Terminal().say("gemini: needs a key, and biographies leave this machine; local: small models here, nothing leaves")
    return default if yes else str(click.prompt("Backend", default, type=click.Choice(BACKENDS), err=True))


def ask_budget(*, yes: bool) -> float:
    """Ask how much may be spent a day."""
    said = "Budget: most USD a day, by all commands together"
    return BUDGET if yes else float(click.prompt(said, f"{BUDGET:g}", value_proc=values.amount, err=True))
