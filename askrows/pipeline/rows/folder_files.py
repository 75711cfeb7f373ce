"""The table with the files of imported folders. Ids are texts everywhere else."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    cast,
    select,
)

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.settings import DEFAULT_TASK
from askrows.pipeline.rows.pictures import PictureError, make_or_reuse_thumbnail
from askrows.pipeline.store.database import Store
from askrows.pipeline.store.schema import ColumnTyped


def make_import_hint(task: str, *, has_folder: bool) -> CommandHint:
    """Return the hint for the command that imports a file, or a folder of images, for a task."""
    if task == DEFAULT_TASK:
        return CommandHint("import", **{task: "people.csv"})
    return CommandHint("import", task=task, from_="photos/" if has_folder else "rows.csv")


def make_file_table(name: str, id_column: Column[Any] | None = None, **options: Any) -> Table:
    """Return the table of the files; without `id_column`, ids have the type of the database."""
    return Table(
        name,
        MetaData(),
        Column("id", ColumnTyped()) if id_column is None else id_column,
        # Absolute path of the file.
        Column("path", Text),
        # SHA-256 of its bytes.
        Column("hash", Text),
        # Size in pixels after rotation.
        Column("width", Integer),
        Column("height", Integer),
        # MIME type of the content, whatever the name of the file is.
        Column("format", Text),
        # Time of the camera, ISO 8601.
        Column("taken_at", Text),
        Column("bytes", BigInteger),
        # Reason why the image cannot be asked about; the file is not read again before it changes.
        Column("problem", Text),
        **options,
    )


def find_file_id(tx: Connection, table_name: str, id_or_path: str) -> str | None:
    """Return the id of the file with this id or path, as text; None if there is no such file."""
    files = make_file_table(table_name).c
    key = cast(files.id, Text)
    query = select(key).where((key == id_or_path) | (files.path == id_or_path))
    # An id comes before a path, then the oldest file.
    file_id: str | None = tx.execute(query.order_by(key != id_or_path, files.id).limit(1)).scalar()
    return file_id


def render_thumbnail(store: Store, table_name: str, row_id: str, *, side: int) -> bytes:
    """Return an image as JPEG whose longer side has at most `side` pixels.

    Args:
        store: The store of the workspace.
        table_name: The table of the files.
        row_id: Id of the image.
        side: A size in `pictures.THUMBNAIL_SIDES`.

    Raises:
        PictureError: The image cannot be shown; the message has the reason.
        InputError: There is no thumbnail of this size.
    """
    files = make_file_table(table_name).c
    query = select(files.path, files.hash, files.problem).where(cast(files.id, Text) == row_id)
    with store.read() as tx:
        row = tx.execute(query.limit(1)).first()

    if row is None or row.problem or not row.hash:
        reason = row.problem if row else None
        raise PictureError(reason or "the image was not inspected; import its folder")
    return make_or_reuse_thumbnail(row.path, row.hash, side=side)
