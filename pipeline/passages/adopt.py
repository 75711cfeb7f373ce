"""Make the tables of passages and concepts, or adopt such of another program, and the view of the best concepts.

Passages are read in place: an index is added where none finds a row by its id. Concepts get the columns they lack.
"""

from sqlalchemy import Connection

from pipeline.core.settings import Settings
from pipeline.passages import CONCEPTS, best
from pipeline.passages.schema import CONCEPT_COLUMNS, OF_PASSAGES, PASSAGES, read_shape, tables_of

DEFAULTS = Settings()


def adopt(tx: Connection, settings: Settings = DEFAULTS) -> list[str]:
    """Make the tables, or add what is missing to existing ones; return a line for each thing done to old ones.

    Raises:
        ConfigurationError: what is there under their names cannot be adopted; nothing was changed.
    """
    name = settings.passages_table
    texts, concepts = tables_of(name).adopt(tx)
    mistyped = texts.made and name != PASSAGES  # a name that was mistyped is seen at once
    lines = [f"made the table {name}, which was not there"] if mistyped else []
    lines += [*texts.lines, *concepts.lines]
    if settings.task == "passages":
        lines += best.make_view_ready(tx, read_shape(tx, passages=name), best.preference_of(settings))
    return lines


def adoption_plan(tx: Connection, settings: Settings = DEFAULTS) -> list[str]:
    """Return what `adopt` would add to tables of another program, in words; nothing where they were adopted."""
    return tables_of(settings.passages_table).planned(tx)


def makes(settings: Settings = DEFAULTS) -> dict[str, tuple[str, ...]]:
    """Return each table that `adopt` makes where there is none, with its columns, and the view, which has none here."""
    tables_made = {settings.passages_table: ("id", *OF_PASSAGES), CONCEPTS: CONCEPT_COLUMNS}
    return {**tables_made, best.VIEW: ()} if settings.task == "passages" else tables_made


def is_adopted(tx: Connection, settings: Settings = DEFAULTS) -> bool:
    """Return whether `adopt` would find nothing to do; as quick for a million rows as for one."""
    name = settings.passages_table
    if not tables_of(name).is_adopted(tx):
        return False
    return settings.task != "passages" or best.is_view_ready(
        tx, read_shape(tx, passages=name), best.preference_of(settings)
    )
