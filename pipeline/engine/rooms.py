"""Find the rooms of the subjects that a workspace has, and bring the schema and their tables up to date."""

from functools import partial

from pipeline.core.errors import InconsistentError
from pipeline.core.progress import Progress
from pipeline.core.settings import Settings
from pipeline.core.task import SubjectRoom
from pipeline.engine import registry
from pipeline.engine.access import Access, missing_tables, never_used
from pipeline.store import marker, schema
from pipeline.store.database import Store


def rooms_of(
    settings: Settings,
    store: Store,
    found: marker.FolderMarker | None,
    display: Progress,
    access: Access,
    *,
    whole: bool,
) -> "list[SubjectRoom]":
    """Return the rooms of the subjects that are here, the schema brought up to date and their tables adopted.

    What reads, or is about the `whole`, makes no table or view of a subject.

    Raises:
        ConfigurationError: the folder's sealed files belong to another database, or nothing was ever brought in for the
            task that is to be read.
        InconsistentError: a table that is to be read is gone.
    """
    makes_tables = access is not Access.READ and not whole
    seen = settings if makes_tables else registry.of_people(settings)
    sealed_by = found if marker.holds_sealed_files(settings.data) else None
    if sealed_by is not None and store.path is not None and not store.path.exists():  # opening it would make it
        marker.refuse_folder(settings.data, sealed_by, f"{store.shown} is not there")
    with store.read() as tx:
        if sealed_by is not None:
            marker.check_marker(settings.data, sealed_by, tx, shown=store.shown)
        rooms = [one for one in registry.rooms() if one.is_here(tx, seen)]
        room = registry.room_in_use(settings)
        if not (makes_tables or whole or room is None or room in rooms):
            raise never_used(settings, room.how_to_begin)
        tables = [registry.tables_of(room) for room in rooms]
        is_ready = schema.is_schema_current(tx) and all(one.is_adopted(tx, seen) for one in tables)
        if access is Access.READ and not is_ready and (gone := missing_tables(tx, seen)):
            raise InconsistentError(
                f"{store.shown} has no table {' and no table '.join(gone)} any more; nothing was made",
                hint="`make restore` puts a backup back; a command that writes makes it, with no row",
            )
    if not is_ready:
        for line in schema.ensure_schema(store, [partial(one.adopt, settings=seen) for one in tables]):
            display.say(line)
    return rooms
