"""Passages: each text with what is quoted of it, as two versions have it, side by side."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from pipeline.core.listed import ItemFilter
from pipeline.ops import items
from pipeline.passages import html
from pipeline.passages.marked import MarkedPassage, MarkedVersion
from pipeline.passages.show import marked_of_passage
from web.render import desk_of, etag_of, show_page
from web.view import Link, View

router = APIRouter()
TASK = "passages"
VIEW = View(router, Link("/passages", "Quotations", of_task=False, subject=TASK))
PASSAGES = 10  # of one page
BEGINNING = 400  # characters of a text that nothing is quoted of


@router.get("/api/passages/marked")
def get_marked(request: Request, key: str) -> dict[str, Any]:
    """Return a passage in the parts that its versions quote, each a slice of the text, with what quotes it."""
    with desk_of(request).to_read(TASK) as ws:
        found = marked_of_passage(ws.store, ws.subjects, ws.settings, key)
    return {**found._asdict(), "versions": [_version(one) for one in found.versions]}


@router.get("/passages.css", include_in_schema=False)
def passages_style() -> Response:
    """Return how quotations look: the rules of the file that `export TO=view.html` writes."""
    style = html.STYLE.encode()
    return Response(style, media_type="text/css", headers={"etag": etag_of(style)})


@router.get("/passages", include_in_schema=False)
def passages_page(request: Request, find: str = "", state: str = "", after: str = "") -> HTMLResponse:
    """Show one page of passages."""
    return _shown(request, "passages.html", find=find, state=state, after=after)


@router.get("/parts/passages", include_in_schema=False)
def passages_part(request: Request, find: str = "", state: str = "", after: str = "") -> HTMLResponse:
    """Show the passages alone."""
    return _shown(request, "parts/passages.html", find=find, state=state, after=after)


@router.get("/passage", include_in_schema=False)
def passage_page(request: Request, key: str) -> HTMLResponse:
    """Show one passage."""
    with desk_of(request).to_read(TASK) as ws:
        found = marked_of_passage(ws.store, ws.subjects, ws.settings, key)
        return show_page(request, "passage.html", ws, key=key, marked=html.fragment(found), legend=_legend([found]))


def _shown(request: Request, template: str, *, find: str, state: str, after: str) -> HTMLResponse:
    with desk_of(request).to_read(TASK) as ws:
        which = ItemFilter(find.split(), state or None)
        page = items.run(ws).page(which, limit=PASSAGES, after=after or None)
        found = [marked_of_passage(ws.store, ws.subjects, ws.settings, one.id) for one in page.items]
        with ws.store.read() as tx:
            _, *states = ws.task.counts(tx, now=ws.now())
        asked = {"find": find, "state": state}
        more = urlencode({**asked, "after": page.after}) if page.after else ""
        known = {**asked, "states": states, "more": more, "how_to_fill": ws.task.how_to_fill}
        passages = [(one.id, html.fragment(one, most=BEGINNING)) for one in found]
        return show_page(request, template, ws, passages=passages, legend=_legend(found), **known)


def _legend(passages: Iterable[MarkedPassage]) -> str:
    """Return the types of some passages in their colours, as HTML."""
    versions = (version for one in passages for version in one.versions)
    quoted = (quotation for one in versions for segment in one.segments for quotation in segment.quotations)
    return html.legend(sorted({one.type for one in quoted if one.type}))


def _version(one: MarkedVersion) -> dict[str, Any]:
    segments = [
        {"text": segment.text, "quotations": [quotation._asdict() for quotation in segment.quotations]}
        for segment in one.segments
    ]
    return {"extractor": one.extractor, "segments": segments, "others": [list(other) for other in one.others]}
