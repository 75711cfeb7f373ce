"""Search: what fits a question best, and what may be a weak match."""

from collections import Counter
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, BeforeValidator, Field

from pipeline.core.errors import FindableError
from pipeline.core.ranking import RankMode
from pipeline.engine.task import IndexedTask
from pipeline.index.build_reader import Hit, heading
from pipeline.index.search import SearchReport, SearchSession, search_options
from web import errors
from web.render import desk_of, show_page

router = APIRouter()
TAGS = 12  # of a hit, and of what was found
Blank = BeforeValidator(
    lambda given: None if given == "" else given
)  # what a form sends of an empty field


class SearchRequest(BaseModel):
    """A question, or `like` the name of what others are to be like, and how to search, as `findable search` has it."""

    task: str | None = None
    q: str = ""
    like: str = ""
    k: int = Field(20, ge=1, le=100)
    rank: RankMode = RankMode.HYBRID
    tag: list[str] = []
    min_score: Annotated[float | None, Blank] = None
    where: str = ""

    def of(self, opened: SearchSession) -> SearchReport:
        """Return what was found."""
        how: Any = self.model_dump(include={"rank", "min_score", "where"})
        options = search_options(self.k, tag=",".join(self.tag), **how)
        return opened.ask_like(self.like, options) if self.like else opened.ask(self.q, options)

    @property
    def is_asked(self) -> bool:
        """Whether there is a question."""
        return bool(self.like or self.q.strip())

    def with_tag(self, tag: str, task: str) -> str:
        """Return the address that asks the same of what has a tag, or no longer only of that."""
        tags = [one for one in self.tag if one != tag] if tag in self.tag else [*self.tag, tag]
        about = self.model_dump(include={"q", "like", "where", "min_score"}, exclude_defaults=True)
        return "/search?" + urlencode(
            [("task", task), *about.items(), *(("tag", one) for one in tags if one)]
        )

    @property
    def narrows(self) -> bool:
        """Whether it says more than the question."""
        return (
            bool(any(self.tag) or self.min_score is not None or self.where) or self.rank != "hybrid"
        )


@router.get("/search", include_in_schema=False)
def search_page(request: Request, asked: Annotated[SearchRequest, Query()]) -> HTMLResponse:
    """Show what fits a question best, or why it cannot be asked, with all that was asked."""
    known: dict[str, Any] = {
        "found": None,
        "failed": None,
        "asked": asked,
        "ranks": list(RankMode),
        "facets": [],
    }
    with desk_of(request).to_read(asked.task) as ws:
        try:
            known["question"] = ws.collection.question
            with SearchSession(ws) as opened:
                if asked.is_asked:
                    report = asked.of(opened)
                    hits = [_shown(opened.collection, hit) for hit in report.hits]
                    known["found"] = {"report": report, "hits": hits}
                    known["facets"] = Counter(
                        tag for hit in hits for tag in hit["tags"]
                    ).most_common(TAGS)
        except FindableError as error:
            known = {"question": "", **known, "failed": errors.of(error)}
        page = show_page(request, "search.html", ws, "search", **known)
    page.status_code = known["failed"]["status"] if known["failed"] and asked.is_asked else 200
    return page


def _shown(collection: IndexedTask, hit: Hit) -> dict[str, Any]:
    found, (title, beside) = collection.told(hit.metadata), heading(collection, hit)
    return {
        "key": collection.name_of(hit.metadata),
        "title": title,
        "beside": " · ".join(beside),
        "why": hit.why,
        "pieces": hit.snippet.pieces if hit.snippet else [],
        "text": str(found.get("text") or ""),
        "tags": list(dict.fromkeys(collection.tags(hit.metadata)))[:TAGS],
        "matching_tags": hit.tags,
    }
