"""Columns of the table of rows: which are displayed, in which order, and which column is pinned."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# A table with more columns uses the width of the filters, too.
MAX_NARROW_COLUMNS = 6
EMPTY_VALUES: tuple[Any, ...] = (None, "", [], {})


class ColumnMenuEntry(NamedTuple):
    """A column in the menu of columns, with the addresses of its changes.

    An address is None if the change is impossible.
    """

    name: str
    label: str
    is_displayed: bool
    is_pinned: bool
    # Shows a hidden column or hides a displayed column.
    toggle_href: str | None
    left_href: str | None
    right_href: str | None
    pin_href: str


def pin_first(names: Iterable[str], pinned_name: str) -> list[str]:
    """Return the names with the pinned name first, if it is among them."""
    return sorted(names, key=lambda name: name != pinned_name)


def find_empty(
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    kept_names: Iterable[str],
) -> list[str]:
    """Return the columns that have no value in any of some rows, to hide them.

    The first column is never returned. If there are no rows, the result is empty.

    Args:
        names: The columns, in their order.
        rows: Rows with `values` by column name.
        kept_names: Columns that are never returned.
    """
    if not rows:
        return []
    return [
        name
        for name in names[1:]
        if name not in kept_names and all(row["values"].get(name) in EMPTY_VALUES for row in rows)
    ]


def make_column_menu(
    displayed_names: Sequence[str],
    hidden_names: Sequence[str],
    pinned_name: str,
    *,
    make_label: Callable[[str], str],
    make_address: Callable[[Sequence[str], str], str],
) -> list[ColumnMenuEntry]:
    """Return the menu of columns: the displayed columns in their order, then the hidden columns.

    Each entry has the addresses that show or hide, move and pin its column. The only displayed
    column cannot be hidden. The pinned column is always the first of the table, and cannot be
    moved. Pinning a hidden column displays it.

    Args:
        displayed_names: Names of the displayed columns, in order.
        hidden_names: Names of the other columns.
        pinned_name: The pinned column, or "".
        make_label: Returns the display name of a column.
        make_address: Takes the names of the displayed columns and of the pinned column, and returns
            the address of the table with them.
    """
    entries = []
    for index, name in enumerate(displayed_names):
        is_pinned = name == pinned_name
        other_names = [*displayed_names[:index], *displayed_names[index + 1 :]]
        # Nothing moves before the pinned column.
        first_index = 1 if displayed_names[0] == pinned_name else 0
        can_move_left = index > first_index and not is_pinned
        can_move_right = index < len(displayed_names) - 1 and not is_pinned
        entries.append(
            ColumnMenuEntry(
                name,
                make_label(name),
                is_displayed=True,
                is_pinned=is_pinned,
                toggle_href=(
                    make_address(other_names, "" if is_pinned else pinned_name)
                    if other_names
                    else None
                ),
                left_href=(
                    make_address(_move_column(displayed_names, index, -1), pinned_name)
                    if can_move_left
                    else None
                ),
                right_href=(
                    make_address(_move_column(displayed_names, index, 1), pinned_name)
                    if can_move_right
                    else None
                ),
                pin_href=make_address(displayed_names, "" if is_pinned else name),
            ),
        )
    for name in hidden_names:
        names = [*displayed_names, name]
        entries.append(
            ColumnMenuEntry(
                name,
                make_label(name),
                is_displayed=False,
                is_pinned=False,
                toggle_href=make_address(names, pinned_name),
                left_href=None,
                right_href=None,
                pin_href=make_address(names, name),
            ),
        )
    return entries


def _move_column(names: Sequence[str], index: int, step: int) -> list[str]:
    """Return the names with the one at `index` moved by `step` places."""
    moved = list(names)
    moved.insert(index + step, moved.pop(index))
    return moved
