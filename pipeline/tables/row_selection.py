"""Select the records of an export whose rows meet a filter."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from sqlalchemy import Connection

from pipeline.core.row_listing import RowFilter
from pipeline.store.database import split_into_pages
from pipeline.tables.grid import Grid

# A record of an export.
R = TypeVar("R")
# Records that are compared with a filter at once.
_PAGE_RECORDS = 500


def iterate_selected(
    tx: Connection,
    grid: Grid,
    records: Iterable[R],
    row_filter: RowFilter | None,
    *,
    get_row_id: Callable[[R], str | None],
) -> Iterator[R]:
    """Yield the records whose rows meet a filter, in their order and in constant memory.

    - Without a filter all records are yielded.
    - If the filter requests refused rows, and the table does not contain them, the records without
      a row id are yielded, because these are the refused rows.
    - With any other filter, the row ids are looked up in the table, and records without a row id
      are left out.

    Args:
        tx: The transaction that reads.
        grid: The list of the rows, which defines the conditions of the filter.
        records: The records, such as exported rows.
        row_filter: The filter; None for all records.
        get_row_id: Returns the row id of a record; None for a refused row.

    Raises:
        InputError: The filter is invalid; see `Grid.make_conditions`. Raised at the first record.
    """
    if row_filter is None:
        yield from records
        return

    if grid.should_list_refused(row_filter):
        yield from (record for record in records if get_row_id(record) is None)
        return

    for page in split_into_pages(records, _PAGE_RECORDS):
        row_ids = [row_id for row_id in set(map(get_row_id, page)) if row_id is not None]
        conditions = grid.make_conditions(tx, row_filter)
        selected_ids = grid.table.filter_ids(tx, row_ids, *conditions)
        yield from (record for record in page if get_row_id(record) in selected_ids)
