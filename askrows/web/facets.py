"""Facets beside a list of rows: values with their numbers of rows, as bars that filter the list."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from askrows.pipeline.core.row_listing import FieldCount, RowCounts
from askrows.web.render import state_label, version_label
from askrows.web.row_query import RowQuery, find_condition_column

# Values of a facet before its "more" link; the values of a histogram are all displayed.
MAX_FACET_VALUES = 8
# Query parameters with several values; choosing a value keeps the others.
MULTIPLE_PARAMETERS = frozenset({"tag", "only", "id", "differ", "fields"})
# Display names of truth values.
BOOLEAN_LABELS = {"true": "yes", "false": "no"}


class FilterLink(NamedTuple):
    """A value of a query parameter, with the address that sets it, or removes it if it is set."""

    label: str
    # Rows with this value in the list.
    row_count: int
    href: str
    is_selected: bool


class Facet(NamedTuple):
    """Values that filter a list, with their numbers of rows."""

    name: str
    values: Sequence[FilterLink]
    # For values that are numbers or ranges of numbers, in ascending order: their column, and the
    # address of the list without a condition on it.
    number_column: str = ""
    unlimited_address: str = ""

    @property
    def highest(self) -> int:
        """Return the number of rows of the longest bar; at least 1."""
        return max([1, *(value.row_count for value in self.values)])

    @property
    def visible_count(self) -> int:
        """Return how many values are displayed before the "more" link."""
        return len(self.values) if self.number_column else MAX_FACET_VALUES


def make_filter_link(
    query: RowQuery, task: str, parameter: str, text: str, *, label: str = "", row_count: int = 0
) -> FilterLink:
    """Return the link that sets a value of a query parameter, or removes it if it is set.

    The address keeps the other parameters, and the other values of a parameter that can have
    several.

    Args:
        query: The present query.
        task: The task of the addresses.
        parameter: The query parameter.
        text: The value in addresses.
        label: The displayed text; that of the address if empty.
        row_count: Rows with this value.
    """
    selected_texts = [value for name, value in query.pairs if name == parameter]
    is_selected = text in selected_texts
    texts = [value for value in selected_texts if value != text]
    if not is_selected:
        texts = [*texts, text] if parameter in MULTIPLE_PARAMETERS else [text]
    address = query.address("/", task, **{parameter: texts})
    return FilterLink(label or text, row_count, address, is_selected)


def build_facets(counts: RowCounts, query: RowQuery, task: str) -> list[Facet]:
    """Return the facets of a task's rows: answer fields, judgements, tags, states, versions.

    - A chosen value is listed even if no row has it. A facet may have no values.
    - The facet of tags has only chosen tags, because tags are values of other facets.
    - Rows that left their source have the state "gone".
    """
    state_counts = {state: count for state, count in counts.states.items() if count}
    if counts.gone:
        state_counts["gone"] = counts.gone
    facets = _build_field_facets(counts.fields, query, task)
    for name, parameter, selected, row_counts, to_label in (
        ("tags", "tag", query.tag, {}, str),
        ("states", "state", [query.state], state_counts, state_label),
        (
            "versions",
            "answer_version",
            [query.answer_version],
            counts.versions or {},
            version_label,
        ),
    ):
        missing_texts = [text for text in selected if text and text not in row_counts]
        all_counts = {**dict.fromkeys(missing_texts, 0), **row_counts}
        links = [
            make_filter_link(query, task, parameter, text, label=to_label(text), row_count=count)
            for text, count in all_counts.items()
        ]
        facets.append(Facet(name, links))
    return facets


def _build_field_facets(
    counts_by_field: Mapping[str, Sequence[FieldCount]],
    query: RowQuery,
    task: str,
) -> list[Facet]:
    """Return a facet of links for each answer field and each judgement.

    A facet of numbers also has the address that removes its limits.
    """
    facets = []
    for name, counts in counts_by_field.items():
        links = [
            make_filter_link(
                query,
                task,
                "only",
                count.condition,
                label=BOOLEAN_LABELS.get(count.value, count.value),
                row_count=count.rows,
            )
            for count in counts
        ]
        facet = Facet(name, links)
        if counts[0].is_number:
            kept_conditions = [text for text in query.only if find_condition_column(text) != name]
            address = query.address("/", task, only=kept_conditions)
            facet = facet._replace(number_column=name, unlimited_address=address)
        facets.append(facet)
    return facets
