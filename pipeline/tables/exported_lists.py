"""Turn each member of a list into a row of an export.

For example, a row with `id` 1 and `places` [{"name": "Rome"}, {"name": "Bonn"}] becomes two rows:
`id` 1 with `name` Rome, and `id` 1 with `name` Bonn. The parts of an object in a member become
columns with joined names, such as `birth_year`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.tables.cells import (
    find_value_kind,
    merge_kinds,
)

ExportedRow = dict[str, Any]
# The rows, and the kinds of their columns.
ExportedRows = tuple[Iterator[ExportedRow], dict[str, str]]


def split_lists(
    read_rows: Callable[[], Iterator[ExportedRow]],
    kinds: Mapping[str, str],
    list_column: str,
    inner_lists: Sequence[str],
) -> ExportedRows:
    """Split each row into a row for each member of a list, with the members' columns instead.

    The columns of the members are in the place of the list. A member's column gets the list's name
    as a prefix, such as `places_name`, if another column has its name. A row without members is
    left out. Reads all rows once to find the columns of the members, and again while the result is
    iterated.

    Args:
        read_rows: Reads the rows from the start.
        kinds: Kinds of the rows' columns.
        list_column: Column with the list.
        inner_lists: Names of the lists within the members, from the outermost to the innermost.

    Returns:
        The rows, and the kinds of their columns in order.

    Raises:
        InputError: A value of the column is not a list, or a member lacks an inner list. Raised
            here, at the first reading.
    """
    member_kinds = _find_member_kinds(read_rows(), list_column, inner_lists)
    other_names = {name.casefold() for name in kinds if name != list_column}
    member_columns = {
        name: f"{list_column}_{name}" if name.casefold() in other_names else name
        for name in member_kinds
    }
    all_kinds: dict[str, str] = {}
    for name, kind in kinds.items():
        if name == list_column:
            for member_name, column in member_columns.items():
                all_kinds[column] = member_kinds[member_name] or "text"
        else:
            all_kinds[name] = kind

    def split_rows() -> Iterator[ExportedRow]:
        for row in read_rows():
            for member in _iterate_members(row.pop(list_column), list_column, inner_lists):
                member_cells = {
                    member_columns[name]: value
                    for name, value in member.items()
                    if name in member_columns
                }
                yield dict.fromkeys(all_kinds) | row | member_cells

    return split_rows(), all_kinds


def _find_member_kinds(
    rows: Iterator[ExportedRow],
    list_column: str,
    inner_lists: Sequence[str],
) -> dict[str, str | None]:
    """Return the kinds of the members' values by name; the kind is None if all values are None.

    Reads all rows. An object in a member gives a kind for each of its parts, such as `birth_year`
    for the year in `birth`. The object itself gives no kind, even if it is None in some members.
    """
    kinds: dict[str, str | None] = {}
    for row in rows:
        for member in _iterate_members(row[list_column], list_column, inner_lists):
            for name, value in member.items():
                kinds[name] = merge_kinds(kinds.get(name), find_value_kind(value))

    # An object that is None in some members is already described by its parts in other members.
    return {name: kind for name, kind in kinds.items() if kind or not _has_parts(name, kinds)}


def _has_parts(name: str, all_names: Collection[str]) -> bool:
    """Return whether one of the names belongs to a part of the object `name`."""
    return any(other_name.startswith(f"{name}_") for other_name in all_names)


def _iterate_members(
    value: Any, list_name: str, inner_lists: Sequence[str] = ()
) -> Iterator[ExportedRow]:
    """Yield the members of a list by column; nothing if the list is None.

    If there are inner lists, the members of the innermost list are yielded, each with the values
    of the members that contain it.

    Args:
        value: The list, or None. If there are inner lists, it may be an object instead, which is
            read as the only member of a list.
        list_name: Name of the list, and of the column of members that are not objects.
        inner_lists: Names of the lists within the members, from the outermost to the innermost.

    Raises:
        InputError: The value is not a list, or a member lacks an inner list.
    """
    members = value
    if inner_lists and isinstance(value, dict):
        members = [value]
    if members is not None and not isinstance(members, list):
        raise InputError(
            f"{OptionHint(rows=list_name)}: an answer has no list in that field; "
            "nothing was written",
            hint=f"export without {OptionHint('rows')}",
        )

    for member in members or ():
        fields = dict(member) if isinstance(member, dict) else {list_name: member}
        if not inner_lists:
            yield dict(_flatten(fields))
            continue

        inner_name = inner_lists[0]
        if inner_name not in fields:
            raise InputError(
                f"{OptionHint('rows')}: a member of {list_name!r} has no {inner_name!r}; "
                "nothing was written",
                hint=f"the members have {', '.join(fields)}",
            )
        inner_value = fields.pop(inner_name)
        outer_cells = dict(_flatten(fields))
        for inner_member in _iterate_members(inner_value, inner_name, inner_lists[1:]):
            inner_cells = {
                f"{inner_name}_{name}" if name in outer_cells else name: value
                for name, value in inner_member.items()
            }
            yield outer_cells | inner_cells


def _flatten(
    document: Mapping[str, Any],
    prefix: str = "",
    parent: str = "",
) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) for the values of an object and of all objects in it.

    Names of nested values are joined by `_`, except that a value with the name of its own object is
    called like the object: {"place": {"place": "Rome", "year": 1}} gives `place` and `place_year`.
    An empty object and a list are values.

    Args:
        document: The object.
        prefix: Joined names of the object and the objects around it; empty for the outermost.
        parent: Name of the object itself; empty for the outermost.
    """
    for name, value in document.items():
        full_name = name
        if name == parent:
            full_name = prefix
        elif prefix:
            full_name = f"{prefix}_{name}"

        if isinstance(value, dict) and value:
            yield from _flatten(value, full_name, name)
        else:
            yield full_name, value
