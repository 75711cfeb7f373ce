"""Make the tables `assets` and `asset_ai`, or adopt such of another program, whose rows stay as they are."""

from sqlalchemy import Connection

from pipeline.core.settings import Settings
from pipeline.images import ASSET_AI, ASSETS, MARK
from pipeline.images.schema import OF_ANSWERS, OF_ASSETS, asset_ai_spec, assets_spec
from pipeline.store.schema import has_index
from pipeline.tables import adopt as tables
from pipeline.tables.reflect import columns_of


def adopt(tx: Connection, settings: Settings | None = None) -> list[str]:  # noqa: ARG001 - the tables have one name
    """Make the tables, or add what is missing to existing ones; return a line for each thing done to old ones.

    Raises:
        ConfigurationError: what is there under their names cannot be adopted; nothing was changed.
    """
    first, spec = not has_index(tx, ASSET_AI, MARK), assets_spec()
    images = tables.adopt_table(tx, spec, first=first)
    answers = tables.adopt_table(tx, asset_ai_spec(tx, columns_of(tx, ASSETS)["id"]), first=first)
    return [*images.lines, *answers.lines]


def adoption_plan(tx: Connection, settings: Settings | None = None) -> list[str]:  # noqa: ARG001
    """Return what `adopt` would add to tables of another program, in words; nothing where they were adopted."""
    if is_adopted(tx):
        return []
    plan, found = tables.planned(tx, assets_spec()), columns_of(tx, ASSETS)
    return [*plan, *tables.planned(tx, asset_ai_spec(tx, found["id"]))] if found else plan


def makes(settings: Settings | None = None) -> dict[str, tuple[str, ...]]:  # noqa: ARG001
    """Return each table that `adopt` makes where there is none, with its columns."""
    return {ASSETS: ("id", *OF_ASSETS), ASSET_AI: ("asset_id", *OF_ANSWERS)}


def is_adopted(tx: Connection, settings: Settings | None = None) -> bool:  # noqa: ARG001
    """Return whether `adopt` would find nothing to do; as quick for a million rows as for one."""
    if not has_index(tx, ASSET_AI, MARK) or not tables.is_whole(tx, assets_spec()):
        return False
    return tables.is_whole(tx, asset_ai_spec(tx, columns_of(tx, ASSETS)["id"]))
