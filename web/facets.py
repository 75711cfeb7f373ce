"""Links that filter a list of rows: values of facets with their numbers of rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.core.row_listing import FieldCount, RowCounts
from web.row_query import RowQuery

# Values of a facet before its "more" link.
MAX_FACET_VALUES = 8
# Query parameters with several values; choosing a value keeps the others.
MULTIPLE_PARAMETERS = frozenset({"tag", "only", "id", "differ", "fields"})


class FilterLink(NamedTuple):
    """A value of a query parameter, with the address that sets it, or removes it if it is set."""

    label: str
    # Rows with this value in the list.
    row_count: int
    href: str
    is_selected: bool
    # The value is a range of numbers.
    is_range: bool = False


def make_link(
    query: RowQuery, task: str, parameter: str, text: str, *, label: str = "", row_count: int = 0
) -> FilterLink:
    """Return the link that sets or removes a value of a query parameter.

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


def build_facets(counts: RowCounts, query: RowQuery, task: str) -> dict[str, list[FilterLink]]:
    """Return the facets of a task's rows by name: tags, states, versions.

    - A chosen value is listed even if no row has it. A facet without values is left out.
    - If answer fields were counted, the facet of tags has only chosen tags, because tags are such a
      field.
    - The facet of versions is left out if there are fewer than two and none is chosen.
    - Rows that left their source have the state "gone".
    """
    state_counts = {state: count for state, count in counts.states.items() if count}
    if counts.gone:
        state_counts["gone"] = counts.gone
    version_counts = counts.versions or {}
    if len(version_counts) <= 1 and not query.extractor:
        version_counts = {}

    facets: dict[str, list[FilterLink]] = {}
    for facet, parameter, selected, row_counts in (
        ("tags", "tag", query.tag, {} if counts.fields else counts.tags or {}),
        ("states", "state", [query.state], state_counts),
        ("versions", "extractor", [query.extractor], version_counts),
    ):
        missing_texts = [text for text in selected if text and text not in row_counts]
        all_counts = {**dict.fromkeys(missing_texts, 0), **row_counts}
        links = [
            make_link(query, task, parameter, text, row_count=count)
            for text, count in all_counts.items()
        ]
        if links:
            facets[facet] = links
    return facets


def build_field_facets(
    counts_by_field: Mapping[str, Sequence[FieldCount]],
    query: RowQuery,
    task: str,
) -> dict[str, list[FilterLink]]:
    """Return the facets of answer fields by name.

    Conditions that were chosen, but that no field offers now, are in an additional facet "chosen",
    with 0 rows each.
    """

    def make_links(counts: Iterable[FieldCount]) -> list[FilterLink]:
        """Return the links of the values of a field."""
        return [
            make_link(
                query, task, "only", count.condition, label=count.value, row_count=count.items
            )._replace(is_range=count.is_range)
            for count in counts
        ]

    facets = {name: make_links(counts) for name, counts in counts_by_field.items()}
    offered_conditions = {
        count.condition for counts in counts_by_field.values() for count in counts
    }
    other_counts = [
        FieldCount(condition, 0, condition)
        for condition in query.only
        if condition not in offered_conditions
    ]
    if other_counts:
        facets["chosen"] = make_links(other_counts)
    return facets
