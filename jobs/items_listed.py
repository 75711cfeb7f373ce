"""Print a list of items, or what they are counted by."""

import sys

from jobs.output import Terminal, print_json, print_line, print_table
from jobs.typed import is_by_make
from pipeline.core.listed import ItemCounts, ItemsPage

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
