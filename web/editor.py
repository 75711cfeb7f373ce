"""Who edits on the page: a name that is given once and kept in a cookie, or given with each edit by a program."""

from urllib.parse import quote, unquote

from fastapi import Request
from starlette.responses import Response

from web.problem import Refused

COOKIE = "findable_who"
KEPT_S = 365 * 24 * 3600
MOST = 200  # characters of a name


def known_editor(request: Request) -> str:
    """Return the name that the reader's browser keeps; an empty one where it keeps none."""
    return unquote(request.cookies.get(COOKIE, ""))


def editor_of(request: Request, given: str | None) -> str:
    """Return who edits, by the name that is given or the one that the browser keeps.

    Raises:
        Refused: there is neither, or it is no name: too long, or with signs that cannot be shown.
    """
    who = " ".join((given or known_editor(request)).split())
    if not who:
        raise Refused(422, "say who edits; nothing was changed", hint="your name stands beside each edit", field="who")
    if len(who) > MOST:
        said = f"a name of {len(who):,} characters is too long; nothing was changed"
        raise Refused(422, said, hint=f"at most {MOST} characters", field="who")
    if not who.isprintable():  # neither NUL nor half a character
        said = "the name has signs that cannot be shown; nothing was changed"
        raise Refused(422, said, hint="write it in letters", field="who")
    return who


def keep_editor(response: Response, who: str) -> None:
    """Let the reader's browser keep a name."""
    response.set_cookie(COOKIE, quote(who, safe=""), max_age=KEPT_S, httponly=True, samesite="strict", path="/")
