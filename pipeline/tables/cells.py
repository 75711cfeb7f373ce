"""What a cell of a table says, whichever program wrote it."""

import json
from typing import Any


def cell_words(cell: Any) -> str:
    """Return a cell as text: NULL is the empty text, bytes are read as UTF-8."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def loaded(cell: Any) -> Any:
    """Return what a JSON cell holds, on either database; text that is not JSON is that text."""
    if not isinstance(cell, str | bytes):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell
