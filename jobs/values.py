"""Check values of the command line: the types that several commands share."""

import re

import click

LARGEST = 10**15  # more than any table holds, and well below what a database takes as a number
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}  # seconds
COUNT = click.IntRange(1, LARGEST)


class Name(click.ParamType[str]):
    """A username: any valid UTF-8 (other bytes reach a program as lone surrogates)."""

    name = "username"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value as it is.

        Raises:
            click.BadParameter: it is not valid UTF-8.
        """
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            self.fail("it is not valid UTF-8", param, ctx)
        return value


class Extractor(Name):
    """A version, or one with its model behind a slash; never an empty name, which rows of other programs may have."""

    name = "extractor"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value as it is; it must name a version."""
        value = super().convert(value, param, ctx)
        if not value.partition("/")[0].strip():
            self.fail("it names no version; `make versions` lists all", param, ctx)
        return value


class Duration(click.ParamType[float]):
    """A length of time, in seconds or with a unit: 90, 90s, 30m, 2h, 1d."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds.

        Raises:
            click.BadParameter: it is not a length of time.
        """
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*([smhd]?)\s*", value)
        if found is None:
            self.fail(f"{value!r} is not a length of time; write it as 90s, 30m, 2h or 1d", param, ctx)
        return float(found[1]) * UNITS[found[2]]


class Amount(click.ParamType[float]):
    """An amount of USD, 0 or more; NaN would be no bound."""

    name = "usd"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the amount.

        Raises:
            click.BadParameter: it is not an amount.
        """
        if not re.fullmatch(r"\s*(\d{1,12}(\.\d*)?|\.\d+)(e-?\d{1,2})?\s*", str(value), re.ASCII | re.IGNORECASE):
            self.fail(f"{value!r} is not an amount of USD, 0 or more", param, ctx)
        return float(value)


USERNAME = Name()
DURATION = Duration()
USD = Amount()
