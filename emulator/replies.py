"""How replies are written: JSON as Google labels it, refusals in Google's form, and reading what a request says."""

import functools
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from emulator import messages
from emulator.errors import ApiError, invalid
from emulator.journal import Entry
from emulator.world import World

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]

VERSIONS = ("v1", "v1beta", "v1alpha")


class JsonReply(Response):
    """A JSON reply; numpy vectors inside are written as lists."""

    media_type = "application/json; charset=UTF-8"

    def render(self, content: Any) -> bytes:
        """Return the document's bytes."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def world_of(request: Request) -> World:
    """Return the world behind a request."""
    world: World = request.app.state.world
    return world


def owner_of(request: Request) -> str:
    """Return the owner: a digest of the key, so that the key itself is kept nowhere.

    Raises:
        ApiError: 403 without a key.
    """
    key = request.headers.get("x-goog-api-key", "") or request.query_params.get("key", "")
    if not key.strip():
        message = "Method doesn't allow unregistered callers (callers without established identity)."
        raise ApiError(403, f"{message} Please use API Key or other form of API consumer identity to call this API.")
    return hashlib.sha256(key.strip().encode()).hexdigest()[:16]


def api(endpoint: Endpoint) -> Endpoint:
    """Let an endpoint refuse by raising, and answer only for the versions there are."""

    @functools.wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            if request.path_params.get("version", VERSIONS[0]) not in VERSIONS:
                return refused(no_such_path(request))
            return await endpoint(request)
        except ApiError as refusal:
            entry: Entry | None = getattr(request.state, "entry", None)
            if entry is not None:  # control calls have none
                entry.reason, entry.quota_ids = refusal.message, refusal.quota_ids
            return refused(refusal)

    return answered


def no_such_path(request: Request) -> ApiError:
    """Return the 404 for a path that is none."""
    return ApiError(404, f"The requested URL {request.url.path} was not found on this server.")


def refused(refusal: ApiError) -> JsonReply:
    """Return the reply for a refusal."""
    return JsonReply(refusal.body(), status_code=refusal.code)


async def read_body(request: Request, kind: str) -> dict[str, Any]:
    """Return a request's JSON body as a message in camelCase.

    Raises:
        ApiError: 400 in Google's words for broken JSON, an unknown name or a wrong value.
    """
    try:
        document = orjson.loads(await request.body() or b"{}")
        message: dict[str, Any] = messages.read(kind, document)
    except orjson.JSONDecodeError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from error
    except messages.UnknownFieldError as error:
        place = f" at '{error.where}'" if error.where else ""
        text = f'Invalid JSON payload received. Unknown name "{error.name}"{place}: Cannot find field.'
        raise invalid(text, violations=[{"field": error.where, "description": text}]) from error
    except messages.WrongValueError as error:
        raise invalid(str(error), violations=[{"field": error.where, "description": str(error)}]) from error
    return message


def page_shown(
    name: str, items: Sequence[T], *, size: int, show: Callable[[T], object], token: Callable[[T], int]
) -> dict[str, Any]:
    """Return one page of a list, of which `items` has one more than `size` where another page follows."""
    shown: dict[str, Any] = {name: [show(item) for item in items[:size]]} if items else {}
    if len(items) > size:
        shown["nextPageToken"] = str(token(items[size - 1]))
    return shown


def page_of(request: Request, *, default: int, most: int) -> tuple[int, int | None]:
    """Return the page size and the number the page begins below, None for the first page.

    Raises:
        ApiError: 400 for a size or a token that is none.
    """
    size, token = request.query_params.get("pageSize", ""), request.query_params.get("pageToken", "")
    if not all(re.fullmatch(r"[0-9]{0,18}", text) for text in (size, token)):  # more digits, and no row has the number
        raise invalid(f"Invalid page size {size!r} or page token {token!r}.")
    return min(int(size or 0) or default, most), int(token) if token else None
