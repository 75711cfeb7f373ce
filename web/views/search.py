"""Search: what fits a question best, with the words that matched, and what may be a weak match."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from pipeline.core.ranking import Rank
from pipeline.core.task import Collection
from pipeline.index.filters import Filters
from pipeline.index.hit_documents import whole_document
from pipeline.index.reader import Hit
from pipeline.index.search import OpenSearch, SearchOptions, SearchReport
from web.render import desk_of, show_page
from web.view import Link, View

router = APIRouter()
VIEW = View(router, Link("/search", "Search"))
SHOWN = 20  # hits on a page
OWN_PLACE = ("rank", "similarity", "score", "words_score", "weak", "snippet", "matching_tags", "username", "id")
Many = Annotated[int, Query(ge=1, le=500)]


@router.get("/api/tasks/{task}/search")
def get_search(
    request: Request,
    task: str,
    q: str,
    *,
    k: Many = 10,
    rank: Rank = Rank.HYBRID,
    tag: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI's way, which copies it
    min_score: float | None = None,
    where: str = "",
    why: bool = False,
) -> dict[str, Any]:
    """Return what fits a question best, as `findable search --json`, and how far the index is behind."""
    options = SearchOptions(k, rank, Filters(tuple(tag), min_score, where), why)
    with desk_of(request).to_read(task) as ws, OpenSearch(ws) as opened:
        report, collection = opened.ask(q, options), opened.collection
        hits = [whole_document(collection, hit) for hit in report.hits]
    return {"hits": hits, "behind": report.behind, "lacks_words": report.lacks_words, "weak": report.is_weak}


@router.get("/search", include_in_schema=False)
def search_page(request: Request, q: str = "", task: str | None = None) -> HTMLResponse:
    """Show what fits a question best."""
    with desk_of(request).to_read(task) as ws:
        report = SearchReport([], 0)
        if q.strip():
            with OpenSearch(ws) as opened:
                report = opened.ask(q, SearchOptions(SHOWN))
        hits = [_shown(ws.collection, hit) for hit in report.hits]
        return show_page(request, "search.html", ws, q=q, hits=hits, report=report, question=ws.collection.question)


def _shown(collection: Collection, hit: Hit) -> dict[str, Any]:
    """Return a hit as the page shows it."""
    found = whole_document(collection, hit)
    key = str(hit.metadata.get("id", found.get("id", "")))
    fields = [(name, one) for name, one in found.items() if name not in OWN_PLACE and one not in ("", None, [])]
    title = str(found.get("username") or found.get("id") or key)
    return {"key": key, "title": title, "fields": fields, **found, "pieces": hit.snippet.pieces if hit.snippet else []}
