"""Images: small ones beside each other, with what was said of each, or why nothing was."""

from pathlib import PurePath
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from pipeline.core.listed import ItemFilter, ItemsWanted
from pipeline.images import TASK
from pipeline.images.library import BUCKETS, broken_page, library_page, thumbnail_of
from web.desk import Desk
from web.render import desk_of, etag_of, show_page
from web.view import Link, View

router = APIRouter()
VIEW = View(router, Link("/images", "Gallery", of_task=False, subject=TASK))
IMAGES = 60  # of one page
BROKEN = "broken"  # in the place of a state: the files that cannot be opened
BUCKET = f"^({'|'.join(BUCKETS)})?$"
LARGE, SMALL = 640, 320  # pixels of the longer side


class Wanted(BaseModel):
    """Which images, and where to go on; a tag is one of the bucket, where that is named."""

    find: str = ""
    state: str = ""
    bucket: str = Field("", pattern=BUCKET)
    tag: str = ""
    after: str = ""
    limit: int = Field(IMAGES, ge=1, le=500)


class WantedOnPage(Wanted):
    """The same on a page: `open` is the id of the image that is seen large."""

    open: str = ""


@router.get("/api/images")
def get_images(request: Request, wanted: Annotated[Wanted, Query()]) -> dict[str, Any]:
    """Return one page of images, each with its summary and buckets, or the reason why it has none."""
    return _page(desk_of(request), wanted)


@router.get("/api/images/thumbnail")
def get_thumbnail(request: Request, key: str, side: Literal["160", "320", "640"] = "320") -> Response:
    """Return the small JPEG of one image, by its id."""
    with desk_of(request).to_read(TASK) as ws:
        found = thumbnail_of(ws.store, key, side=int(side))
    return Response(found, media_type="image/jpeg", headers={"etag": etag_of(found)})


@router.get("/images", include_in_schema=False)
def images_page(request: Request, wanted: Annotated[WantedOnPage, Query()]) -> HTMLResponse:
    """Show one page of images."""
    return _shown(request, "images.html", wanted, opened=wanted.open)


@router.get("/parts/images", include_in_schema=False)
def images_part(request: Request, wanted: Annotated[Wanted, Query()]) -> HTMLResponse:
    """Show the images alone."""
    return _shown(request, "parts/images.html", wanted)


def _page(desk: Desk, wanted: Wanted) -> dict[str, Any]:
    after = wanted.after or None
    with desk.to_read(TASK) as ws:
        if wanted.state == BROKEN:
            return broken_page(ws.store, limit=wanted.limit, after=after)
        which = ItemFilter(wanted.find.split(), wanted.state or None, (wanted.tag,) if wanted.tag else ())
        listed = ItemsWanted(wanted.limit, which, after)
        return library_page(ws.store, ws.task, listed, bucket=wanted.bucket)


def _shown(request: Request, template: str, wanted: Wanted, opened: str = "") -> HTMLResponse:
    desk, asked = desk_of(request), wanted.model_dump(include={"find", "state", "bucket", "tag"})
    page = _page(desk, wanted)
    with desk.to_read(TASK) as ws:
        with ws.store.read() as tx:
            _, *states = ws.task.table(tx).counts(tx)
        is_apart = opened and all(one["id"] != opened for one in page["items"])
        apart = library_page(ws.store, ws.task, ItemsWanted(1, only=opened))["items"] if is_apart else []
        known = {**asked, "states": [*states, BROKEN], "buckets": BUCKETS, "how_to_fill": ws.task.how_to_fill}
        known |= {"apart": [_card(one) for one in apart if one["input_hash"] is not None]}
        more = urlencode({**asked, "after": page["after"]}) if page["after"] else ""
        return show_page(request, template, ws, images=[_card(one) for one in page["items"]], more=more, **known)


def _card(one: dict[str, Any]) -> dict[str, Any]:
    small, large = (f"/api/images/thumbnail?{urlencode({'key': one['id'], 'side': side})}" for side in (SMALL, LARGE))
    return {**one, "name": PurePath(one["path"]).name, "small": small, "large": large}
