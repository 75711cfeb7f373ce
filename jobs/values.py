"""Check values of the command line: the types that several commands share."""

import math
from collections.abc import Callable
from typing import Any

import click

from pipeline.core.amounts import parse_count, parse_duration, parse_money
from pipeline.core.text import BAD_TEXT

LARGEST = 10**15  # more than any table holds, and well below what a database takes as a number


class Count(click.IntRange):
    """A whole number in a range, as people write it: 1,000 or 1k."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a usage error says how one is written."""
        try:
            number = parse_count(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        return super().convert(number, param, ctx)


COUNT = Count(1, LARGEST)


def username(value: str) -> str:
    """Return the name; raise BadParameter if it is not valid UTF-8, which reaches a program as lone surrogates."""
    if BAD_TEXT.search(value):
        raise click.BadParameter("it is not valid UTF-8")
    return value.strip() or value


def extractor(value: str) -> str:
    """Return a version, or one with its model behind a slash; raise BadParameter if it names no version."""
    if not username(value).partition("/")[0].strip():
        raise click.BadParameter("it names no version; `make versions` lists all")
    return value


def number(value: str) -> float:
    """Return a number; raise BadParameter if it is none, or infinite."""
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise click.BadParameter(f"{value!r} is no number")
    return found


def duration(value: str) -> float:
    """Return the seconds of 90, 90s, 30m, 2h30m or 1d; raise BadParameter if it is not a length of time."""
    return _bounded(value, parse_duration, "a length of time that a person can wait")


def amount(value: str) -> float:
    """Return an amount of USD; raise BadParameter if it is not a number of 0 or more."""
    return _bounded(value, parse_money, "an amount of USD, 0 or more")


def _bounded(value: str, parse: Callable[[str], float], wanted: str) -> float:
    """Return what a value says, where that is from 0 to `LARGEST`."""
    try:
        number = parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None
    if not 0 <= number <= LARGEST:
        raise click.BadParameter(f"{value!r} must be {wanted}")
    return number
