"""Make the two tables of passages, or adopt such that another program made, as they are.

A table of passages is read in place: nothing is added to it but an index where none finds a row by its id. A table of
concepts gets the columns that it lacks. No row is changed, and doing it again changes nothing.
"""

from sqlalchemy import Connection

from pipeline.passages.schema import CONCEPTS, MARK, PASSAGES, concepts_spec, passages_spec
from pipeline.store.schema import has_index
from pipeline.tables import adopt as tables
from pipeline.tables.columns import misfits
from pipeline.tables.reflect import columns_of, is_found_by


def adopt(tx: Connection, *, passages: str = PASSAGES) -> list[str]:
    """Make the tables, or add what is missing to existing ones; return a line for each thing done to old ones.

    A table of passages that is made under a name that was set is told too.

    Raises:
        ConfigurationError: what is there under their names cannot be adopted; nothing was changed.
    """
    first = not has_index(tx, CONCEPTS, MARK)
    texts = tables.adopt_table(tx, passages_spec(passages), first=first or not is_found_by(tx, passages, "id"))
    concepts = tables.adopt_table(tx, concepts_spec(columns_of(tx, passages)["id"]), first=first)
    mistyped = texts.made and passages != PASSAGES  # a name that was mistyped is seen at once
    made = [f"made the table {passages}, which was not there"] if mistyped else []
    return [*made, *texts.lines, *concepts.lines]


def is_adopted(tx: Connection, *, passages: str = PASSAGES) -> bool:
    """Return whether `adopt` would find nothing to do; as quick for a million rows as for one."""
    if not has_index(tx, CONCEPTS, MARK):
        return False
    found, concepts = columns_of(tx, passages), columns_of(tx, CONCEPTS)
    if passages_spec(passages).missing(found) or found["id"].ids is None or not is_found_by(tx, passages, "id"):
        return False
    spec = concepts_spec(found["id"])
    return not spec.missing(concepts) and not misfits(concepts, {"passage_id": spec.judged["passage_id"]})
