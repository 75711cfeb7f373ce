"""Remember in a cookie who corrects answers, so that the name is typed once."""

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import Depends, Request
from starlette.responses import Response

COOKIE_NAME = "askrows_who"
MAX_AGE_S = 365 * 24 * 3600


async def _read_editor(request: Request) -> str:
    return unquote(request.cookies.get(COOKIE_NAME, ""))


# Name of the person who corrected last in this browser; "" if nobody did.
LastEditor = Annotated[str, Depends(_read_editor)]


def remember_editor(response: Response, editor: str) -> None:
    """Store the name of the person who corrects in the browser."""
    response.set_cookie(
        COOKIE_NAME,
        quote(editor, safe=""),
        max_age=MAX_AGE_S,
        httponly=True,
        samesite="lax",
        path="/",
    )
