"""Check values of the command line: the types that several commands share."""

import re

import click

LARGEST = 10**15  # more than any table holds, and well below what a database takes as a number
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}  # seconds
COUNT = click.IntRange(1, LARGEST)


def username(value: str) -> str:
    """Return the name; raise BadParameter if it is not valid UTF-8, which reaches a program as lone surrogates."""
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise click.BadParameter("it is not valid UTF-8")
    return value


def extractor(value: str) -> str:
    """Return a version, or one with its model behind a slash; raise BadParameter if it names no version."""
    if not username(value).partition("/")[0].strip():
        raise click.BadParameter("it names no version; `make versions` lists all")
    return value


def duration(value: str) -> float:
    """Return the seconds of 90, 90s, 30m, 2h or 1d; raise BadParameter if it is not a length of time."""
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*([smhd]?)\s*", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a length of time; write it as 90s, 30m, 2h or 1d")
    return float(found[1]) * UNITS[found[2]]


def amount(value: str) -> float:
    """Return an amount of USD; raise BadParameter if it is not a number of 0 or more."""
    if not re.fullmatch(r"\s*(\d{1,12}(\.\d*)?|\.\d+)(e-?\d{1,2})?\s*", value, re.ASCII | re.IGNORECASE):
        raise click.BadParameter(f"{value!r} is not an amount of USD, 0 or more")
    return float(value)
