"""Group the values of a task's rows, so that a list can be filtered by them."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from pipeline.core.row_listing import FieldCount, RowCounts
from web.row_query import RowQuery

# Values of a facet before its "more" link.
MAX_FACET_VALUES = 8


class FacetValue(NamedTuple):
    """A value of a facet, with the number of its rows."""

    label: str
    row_count: int
    # Address of the rows with this value added as a filter, or removed if it is selected.
    href: str
    is_selected: bool
    is_range: bool = False


class _FacetOption(NamedTuple):
    """A possible value of a facet: its label, its text in the address, and its row count."""

    label: str
    text: str
    row_count: int
    is_range: bool = False


def build_facets(counts: RowCounts, query: RowQuery, task: str) -> dict[str, list[FacetValue]]:
    """Return the facets of a task's rows by name: tags, states, versions.

    - A chosen value is listed even if no row has it. A facet without values is left out.
    - If answer fields were counted, the facet of tags has only chosen tags, because tags are such a
      field.
    - The facet of versions is left out if there are fewer than two and none is chosen.
    - Rows that left their source have the state "gone".
    """
    facets: dict[str, list[FacetValue]] = {}
    tag_counts = {} if counts.fields else counts.tags or {}
    state_counts = {state: count for state, count in counts.states.items() if count}
    if counts.gone:
        state_counts["gone"] = counts.gone
    version_counts = counts.versions or {}
    can_choose_version = len(version_counts) > 1 or bool(query.extractor)
    for facet, parameter, selected, row_counts in (
        ("tags", "tag", query.tag, tag_counts),
        ("states", "state", [query.state], state_counts),
        ("versions", "extractor", [query.extractor], version_counts if can_choose_version else {}),
    ):
        options = [_FacetOption(text, text, count) for text, count in row_counts.items()]
        missing_texts = [text for text in selected if text and text not in row_counts]
        missing = [_FacetOption(text, text, 0) for text in missing_texts]
        values = _facet_values(query, task, parameter, selected, [*missing, *options])
        if values:
            facets[facet] = values
    return facets


def build_field_facets(
    counts_by_field: Mapping[str, Sequence[FieldCount]],
    query: RowQuery,
    task: str,
) -> dict[str, list[FacetValue]]:
    """Return the facets of answer fields by name.

    Conditions that were chosen, but that no field offers now, are in an additional facet "chosen",
    with 0 rows each.
    """
    facets = {}
    for field_name, counts in counts_by_field.items():
        options = [
            _FacetOption(count.value, count.condition, count.items, count.is_range)
            for count in counts
        ]
        facets[field_name] = _facet_values(query, task, "only", query.only, options)

    all_counts = chain.from_iterable(counts_by_field.values())
    offered_conditions = {count.condition for count in all_counts}
    other_conditions = [text for text in query.only if text not in offered_conditions]
    if other_conditions:
        options = [_FacetOption(condition, condition, 0) for condition in other_conditions]
        facets["chosen"] = _facet_values(query, task, "only", query.only, options)
    return facets


def _facet_values(
    query: RowQuery,
    task: str,
    parameter: str,
    selected: Sequence[str],
    options: Sequence[_FacetOption],
) -> list[FacetValue]:
    """Return the values of a facet, each with the address that chooses it or removes it.

    The addresses keep the other parameters of the query.

    Args:
        query: The query.
        task: The task of the addresses.
        parameter: The query parameter that contains the chosen values. Choosing a value of `tag`
            or `only` keeps the chosen values; other parameters have a single value.
        selected: Texts of that parameter in the query.
        options: The values to return.
    """
    selected_texts = [text for text in selected if text]
    kept_texts = selected_texts if parameter in {"tag", "only"} else []
    values = []
    for option in options:
        is_selected = option.text in selected_texts
        other_texts = [text for text in kept_texts if text != option.text]
        texts = other_texts if is_selected else [*kept_texts, option.text]
        address = query.address("/", task, **{parameter: texts})
        values.append(
            FacetValue(option.label, option.row_count, address, is_selected, option.is_range),
        )
    return values
