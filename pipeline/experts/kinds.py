"""The table of people as items of their task: who is tagged, who is asked, and an index by which they are counted."""

from sqlalchemy import Connection, case

from pipeline.experts.columns import USERNAME, text_of
from pipeline.experts.schema import experts, shape_of
from pipeline.experts.table import TASK, has_bio, looks_foreign, tagged, untagged
from pipeline.tables.item_table import ItemStates
from pipeline.tables.kind_index import CountedTable, KindIndex

INDEX = KindIndex(
    "findable_experts_kinds",
    experts,
    case((looks_foreign, "parked"), (~untagged, "tagged"), (has_bio, "untagged"), else_="no_bio"),
)


def people(tx: Connection) -> CountedTable:
    """Return the table of people; untagged ones with a bio are asked about, and known by their usernames."""
    return CountedTable(
        TASK,
        experts,
        ItemStates(("tagged", tagged()), ("untagged", has_bio), "no_bio", looks_foreign),
        untagged & has_bio,
        shape_of(tx).ids,
        named=(USERNAME,),
        name_of=lambda row: text_of(row[USERNAME]),
        index=INDEX,
    )
