"""The word lists of the tagger, as `tagging.toml` has them."""

import functools
import tomllib
from importlib.resources import files
from typing import Any


def names(table: str) -> list[str]:
    """Return what a list holds whose entries are separated by commas, in order."""
    return [" ".join(one.split()) for one in _lists()[table].split(",") if one.strip()]


@functools.cache
def listed(table: str) -> frozenset[str]:
    """Return what a list holds whose entries are separated by commas."""
    return frozenset(names(table))


def words(table: str) -> list[str]:
    """Return the single words of a list, in order."""
    return str(_lists()[table]).replace(",", " ").split()


def spelled() -> dict[str, str]:
    """Return the words that are shown under another spelling, and that spelling."""
    return dict(_lists()["spelled"])


@functools.cache
def agents() -> dict[str, str]:
    """Return the words for those who work in a field ("photographer"), and the word for it."""
    return dict(_lists()["agents"])


@functools.cache
def _lists() -> dict[str, Any]:
    return tomllib.loads(files("emulator.models").joinpath("tagging.toml").read_text(encoding="utf-8"))
