"""Uploads of ours at the API: which are left behind, because the batch they were made for is over or was never kept.

An upload is known by its display name, which is that of the try it was made for. The API forgets uploads after 48 h.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches, workspace

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipeline.gemini.operations import RemoteFile


@dataclass(frozen=True)
class LeftUpload:
    """An upload that nothing needs any more, and the number of the batch it was made for."""

    file: "RemoteFile"
    batch: int


def left_uploads(ws: OpenWorkspace, *, of: "Collection[int] | None" = None) -> list[LeftUpload]:
    """Return our uploads whose batch is over, or is not known here; with `of` those of these batches alone.

    Raises:
        RemoteError: the list cannot be had.
    """
    listed = ws.client.list_files()
    with ws.store.read() as tx:  # after the list: whatever is in it was recorded before it was uploaded
        form = re.compile(
            rf"findable-{re.escape(workspace.get_workspace(tx).workspace_id)}-.+-(\d+)-[0-9a-f]{{16}}-t\d+"
        )
        needed = {batch.number for batch in batches.batches_in_states(tx) if not batch.is_over}
    found = [LeftUpload(file, int(name[1])) for file in listed if (name := form.fullmatch(file.display_name))]
    return [one for one in found if one.batch not in needed and (of is None or one.batch in of)]
