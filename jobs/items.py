"""List items by a part of what they are called, or what they are counted by; `make people` is the same for people."""

import functools
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click

from jobs import values
from jobs.command import Command, json_option, read_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_table
from jobs.typed import is_by_make
from jobs.values import COUNT
from pipeline.core.listed import ItemCounts, ItemFilter, ItemsPage
from pipeline.ops import items
from pipeline.ops.export import FileReport

SHOWN = 60  # characters of a text on a terminal
SHORTER = {"job_title": "title", "findability_score": "score"}  # as in the table of a search


def print_page(page: ItemsPage, word: str, *, as_json: bool) -> None:
    """Print a page of items as a table that ends by saying how to get the next one."""
    if as_json:
        print_json(page.document)
        return
    if not page.items:
        print_line(f"no {word} was found")
        return
    headers = [SHORTER.get(name, name) for name in (*page.names, "state")]
    print_table(headers, [[*map(_cell, one.values.values()), one.state] for one in page.items])
    if page.after is not None:
        step = f"AFTER={page.after}" if is_by_make() else f"--after {page.after}"
        Terminal().say(f"there are more: the same with {step}")


def print_counts(found: ItemCounts, *, as_json: bool) -> None:
    """Print how many items there are, and of each state, tag and version."""
    if as_json:
        print_json(found.document)
        return
    rows = [("all", "", f"{found.total:,}")]
    for name in ("states", "tags", "versions"):
        rows += [(name.removesuffix("s"), value, f"{count:,}") for value, count in (getattr(found, name) or {}).items()]
    print_table(("by", "what", "items"), rows)


def _cell(value: object) -> str:
    """Return a value as a cell of the table; on a terminal a long text is cut."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return f"{text[:SHOWN]}…" if sys.stdout.isatty() and len(text) > SHOWN else text


PAGE = 20

_OPTIONS = (
    click.argument("find", nargs=-1, type=values.username, envvar="FINDABLE_FIND"),
    click.option("--state", envvar="FINDABLE_STATE", help="Only those in this state, such as untagged or parked."),
    click.option(
        "--tag", default="", envvar="FINDABLE_TAG", metavar="TAG,…", help="Only those with each of these tags."
    ),
    click.option(
        "--extractor", type=values.extractor, envvar="FINDABLE_EXTRACTOR", help="Only what one version answered."
    ),
    click.option(
        "--min-score", type=values.number, envvar="FINDABLE_MIN_SCORE", help="Only with this score or a higher one."
    ),
    click.option(
        "--max-score", type=values.number, envvar="FINDABLE_MAX_SCORE", help="Only with this score or a lower one."
    ),
    click.option("--sort", envvar="FINDABLE_SORT", help="By this column; -COLUMN has the largest first."),
    click.option("--fields", default="", envvar="FINDABLE_FIELDS", metavar="NAME,…", help="Show these columns."),
    click.option(
        "--after", type=values.username, envvar="FINDABLE_AFTER", help="Go on behind this id, as the page before says."
    ),
    click.option(
        "--limit", type=COUNT, default=PAGE, show_default=True, envvar="FINDABLE_LIMIT", help="Show at most this many."
    ),
    click.option(
        "--counts", is_flag=True, envvar="FINDABLE_COUNTS", help="Count them by state, tag and version instead."
    ),
    click.option(
        "--to", type=click.Path(path_type=Path), envvar="FINDABLE_TO", help="Write them all to this file, as CSV."
    ),
    json_option,
)


class _Wanted(NamedTuple):
    find: tuple[str, ...]
    state: str | None
    tag: str
    extractor: str | None
    min_score: float | None
    max_score: float | None
    sort: str | None
    fields: str
    after: str | None
    limit: int
    counts: bool
    to: Path | None
    as_json: bool

    @property
    def which(self) -> ItemFilter:
        """Return which items are wanted."""
        return ItemFilter(self.find, self.state, _names(self.tag), self.extractor, self.min_score, self.max_score)

    @property
    def columns(self) -> list[str] | None:
        """Return the columns to show; None for the usual ones."""
        return _names(self.fields) or None


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    return functools.reduce(lambda one, option: option(one), reversed(_OPTIONS), command)


@click.command(name="items", cls=Command)
@_with_options
def main(**given: Any) -> None:
    """List items that hold all words of FIND, or all items, whatever their state; those of TASK=.

    People are looked for in username, name, title, company and tags, passages in id, source and text, rows of your own
    task in all columns, in any case. A page ends by saying how to get the next one. With --to all of them are written
    to a CSV file; with --counts they are counted, by tags and versions up to 100,000 rows.
    """
    _list(None, _Wanted(**given))


@click.command(name="people", cls=Command)
@_with_options
def people(**given: Any) -> None:
    """List people whose username, name, title, company or tags hold all words of FIND, or all people."""
    _list("experts", _Wanted(**given))


def _list(task: str | None, wanted: _Wanted) -> None:
    """Print one page of a task's items, or what they are counted by, or write all to a file."""
    with read_workspace(task=task) as ws:
        found, word = items.run(ws), ws.task.words.one
        told: Any = {"sort": wanted.sort, "fields": wanted.columns}
        if wanted.to is not None:
            _print_done(found.export(wanted.to, wanted.which, **told), as_json=wanted.as_json)
        elif wanted.counts:
            print_counts(found.counts(wanted.which), as_json=wanted.as_json)
        else:
            page = found.page(wanted.which, limit=wanted.limit, after=wanted.after, **told)
            print_page(page, word, as_json=wanted.as_json)


def _print_done(done: FileReport, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(done))
    else:
        print_line(f"{plural(done.count, done.word)} written to {done.path}")


def _names(text: str) -> list[str]:
    """Return the names in a text, which commas part."""
    return [name for one in text.split(",") if (name := one.strip())]
