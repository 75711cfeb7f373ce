"""The task images: the declared task with `assets` and `asset_ai` for other programs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Connection, Table, Text, cast, delete, or_, select

from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.images import ASSET_AI, HOW_TO_BEGIN
from askrows.pipeline.images.table import LIBRARY, asset_ai, assets
from askrows.pipeline.rows.pictures import PictureError, make_thumbnail
from askrows.pipeline.rows.stored_rows import HASH_COLUMN
from askrows.pipeline.store.database import Store
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks.task_values import RowsById, TaskNouns, TaskRow
from askrows.pipeline.tasks.user_task import UserTask

NOUNS = TaskNouns(
    singular="image",
    plural="images",
    answered="described",
    none_open_message="every image that can be opened is described, claimed or parked",
    input_noun="image",
    inputs_noun="the images",
    ask_command=CommandHint("tag", task="images"),
    task_option="images",
)


class ImagesTask(UserTask):
    """The task of images; its answers go to `asset_ai`, whatever its record says."""

    fill_hint = HOW_TO_BEGIN
    source_hint = HOW_TO_BEGIN
    image_folder_hint = HintTemplate(
        "`{}` adds a folder",
        CommandHint("import-images", folder="photos/"),
    )

    def __init__(self, record: TaskRecord, settings: Settings, provider: str) -> None:
        """Make the task of a record; see `UserTask`."""
        super().__init__(record, settings, provider, nouns=NOUNS, write_to=f"{ASSET_AI}.asset_id")
        self.answer_tokens = 220

    def find_row_id(self, tx: Connection, name: str) -> str:
        """Return the id of the image with this id or path.

        Raises:
            InputError: There is no such image.
        """
        key = cast(assets.c.id, Text)
        query = select(key).where(or_(key == name, assets.c.path == name))
        # An id comes before a path, then the oldest image.
        query = query.order_by(key != name, assets.c.id).limit(1)
        return super().find_row_id(tx, tx.execute(query).scalar() or name)

    def delete_row(self, tx: Connection, row_id: str, *, unchanged_text: str = "") -> None:
        """Delete the rows of an image in all tables. Its file is not deleted."""
        super().delete_row(tx, row_id, unchanged_text=unchanged_text)
        for table, column in ((asset_ai, "asset_id"), (assets, "id")):
            tx.execute(delete(table).where(cast(table.c[column], Text) == row_id))

    def list_image_folders(self) -> list[Path]:
        """Return the imported folders; without an import, images may be anywhere."""
        folders = self.record.image_folders or ["/"]
        return [Path(folder) for folder in folders]

    def make_task_rows(self, rows: RowsById) -> Iterator[TaskRow]:
        """Yield what to ask about these images, if each is the file that was looked at.

        A file that changed since then is asked about by the next command.
        """
        for task_row in super().make_task_rows(rows):
            # Whoever may change the database must not choose the image that is sent.
            # Nobody knows the hash of an image without its bytes.
            seen_hash = rows[task_row.id][HASH_COLUMN]
            if task_row.input_hash == seen_hash:
                yield task_row

    def list_tables(self, tx: Connection) -> Sequence[Table]:
        """Return the two tables that other programs read."""
        return LIBRARY.list_definitions(tx)

    def make_tables(self, target: Connection) -> None:
        """Make all tables and the views of the task in another database."""
        super().make_tables(target)
        LIBRARY.adopt(target)


# ---- for the page


def render_thumbnail(store: Store, row_id: str, *, side: int) -> bytes:
    """Return an image as JPEG whose longer side has at most `side` pixels.

    Args:
        store: The store of the workspace.
        row_id: Id of the image.
        side: A size in `pictures.THUMBNAIL_SIDES`.

    Raises:
        PictureError: The image cannot be shown; the message has the reason.
        InputError: There is no such image, or no thumbnail of this size.
    """
    with store.read() as tx:
        query = select(assets.c.path, assets.c.hash, assets.c.problem).where(
            cast(assets.c.id, Text) == row_id,
        )
        row = tx.execute(query.limit(1)).first()

    if row is None:
        raise InputError(
            f"there is no image {row_id!r}",
            hint=f"`{CommandHint('items', task='images')}` lists them",
        )
    path, sha256, problem = row
    if problem is not None or not sha256:
        raise PictureError(
            problem or f"the image was not inspected; `{CommandHint('import-images')}` inspects it",
        )
    return make_thumbnail(path, sha256, side=side)
