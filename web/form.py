"""What a form of the page sends."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request


async def _sent(request: Request) -> dict[str, str]:
    """Return the values of a form by their names; of several of one name the last."""
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))


Sent = Annotated[dict[str, str], Depends(_sent)]
