"""Bring images to the API that are too large for a request, and delete uploads that nothing needs any more.

An upload is known by its display name, which is that of the try it was made for, or of the image. What an upload whose
end was not seen left there is not used: `clean` deletes it, and the API forgets all uploads after 48 h.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline.core.errors import InconsistentError, RemoteError
from pipeline.core.states import OPEN
from pipeline.cost.queue_quota import QuotaFullError
from pipeline.engine.pictures import SENT_TYPE
from pipeline.gemini.limits import MAX_STORED_BYTES
from pipeline.store import batches, uploads, workspace
from pipeline.store.leases import read_again

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.gemini.client import Client
    from pipeline.gemini.operations import RemoteFile
    from pipeline.store.database import Connection, Store
    from pipeline.store.uploads import UploadedImage


YOUNG = timedelta(hours=20)  # after which an image is uploaded anew: a batch may wait for more than a day
KEPT = timedelta(hours=48)  # by the API (Files API guide, read 2026-11)
HELD = timedelta(hours=2)  # for a process that uploaded or found them, and may have died
TRIES = 3  # where another process took an upload over while this one stood still
MOST_STORED = MAX_STORED_BYTES * 4 // 5


@dataclass(frozen=True)
class LeftUpload:
    """An upload that nothing needs any more, and the number of the batch it was made for; None for an image."""

    file: "RemoteFile"
    batch: int | None

    @property
    def whose(self) -> str:
        """Return in words what it was made for."""
        return "an image" if self.batch is None else f"batch {self.batch}"


def left_uploads(store: "Store", client: "Client", *, of: "Collection[int] | None" = None) -> list[LeftUpload]:
    """Return our uploads whose batch is over, or is not known here; with `of` those of these batches alone.

    Without `of` also images that are not kept any more, or whose upload was not seen to end.

    Raises:
        RemoteError: the list cannot be had.
    """
    listed = client.list_files()
    with store.read() as tx:  # after the list: whatever is in it was recorded before it was uploaded
        workspace_id = re.escape(workspace.get_workspace(tx).workspace_id)
        needed = {batch.number for batch in batches.batches_in_states(tx) if not batch.is_over}
        kept = uploads.kept_uploads(tx)
    form = re.compile(rf"findable-{workspace_id}-.+-(\d+)-[0-9a-f]{{16}}-t\d+")
    found = [LeftUpload(file, int(name[1])) for file in listed if (name := form.fullmatch(file.display_name))]
    found = [one for one in found if one.batch not in needed and (of is None or one.batch in of)]
    image = re.compile(rf"findable-{workspace_id}-image-(\d+)")
    images = [one for one in listed if (name := image.fullmatch(one.display_name)) and int(name[1]) not in kept]
    return found if of is not None else [*found, *(LeftUpload(one, None) for one in images)]


def drop_upload(client: "Client", upload: str | None, *, warn: "Callable[[str], None]" = lambda _: None) -> None:
    """Delete an upload that is not needed any more; where it cannot be reached, the API forgets it in any case."""
    try:
        if upload:
            client.delete_upload(upload)
    except RemoteError as error:
        warn(f"the upload {upload} could not be deleted: {error.message}")


def upload_images(ws: "OpenWorkspace", images: "Mapping[str, bytes]") -> "dict[str, UploadedImage]":
    """Return these images at the API, by their SHA-256, uploading those that are not there or not young any more.

    They stay there until this process lets go of them with `release_images`, for two hours at most.

    Raises:
        QuotaFullError: there is no room for them.
        RemoteError: one of them cannot be uploaded now.
    """

    def once() -> "dict[str, UploadedImage]":
        with ws.waited_lease("uploads", waiting="another process uploads images; waiting for it") as lease:
            with ws.store.write() as tx:
                found = uploads.uploaded_since(tx, images, since=ws.now() - YOUNG)
                uploads.hold_uploads(tx, [one.id for one in found.values()], until=ws.now() + HELD)
                workspace_id = workspace.get_workspace(tx).workspace_id
            for sha256 in sorted(images.keys() - found.keys()):
                data, at = images[sha256], ws.now()
                with ws.store.write() as tx:
                    lease.check(tx)
                    _check_stored(tx, len(data), at=at)
                    number = uploads.begin_upload(tx, sha256, mime_type=SENT_TYPE, size=len(data), at=at)
                name = f"findable-{workspace_id}-image-{number}"
                made = ws.client.upload_image(data, mime_type=SENT_TYPE, display_name=name, sha256=sha256)
                with ws.store.write() as tx:
                    uploads.end_upload(tx, number, name=made.name, uri=made.uri, at=at, expires_at=at + KEPT)
                    uploads.hold_uploads(tx, [number], until=ws.now() + HELD)
                found[sha256] = uploads.UploadedImage(number, sha256, made.name, made.uri, at)
        return found

    return read_again(once, times=TRIES, after=InconsistentError) if images else {}


def _check_stored(tx: "Connection", size: int, *, at: "datetime") -> None:
    """Refuse an image that the API has no room for, beside all other uploads of this workspace."""
    stored = uploads.stored_bytes(tx, at=at) + batches.queue_load(tx, *OPEN, model="").uploaded
    if stored + size > MOST_STORED:
        raise QuotaFullError(
            f"an image of {size:,} bytes is not uploaded: with it there would be more than {MOST_STORED:,} bytes of "
            "uploads at the API",
            hint="poll and ingest batches, then run it again",
        )


def release_images(ws: "OpenWorkspace", *, held: bool = True) -> int:
    """Delete the images at the API that nothing needs any more, and return how many.

    Where they are `held`, this process lets go of its own first. What cannot be deleted now `clean` finds.
    """
    with ws.store.read() as tx:
        if not uploads.is_any_kept(tx):
            return 0
    with ws.store.write() as tx:
        if held:
            uploads.release_uploads(tx)
        names = uploads.drop_unneeded(tx, at=ws.now(), begun_before=ws.now() - HELD)
    for name in names:
        drop_upload(ws.client, name, warn=ws.display.warn)
    return len(names)
