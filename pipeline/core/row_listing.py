"""Say which items a person wants to see listed, and what a page of them is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

WITHIN_S = 0.2  # of what a page waits for


class RowFilter(NamedTuple):
    """Which items to list: those that hold all of some words and tags, in one state, of a version, with such a score.

    `where` is a condition on their columns and on the fields of their answers, as
    `pipeline.core.where_parser` reads it. None
    is any. `extractor` is a version, or one with its model behind a slash. With `ids` only these.
    """

    words: Sequence[str] = ()
    state: str | None = None
    tags: Sequence[str] = ()
    extractor: str | None = None
    min_score: float | None = None
    max_score: float | None = None
    where: str = ""
    ids: Sequence[str] = ()


class RowListOptions(NamedTuple):
    """At most how many items to list, of which kind, in which order, and what of each.

    They come behind the item `after`, in the order of their rows or by the values of the column `sort`, the largest
    first with `-` before it; where that has no index it may take `within_s` seconds, None any time. `fields` are the
    columns to show, None the usual ones. `only` is the id of the one that is wanted, with all its values.
    """

    limit: int
    which: RowFilter = RowFilter()
    after: str | None = None
    sort: str | None = None
    fields: Sequence[str] | None = None
    only: str | None = None
    within_s: float | None = WITHIN_S


class ListedRow(NamedTuple):
    """One item in a list: its id, its state, and by their names the values that tell what it is.

    `input_hash` is of its input as it is now, `changed_at` (aware) when that changed last; None where not known.
    """

    id: str
    state: str
    values: Mapping[str, Any]
    input_hash: str | None = None
    changed_at: datetime | None = None


class RowsPage(NamedTuple):
    """Items in their order, with the names of their values; `after` is the item behind which more are, or None."""

    items: list[ListedRow]
    after: str | None
    names: Sequence[str] = ()

    @property
    def document(self) -> dict[str, Any]:
        """Return the page for programs."""
        items = [{"id": one.id, **one.values, "state": one.state} for one in self.items]
        return {"items": items, "after": self.after}


class FieldCount(NamedTuple):
    """How many items have a value of a field of their answers, or one of a range; `where` shows these alone."""

    value: str
    items: int
    where: str


class RowCounts(NamedTuple):
    """How many items there are as they are wanted, of each state, and of each of the most common tags and versions.

    These are None where the items have none, or are too many to be counted so. `fields` are those of answers whose
    values could be counted. Items that are `gone` from their source are told beside the total.
    """

    total: int
    states: Mapping[str, int]
    tags: Mapping[str, int] | None
    versions: Mapping[str, int] | None
    fields: Mapping[str, Sequence[FieldCount]] = {}
    gone: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """Return the counts for programs."""
        told = {"states": self.states, "tags": self.tags, "versions": self.versions}
        listed = {
            name: [{"value": one, "count": count} for one, count in found.items()]
            for name, found in told.items()
            if found is not None
        }
        fields = {
            name: [{"value": one.value, "count": one.items, "where": one.where} for one in found]
            for name, found in self.fields.items()
        }
        beside = {name: found for name, found in (("fields", fields), ("gone", self.gone)) if found}
        return {"total": self.total, **listed, **beside}
