"""Search page: the best matches of a query, and a note if they are weak."""

from collections import Counter
from itertools import chain
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from askrows.pipeline.core.errors import AskrowsError, RemoteError
from askrows.pipeline.core.ranking import RankMode
from askrows.pipeline.index.hits import Hit, choose_hit_name_and_details
from askrows.pipeline.index.indexed_tasks import is_task_indexed
from askrows.pipeline.index.search import SearchReport, SearchSession, make_search_options
from askrows.pipeline.tasks.task_values import IndexedTask
from askrows.web import errors
from askrows.web.app_state import MAX_SEARCH_CALL_S
from askrows.web.render import PageState, render_page
from askrows.web.views.command_api import INDEX_EVENT

router = APIRouter()
# Hits that the page shows first, and adds with each press; the most that it shows.
PAGE_HITS = 20
MAX_HITS = 1_000
# Tags listed for each hit, and as filters of the whole result.
MAX_TAGS = 12


class SearchParameters(BaseModel):
    """Query parameters of the search page, named as the options of the command `search`."""

    task: str | None = None
    # The search query, or in `like` the name of a row to find similar rows of.
    q: str = ""
    like: str = ""
    k: int = Field(PAGE_HITS, ge=1, le=MAX_HITS)
    rank: RankMode = RankMode.HYBRID
    tag: list[str] = []
    where: str = ""

    def run_search(self, open_index: SearchSession) -> SearchReport:
        """Search for rows that are similar to `like`, or that match `q` if `like` is empty."""
        filters: Any = self.model_dump(include={"rank", "where"})
        options = make_search_options(self.k, tag=",".join(self.tag), **filters)
        if self.like:
            return open_index.search_similar(self.like, options)
        return open_index.search(self.q, options)

    @property
    def has_query(self) -> bool:
        """Return whether there is anything to search for."""
        return bool(self.like or self.q.strip())

    def make_address_with_toggled_tag(self, tag: str, task: str) -> str:
        """Return the address of this search in a task, with a filter by a tag added or removed.

        The tag is removed if it is a filter of this search. The other search has the default number
        of hits and the default ranking.
        """
        tags = [active_tag for active_tag in self.tag if active_tag not in {tag, ""}]
        if tag not in self.tag:
            tags.append(tag)
        return self._make_address(task=task, tag=tags, k=PAGE_HITS, rank=RankMode.HYBRID)

    def make_address_with_more_hits(self, task: str) -> str:
        """Return the address of this search in a task, with PAGE_HITS hits more."""
        return self._make_address(task=task, k=self.k + PAGE_HITS)

    def _make_address(self, **changes: Any) -> str:
        """Return the address of this search with changed parameters."""
        parameters = self.model_copy(update=changes).model_dump(exclude_defaults=True)
        return f"/search?{urlencode(parameters, doseq=True)}"

    @property
    def has_filters(self) -> bool:
        """Return whether the result is filtered, or ranked in another way than the default."""
        return any(self.tag) or bool(self.where) or self.rank is not RankMode.HYBRID


@router.get("/search", include_in_schema=False)
def render_search(
    app_state: PageState, query: Annotated[SearchParameters, Query()]
) -> HTMLResponse:
    """Render the best matches, or the page with the error of the search.

    If the provider does not answer a hybrid search for a question, words alone rank the rows, and
    the page says so. Without a query the page has only the form.
    """
    values: dict[str, Any] = {
        "search": None,
        "hits": [],
        "failure": None,
        "query": query,
        "ranks": list(RankMode),
        "max_tags": MAX_TAGS,
        "max_hits": MAX_HITS,
        "frequent_tags": [],
        "is_words_only": False,
        "index_event": INDEX_EVENT,
    }
    with app_state.open_to_read(query.task, call_limit_s=MAX_SEARCH_CALL_S) as run:
        values["choices_by_field"] = {
            field.name: field.choices for field in run.task.answer_fields if field.kind == "choice"
        }
        try:
            with SearchSession(run.workspace, run.service, run.task) as open_index:
                if query.has_query:
                    values |= _run_search(open_index, query)
        except AskrowsError as error:
            values["failure"] = errors.to_problem_document(error)
        with run.workspace.store.read() as tx:
            names = [query.like, *(hit["key"] for hit in values["hits"])]
            values["titles"] = run.task.rows.read_titles(tx, names)
        return render_page(
            app_state,
            "search.html",
            run,
            "search",
            can_index=is_task_indexed(run.workspace, run.task),
            **values,
        )


def _run_search(open_index: SearchSession, query: SearchParameters) -> dict[str, Any]:
    """Run a search and return the template's `search`, `hits`, `frequent_tags`, `is_words_only`.

    `search` is the report, and `hits` are the values of its hits. `frequent_tags` are the MAX_TAGS
    commonest tags of the hits that are not weak. If the provider does not embed the query, a hybrid
    search ranks by words alone, and `is_words_only` is true.

    Raises:
        RemoteError: The provider does not answer, and the search is by vectors or for entries like
            another (`like`), so that words alone do not suffice.
        AskrowsError: An option is wrong.
    """
    is_words_only = False
    try:
        report = query.run_search(open_index)
    except RemoteError:
        if query.rank is not RankMode.HYBRID or query.like:
            raise
        is_words_only = True
        report = query.model_copy(update={"rank": RankMode.WORDS}).run_search(open_index)
    hits = [_hit_values(open_index.indexed_task, hit) for hit in report.hits]
    # The counts only order the tags: a filter by a tag searches all rows, and may find more.
    tag_counts = Counter(chain(*(hit["tags"] for hit in hits if not hit["is_weak"])))
    return {
        "search": report,
        "hits": hits,
        "frequent_tags": [tag for tag, _ in tag_counts.most_common(MAX_TAGS)],
        "is_words_only": is_words_only,
    }


def _hit_values(indexed_task: IndexedTask, hit: Hit) -> dict[str, Any]:
    """Return the values that the template displays of a hit."""
    title, subtitle_parts = choose_hit_name_and_details(indexed_task, hit)
    tags = dict.fromkeys(indexed_task.tags_of(hit.content))
    return {
        "key": indexed_task.get_entry_name(hit.metadata),
        "title": title,
        "subtitle": " · ".join(subtitle_parts),
        "is_weak": bool(hit.is_weak),
        "pieces": hit.snippet.pieces if hit.snippet else [],
        "tags": list(tags),
        "is_untagged": hit.is_untagged,
    }
