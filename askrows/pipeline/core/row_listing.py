"""Options and results of listing rows: filters, pages and counts."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.quotes import format_value_for_people
from askrows.pipeline.core.report import Report, Table, make_table

# Time limit of the parts of a page.
SORT_TIMEOUT_S = 0.2
# Longer cells of a list are cut on a terminal.
MAX_CELL_CHARS = 61


class RowFilter(NamedTuple):
    """Conditions on listed rows. A row must meet all of them. Empty values are ignored."""

    # The row has all of these words, and all of these tags: values of facets.
    words: Sequence[str] = ()
    state: str | None = None
    tags: Sequence[str] = ()
    # `task@n/model`, or `task@n` for all models.
    answer_version: str | None = None
    # A condition on columns and on fields of answers; see `askrows.pipeline.core.where_parser`.
    where: str = ""
    # More such conditions, by the field that each is on. The values of a field are counted without
    # its own condition, so that other values can be chosen.
    choices: Mapping[str, str] = {}
    # The row is among these.
    ids: Sequence[str] = ()
    # Whether the row is doubtful; rows without an answer match neither.
    is_doubtful: bool | None = None
    # Whether a person corrected the answer in force, or reviewed any answer; rows without an answer
    # match neither.
    is_checked: bool | None = None
    # Two versions whose newest answers to the row differ.
    differing_versions: Sequence[str] = ()


NO_FILTER = RowFilter()


class RowListOptions(NamedTuple):
    """Filter, order and size of a page of rows."""

    # Maximum number of rows; None lists all.
    limit: int | None
    row_filter: RowFilter = NO_FILTER
    # The page begins after the row of this id.
    after: str | None = None
    # Sort by this column, in descending order with a leading `-`. The default is the row order.
    sort: str | None = None
    # Displayed columns. The default is the usual columns.
    fields: Sequence[str] | None = None
    # Time limit for sorting by a column without an index. There can be no limit.
    within_s: float | None = SORT_TIMEOUT_S
    # List the rows in the reverse order.
    is_reversed: bool = False


class RowPosition(NamedTuple):
    """The place of a row among the rows of a filter, in their order."""

    # From 1; None if the row does not meet the filter.
    number: int | None
    total: int


class ListedRow(NamedTuple):
    """A row of a list."""

    id: str
    state: str
    # By column.
    values: Mapping[str, Any]


class RowsPage(NamedTuple):
    """A page of rows."""

    rows: list[ListedRow]
    # Id of the last row if there are more rows, else None.
    after: str | None
    # Names of the values.
    names: Sequence[str]
    # The name of the value that says whether a person reviewed the answer; "" if there is none.
    review_name: str
    # The name of the state in documents.
    state_name: str
    # "row 17" for each row without a key, by id.
    place_titles: Mapping[str, str]

    @property
    def document(self) -> dict[str, Any]:
        """The page for programs."""
        rows = [{"id": row.id, **row.values, self.state_name: row.state} for row in self.rows]
        return {"rows": rows, "after": self.after}

    def to_report(self, key_names: Sequence[str], *, has_chosen_columns: bool) -> Report:
        """Return the report of `items`: the rows, and how to get the next page.

        Args:
            key_names: Columns of the key. A row without a key has "row 17" in them.
            has_chosen_columns: A person chose the columns. Otherwise the review is a column only if
                a row is reviewed.
        """
        names = list(self.names)
        has_review = any(row.values.get(self.review_name) for row in self.rows)
        if not has_chosen_columns and self.review_name in names and not has_review:
            names.remove(self.review_name)
        headers = [*names, self.state_name]
        rows = []
        for row in self.rows:
            values = dict(row.values)
            if row.id in self.place_titles:
                values |= dict.fromkeys(key_names, self.place_titles[row.id])
            rows.append([*(_format_row_value(values.get(name)) for name in names), row.state])
        report = Report(self.document, parts=[Table(headers, rows, MAX_CELL_CHARS)])
        if self.after is not None:
            title = self.place_titles.get(self.after, self.after)
            report.notes.append(f"next page: the same command with {OptionHint(after=title)}")
        return report


def _format_row_value(value: object) -> str:
    """Return the text of a row's value for a list: None is empty, list members have commas."""
    members = value if isinstance(value, list) else [value]
    return ", ".join(format_value_for_people(member) for member in members if member is not None)


class FieldCount(NamedTuple):
    """Number of rows with a value, or a range of values, in a cell such as a field of answers."""

    value: str
    rows: int
    # The WHERE= condition that lists these rows.
    condition: str
    # Whether `value` is a number or a range of numbers, and the counts ascend.
    is_number: bool = False


class RowCounts(NamedTuple):
    """Numbers of the rows that match a filter."""

    total: int
    states: Mapping[str, int]
    # The most frequent versions; None if the rows are too many to count.
    versions: Mapping[str, int] | None
    # Values of the facets, such as fields of answers, that could be counted.
    fields: Mapping[str, Sequence[FieldCount]]
    # Rows that left their source. They are not in the total.
    gone: int

    @property
    def document(self) -> dict[str, Any]:
        """Return the counts of rows as a JSON document for programs.

        `total` and `states` are always there. `states` and `versions` are lists of {value, count};
        `versions` are left out if they are None. `fields` has for each field a list of {value,
        count, where}; `where` is the WHERE= condition that lists these rows. `gone` is the number
        of rows that left their source. `fields` and `gone` are left out if they are empty or 0.
        """
        counts_by_name = {"states": self.states, "versions": self.versions}
        lists_by_name = {
            name: [{"value": value, "count": count} for value, count in counts.items()]
            for name, counts in counts_by_name.items()
            if counts is not None
        }
        document: dict[str, Any] = {"total": self.total, **lists_by_name}
        if self.fields:
            document["fields"] = {
                name: [
                    {"value": count.value, "count": count.rows, "where": count.condition}
                    for count in counts
                ]
                for name, counts in self.fields.items()
            }
        if self.gone:
            document["gone"] = self.gone
        return document

    def to_report(self) -> Report:
        """Return the report of `items --counts`: the rows in all, by state, version and field.

        Versions and fields have no lines if they were not counted, because the rows are too many.
        """
        rows = [{"by": "all", "value": "", "rows": self.total}]
        for kind, counts_by_name in (("state", self.states), ("version", self.versions)):
            rows += [
                {"by": kind, "value": name, "rows": count}
                for name, count in (counts_by_name or {}).items()
            ]
        for name, value_counts in self.fields.items():
            rows += [
                {"by": name, "value": count.value, "rows": count.rows} for count in value_counts
            ]
        return Report(self.document, parts=[make_table(rows, "by value rows")])
