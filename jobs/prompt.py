"""Ask a person for one question after the other, with the index open meanwhile."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from jobs.hits import show_report
from jobs.output import Terminal
from pipeline.core.errors import FindableError, InputError

if TYPE_CHECKING:
    from pipeline.index.search import OpenSearch, SearchOptions

PROMPT = "search> "


def check_one_question(asked: Mapping[str, object], *, as_json: bool) -> bool:
    """Return whether anything is asked, of what may be, by the names of its variables; else a person is to be asked.

    Raises:
        InputError: two things are asked; or nothing is, and a program reads the answer, or none can be typed.
    """
    given = [name for name, one in asked.items() if one]
    if len(given) > 1:
        raise InputError(f"{given[0]}= and {given[1]}= do not go together", hint="leave one of them out")
    if not given and (as_json or not sys.stdin.isatty()):
        raise InputError("there is no question", hint='`make search Q="who knows water law"`')
    return bool(given)


def answer_prompts(opened: "OpenSearch", options: "SearchOptions") -> None:
    """Answer one question after the other, until an empty line or the end of input."""
    while question := _typed():
        try:
            if opened.renew():
                Terminal().say(f"build {opened.index.manifest.number} is in service now")
            show_report(opened, opened.ask(question, options), as_json=False)
        except FindableError as error:
            Terminal().error(error.message)
            if error.hint:
                Terminal().hint(error.hint)


def _typed() -> str:
    """Return the next question; an empty text at the end of input."""
    try:
        return input(PROMPT).strip()
    except (EOFError, KeyboardInterrupt):
        click.echo()
        return ""
