"""Delete uploads that nothing needs any more, at the API.

An upload is known by its display name, which is that of the try it was made for. What an upload whose end was not seen
left there is not used: `clean` deletes it, and the API forgets all uploads after 48 h.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.errors import RemoteError
from pipeline.store import batches, workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pipeline.gemini.client import Client
    from pipeline.gemini.remote import RemoteFile
    from pipeline.store.database import Store


class LeftUpload(NamedTuple):
    """An upload that nothing needs any more, and the number of the batch it was made for."""

    file: "RemoteFile"
    batch: int


def left_uploads(store: "Store", client: "Client", *, of: "Collection[int] | None" = None) -> list[LeftUpload]:
    """Return our uploads whose batch is over, or is not known here; with `of` those of these batches alone.

    Raises:
        RemoteError: the list cannot be had.
    """
    listed = client.list_files()
    with store.read() as tx:  # after the list: whatever is in it was recorded before it was uploaded
        workspace_id = re.escape(workspace.get_workspace(tx).workspace_id)
        needed = {batch.number for batch in batches.batches_in_states(tx) if not batch.is_over}
    form = re.compile(rf"findable-{workspace_id}-.+-(\d+)-[0-9a-f]{{16}}-t\d+")
    found = [LeftUpload(file, int(name[1])) for file in listed if (name := form.fullmatch(file.display_name))]
    return [one for one in found if one.batch not in needed and (of is None or one.batch in of)]


def drop_upload(client: "Client", upload: str | None, *, warn: "Callable[[str], None]" = lambda _: None) -> None:
    """Delete an upload that is not needed any more; where it cannot be reached, the API forgets it in any case."""
    try:
        if upload:
            client.delete(upload)
    except RemoteError as error:
        warn(f"the upload {upload} could not be deleted: {error.message}")
