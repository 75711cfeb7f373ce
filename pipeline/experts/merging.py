"""Write people's tags as the merges in force have them: when a person merges or undoes, and when answers come.

What a person had before stands beside their tags, so that the answer and what was made of it can be told apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import orjson
from sqlalchemy import Connection

from pipeline.experts import table
from pipeline.store import merges, workspace
from pipeline.store.database import pages
from pipeline.store.merges import MergedItem
from pipeline.tables.cells import list_of


def merged(tags: Sequence[str], rules: Mapping[str, str]) -> MergedItem:
    """Return tags with what is written in their place."""
    return MergedItem(list(tags), merges.merged_values(tags, rules))


def as_json(tags: Sequence[str]) -> str:
    """Return tags as the JSON list that the table keeps."""
    return orjson.dumps(tags).decode()


def given_tags(tx: Connection, rows: Mapping[str, Mapping[str, object]]) -> dict[str, list[str] | None]:
    """Return for rows of people, by id, their tags as they were before any merge; None where they are no list.

    Tags that another program changed after a merge are as it left them.
    """
    kept = merges.merged_among(tx, table.TASK, list(rows))
    return {key: unmerged(list_of(row["tags"]), kept.get(key)) for key, row in rows.items()}


def unmerged(tags: list[str] | None, kept: MergedItem | None) -> list[str] | None:
    """Return tags as they were before any merge, by what is kept of that; see `given_tags`."""
    return kept.given if kept is not None and kept.merged == tags else tags


def rewrite(tx: Connection, rules: Mapping[str, str]) -> tuple[int, int]:
    """Bring all people's tags in line with the rules, in the caller's transaction.

    Returns how many people have other tags now, and how many rows of another program did not take them.
    """
    changed = dict(changes(tx, rules))
    written: set[str] = set()
    for page in pages(list(changed)):
        rows = table.by_ids(tx, page, ("id", "tags"), locked=True)
        due = {key: changed[key] for key, tags in given_tags(tx, rows).items() if tags == changed[key].given}
        took = table.replace_tags(tx, {key: as_json(one.merged) for key, one in due.items()}, rows=rows)
        merges.keep_merged(tx, table.TASK, {key: due[key] for key in took})
        written |= took
    workspace.touch_revision(tx, table.TASK, written)
    return len(written), len(changed) - len(written)


def changes(tx: Connection, rules: Mapping[str, str]) -> Iterator[tuple[str, MergedItem]]:
    """Yield the people who have other tags under the rules, by id, with what they had and what they get."""
    cells = iter(table.people(tx).cells(tx, ("id", "tags"), table.tagged()))
    while page := {str(key): {"tags": cell} for key, cell in islice(cells, table.PAGE)}:
        for key, given in given_tags(tx, page).items():
            found = merged(given or (), rules)
            if given and found.merged != list_of(page[key]["tags"]):
                yield key, found
