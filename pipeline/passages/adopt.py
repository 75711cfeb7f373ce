"""Make the tables of passages and concepts, or adopt such of another program, and the view of the best concepts.

Passages are read in place: an index is added where none finds a row by its id. Concepts get the columns they lack.
"""

from sqlalchemy import Connection

from pipeline.core.settings import Settings
from pipeline.passages import CONCEPTS, MARK, best
from pipeline.passages.schema import (
    CONCEPT_COLUMNS,
    OF_PASSAGES,
    PASSAGES,
    concepts_spec,
    passages_spec,
    read_shape,
)
from pipeline.store.schema import has_index
from pipeline.tables import adopt as tables
from pipeline.tables.adopt import Holds
from pipeline.tables.reflect import columns_of

DEFAULTS = Settings()


def adopt(tx: Connection, settings: Settings = DEFAULTS) -> list[str]:
    """Make the tables, or add what is missing to existing ones; return a line for each thing done to old ones.

    Raises:
        ConfigurationError: what is there under their names cannot be adopted; nothing was changed.
    """
    name, found = settings.passages_table, columns_of(tx, settings.passages_table)
    first, spec = not has_index(tx, CONCEPTS, MARK), passages_spec(settings.passages_table)
    texts = tables.adopt_table(tx, spec, first=first or bool(spec.lacks_index(tx, found)))
    concepts = tables.adopt_table(tx, concepts_spec(tx, columns_of(tx, name)["id"]), first=first)
    mistyped = texts.made and name != PASSAGES  # a name that was mistyped is seen at once
    lines = [f"made the table {name}, which was not there"] if mistyped else []
    lines += [*texts.lines, *concepts.lines]
    if settings.task == "passages":
        lines += best.make_view_ready(tx, read_shape(tx, passages=name), best.preference_of(settings))
    return lines


def adoption_plan(tx: Connection, settings: Settings = DEFAULTS) -> list[str]:
    """Return what `adopt` would add to tables of another program, in words; nothing where they were adopted."""
    spec, found = passages_spec(settings.passages_table), columns_of(tx, settings.passages_table)
    if has_index(tx, CONCEPTS, MARK) and not spec.lacks_index(tx, found):
        return []
    plan = tables.planned(tx, spec)
    return [*plan, *tables.planned(tx, concepts_spec(tx, found["id"]))] if found else plan


def makes(settings: Settings = DEFAULTS) -> dict[str, tuple[str, ...]]:
    """Return each table that `adopt` makes where there is none, with its columns, and the view, which has none here."""
    tables_made = {settings.passages_table: ("id", *OF_PASSAGES), CONCEPTS: CONCEPT_COLUMNS}
    return {**tables_made, best.VIEW.name: ()} if settings.task == "passages" else tables_made


def is_adopted(tx: Connection, settings: Settings = DEFAULTS) -> bool:
    """Return whether `adopt` would find nothing to do; as quick for a million rows as for one."""
    spec, found = passages_spec(settings.passages_table), columns_of(tx, settings.passages_table)
    if not has_index(tx, CONCEPTS, MARK) or not tables.is_whole(tx, spec) or tables.misfit(tx, found["id"], Holds.ID):
        return False
    if not tables.is_whole(tx, concepts_spec(tx, found["id"])):
        return False
    return settings.task != "passages" or best.is_view_ready(
        tx, read_shape(tx, passages=spec.name), best.preference_of(settings)
    )
