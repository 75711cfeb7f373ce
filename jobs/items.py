"""`make items FIND=hallibrook`: list items by a part of what they are called; `make people` is the same for people."""

import sys

import click

from jobs import values
from jobs.command import Command, json_option, read_workspace
from jobs.output import Terminal, print_json, print_line, print_table
from jobs.typed import is_by_make
from jobs.values import COUNT
from pipeline.ops import items

SHOWN = 60  # characters of a text on a terminal
PAGE = 20
SHORTER = {"job_title": "title", "findability_score": "score"}  # as in the table of a search

_find = click.argument("find", nargs=-1, type=values.username, envvar="FINDABLE_FIND")
_state = click.option("--state", envvar="FINDABLE_STATE", help="Only those in this state, such as untagged or parked.")
_after = click.option(
    "--after", type=values.username, envvar="FINDABLE_AFTER", help="Go on behind this id, as the page before says."
)
_limit = click.option(
    "--limit", type=COUNT, default=PAGE, show_default=True, envvar="FINDABLE_LIMIT", help="Show at most this many."
)


@click.command(name="items", cls=Command)
@_find
@_state
@_after
@_limit
@json_option
def main(find: tuple[str, ...], *, state: str | None, after: str | None, limit: int, as_json: bool) -> None:
    """List items that hold all words of FIND, or all items, whatever their state; those of TASK=.

    People are looked for in username, name, title, company and tags, passages in id, source and text, rows of your own
    task in all columns, in any case. A page ends by saying how to get the next one.
    """
    _list(None, find, state, after, limit, as_json=as_json)


@click.command(name="people", cls=Command)
@_find
@_state
@_after
@_limit
@json_option
def people(find: tuple[str, ...], *, state: str | None, after: str | None, limit: int, as_json: bool) -> None:
    """List people whose username, name, title, company or tags hold all words of FIND, or all people."""
    _list("experts", find, state, after, limit, as_json=as_json)


def _list(
    task: str | None, find: tuple[str, ...], state: str | None, after: str | None, limit: int, *, as_json: bool
) -> None:
    """Print one page of a task's items."""
    with read_workspace(task=task) as ws:
        page, words = items.run(ws, find, state=state, after=after, limit=limit), ws.task.words
    if as_json:
        print_json(page.document)
        return
    if not page.items:
        print_line(f"no {words.one} was found")
        return
    headers = [SHORTER.get(name, name) for name in (*page.items[0].values, "state")]
    print_table(headers, [[*map(_cell, one.values.values()), one.state] for one in page.items])
    if page.after is not None:
        step = f"AFTER={page.after}" if is_by_make() else f"--after {page.after}"
        Terminal().say(f"there are more: the same with {step}")


def _cell(value: object) -> str:
    """Return a value as a cell of the table; on a terminal a long text is cut."""
    text = ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return f"{text[:SHOWN]}…" if sys.stdout.isatty() and len(text) > SHOWN else text
