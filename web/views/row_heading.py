"""The title, the other name and the picture of a row."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import urlencode

from pipeline.images import TASK as IMAGES_TASK
from web.app_state import PEOPLE_TASK

# State of an image that cannot be opened.
UNUSABLE = "unusable"
# Longer side of the picture.
PICTURE_PIXELS = 640


def make_row_heading(
    row: Mapping[str, Any],
    task: str,
    columns: Sequence[tuple[str, str]],
) -> dict[str, str]:
    """Return the `title` and `subtitle` of a row, and the address of its `picture`.

    - A person: the full name, and the username as subtitle; only the username if the full name is
      missing.
    - An image: the file name, no subtitle, and a picture if the image can be opened.
    - Any other row: its name, and its id as subtitle if the id differs from the name.

    A subtitle or picture that is missing is "".

    Args:
        row: The document of `show`, with `name`, `item` (the id) and `state`.
        task: The task of the row.
        columns: The (name, text) pairs of the row.
    """
    title = row["name"]
    row_id = row["item"]
    subtitle = ""
    picture = ""
    if task == IMAGES_TASK:
        title = PurePath(title).name
        if row["state"] != UNUSABLE:
            query = urlencode({"key": row_id, "side": PICTURE_PIXELS})
            picture = f"/api/images/thumbnail?{query}"
    elif task == PEOPLE_TASK:
        full_name = dict(columns).get("name", "")
        if full_name:
            subtitle = title
            title = full_name
    elif title != row_id:
        subtitle = row_id
    return {"title": title, "subtitle": subtitle, "picture": picture}
