"""Passages: each text with what its newest version quotes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from pipeline.core.listed import ItemFilter
from pipeline.ops import items
from pipeline.passages.show import QuotedConcept, QuotedPassage, quoted_passage
from web.render import desk_of, show_page
from web.view import Link, View

router = APIRouter()
TASK = "passages"
VIEW = View(router, Link("/passages", "Quotations", of_task=False, subject=TASK))
PASSAGES = 10  # of one page
BEGINNING = 400  # characters of a text that nothing is quoted of


@router.get("/api/passages/marked")
def get_marked(request: Request, key: str) -> dict[str, Any]:
    """Return a passage in the parts that each version quotes, slices of the text, with what quotes them."""
    with desk_of(request).to_read(TASK) as ws:
        found = quoted_passage(ws.store, ws.tasks, ws.settings, key)
    versions = [
        {"extractor": extractor, "segments": _segments(found.text, some)} for extractor, some in found.concepts.items()
    ]
    return {"id": found.id, "source": found.source, "text": found.text, "versions": versions}


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
        passage = _marked(quoted_passage(ws.store, ws.tasks, ws.settings, key))
        return show_page(request, "passage.html", ws, key=key, passage=passage)


def _shown(request: Request, template: str, *, find: str, state: str, after: str) -> HTMLResponse:
    with desk_of(request).to_read(TASK) as ws:
        which = ItemFilter(find.split(), state or None)
        page = items.run(ws).page(which, limit=PASSAGES, after=after or None)
        found = [quoted_passage(ws.store, ws.tasks, ws.settings, one.id) for one in page.items]
        with ws.store.read() as tx:
            _, *states = ws.task.table(tx).counts(tx)
        asked = {"find": find, "state": state}
        more = urlencode({**asked, "after": page.after}) if page.after else ""
        known = {**asked, "states": states, "more": more, "how_to_fill": ws.task.how_to_fill}
        return show_page(request, template, ws, passages=[_marked(one, most=BEGINNING) for one in found], **known)


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
