"""Passages with what is quoted of them, and images with what was said of each."""

from collections.abc import Sequence
from itertools import pairwise
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
from pipeline.ops import items
from pipeline.passages.show import QuotedConcept, QuotedPassage, quoted_passage
from web.desk import Desk
from web.render import desk_of, etag_of, show_page

router = APIRouter()

PASSAGES = "passages"
TEXTS = 10  # of one page
BEGINNING = 400  # characters of a text that nothing is quoted of


@router.get("/api/passages/marked")
def get_marked(request: Request, key: str) -> dict[str, Any]:
    """Return a passage in the parts that each version quotes, slices of the text, with what quotes them."""
    with desk_of(request).to_read(PASSAGES) as ws:
        found = quoted_passage(ws.store, ws.tasks, ws.settings, key)
    versions = [
        {"extractor": extractor, "segments": _segments(found.text, some)} for extractor, some in found.concepts.items()
    ]
    return {"id": found.id, "source": found.source, "text": found.text, "versions": versions}


@router.get("/passages", include_in_schema=False)
def passages_page(request: Request, find: str = "", state: str = "", after: str = "") -> HTMLResponse:
    """Show one page of passages."""
    with desk_of(request).to_read(PASSAGES) as ws:
        which = ItemFilter(find.split(), state or None)
        page = items.run(ws).page(which, limit=TEXTS, after=after or None)
        found = [quoted_passage(ws.store, ws.tasks, ws.settings, one.id) for one in page.items]
        with ws.store.read() as tx:
            _, *states = ws.task.table(tx).counts(tx)
        asked = {"find": find, "state": state}
        more = urlencode({**asked, "after": page.after}) if page.after else ""
        known = {**asked, "states": states, "more": more, "how_to_fill": ws.task.how_to_fill}
        return show_page(
            request, "passages.html", ws, passages=[_marked(one, most=BEGINNING) for one in found], **known
        )


@router.get("/passage", include_in_schema=False)
def passage_page(request: Request, key: str) -> HTMLResponse:
    """Show one passage."""
    with desk_of(request).to_read(PASSAGES) as ws:
        passage = _marked(quoted_passage(ws.store, ws.tasks, ws.settings, key))
        return show_page(request, "passage.html", ws, key=key, passage=passage)


def _marked(passage: QuotedPassage, *, most: int | None = None) -> dict[str, Any]:
    """Return a passage with the marks and concepts of the version that wrote last; without any, no more than `most`."""
    extractor, concepts = next(reversed(passage.concepts.items()), ("", []))
    quotations = [one for concept in concepts for one in concept.quotations]
    is_cut = most is not None and not quotations and len(passage.text) > most
    return {
        "id": passage.id,
        "source": passage.source,
        "text": f"{passage.text[:most].rstrip()} …" if is_cut else passage.text,
        "extractor": extractor,
        "quotations": quotations,
        "concepts": dict.fromkeys((one.name, one.type) for one in concepts),
    }


def _segments(text: str, concepts: Sequence[QuotedConcept]) -> list[dict[str, Any]]:
    """Return a text cut wherever a quotation begins or ends that stands in it, each part with what quotes it."""
    there = [(start, end, one) for one in concepts for start, end, quote in one.quotations if text[start:end] == quote]
    cuts = sorted({0, len(text), *(place for start, end, _ in there for place in (start, end))})
    return [
        {
            "text": text[begin:stop],
            "quotations": [
                {"concept": one.name, "type": one.type, "start": start, "end": end}
                for start, end, one in there
                if start <= begin and stop <= end
            ],
        }
        for begin, stop in pairwise(cuts)
    ]


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
    return _images_of(desk_of(request), wanted)


@router.get("/api/images/thumbnail")
def get_thumbnail(request: Request, key: str, side: Literal["160", "320", "640"] = "320") -> Response:
    """Return the small JPEG of one image, by its id."""
    with desk_of(request).to_read(TASK) as ws:
        found = thumbnail_of(ws.store, key, side=int(side))
    return Response(found, media_type="image/jpeg", headers={"etag": etag_of(found)})


@router.get("/images", include_in_schema=False)
def images_page(request: Request, wanted: Annotated[WantedOnPage, Query()]) -> HTMLResponse:
    """Show one page of images, and the one that is `open`."""
    desk, asked = desk_of(request), wanted.model_dump(include={"find", "state", "bucket", "tag"})
    page = _images_of(desk, wanted)
    with desk.to_read(TASK) as ws:
        with ws.store.read() as tx:
            _, *states = ws.task.table(tx).counts(tx)
        is_apart = wanted.open and all(one["id"] != wanted.open for one in page["items"])
        apart = library_page(ws.store, ws.task, ItemsWanted(1, only=wanted.open))["items"] if is_apart else []
        known = {**asked, "states": [*states, BROKEN], "buckets": BUCKETS, "how_to_fill": ws.task.how_to_fill}
        known |= {"apart": [_card(one) for one in apart if one["input_hash"] is not None]}
        more = urlencode({**asked, "after": page["after"]}) if page["after"] else ""
        return show_page(request, "images.html", ws, images=[_card(one) for one in page["items"]], more=more, **known)


def _images_of(desk: Desk, wanted: Wanted) -> dict[str, Any]:
    after = wanted.after or None
    with desk.to_read(TASK) as ws:
        if wanted.state == BROKEN:
            return broken_page(ws.store, limit=wanted.limit, after=after)
        which = ItemFilter(wanted.find.split(), wanted.state or None, (wanted.tag,) if wanted.tag else ())
        listed = ItemsWanted(wanted.limit, which, after)
        return library_page(ws.store, ws.task, listed, bucket=wanted.bucket)


def _card(one: dict[str, Any]) -> dict[str, Any]:
    small, large = (f"/api/images/thumbnail?{urlencode({'key': one['id'], 'side': side})}" for side in (SMALL, LARGE))
    return {**one, "name": PurePath(one["path"]).name, "small": small, "large": large}
