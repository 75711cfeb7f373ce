"""Rows: what a task asks about with its answers, found as one types, counted by what tells them apart, page by page."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from pipeline.core.row_listing import RowCounts, RowFilter
from pipeline.engine.user_task import WHY
from pipeline.engine.workspace import WorkspaceSession
from pipeline.images import TASK as IMAGES
from pipeline.images.task import thumbnail_of
from pipeline.ops import items
from pipeline.passages.show import Passage, quoted_passage
from pipeline.tables.answer_views import EXTRACTOR
from pipeline.tables.lists import REFUSED
from web.app_state import AppState
from web.render import Mark, desk_of, show_page

router = APIRouter()

PASSAGES = "passages"
ROWS = 50  # of one page; of texts with their quotations
TEXTS = 12
LINES = 500  # of CSV that are sent at once
FEW = 8  # values of a kind that are shown at first
BEGINNING = 400  # characters of a text that nothing is quoted of
LABELS = {
    "findability_score": "score",
    "job_title": "title",
    "versions": "version",
    "states": "state",
}
Texts = Annotated[list[str], Field(max_length=100)]
Score = Annotated[
    float | None,
    BeforeValidator(lambda given: given or None),
    Field(ge=0, le=100, allow_inf_nan=False),
]


class RowsQuery(BaseModel):
    """What an address asks of the rows of a task, by the names of the command `items`.

    `only` are conditions that were clicked, each as `where` takes it; `fields` may have several names with commas.
    """

    task: str | None = None
    find: str = Field("", max_length=4_000)
    state: str = Field("", max_length=100)
    tag: Texts = []
    extractor: str = Field("", max_length=200)
    min_score: Score = None
    max_score: Score = None
    where: str = Field("", max_length=4_000)
    only: Texts = []
    id: Annotated[list[str], Field(max_length=500)] = []
    sort: str = Field("", max_length=200)
    fields: Texts = []
    after: str = Field("", max_length=4_000)

    @property
    def which(self) -> RowFilter:
        """Return which rows are meant."""
        where = " AND ".join(
            f"({one})" for one in dict.fromkeys([self.where.strip(), *self.only]) if one
        )
        tags = list(dict.fromkeys(filter(None, self.tag)))
        about = (
            self.state or None,
            tags,
            self.extractor or None,
            self.min_score,
            self.max_score,
            where,
            self.id,
        )
        return RowFilter(self.find.split(), *about)

    @property
    def how(self) -> dict[str, Any]:
        """Return in which order, and which columns are meant."""
        names = dict.fromkeys(
            name for text in self.fields for one in text.split(",") if (name := one.strip())
        )
        return {"sort": self.sort or None, "fields": list(names) or None}

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return it as an address says it, but for the task and the place."""
        told = self.model_dump(exclude={"task", "after"}, exclude_defaults=True)
        several = ((name, one if isinstance(one, list) else [one]) for name, one in told.items())
        return [
            (name, str(each)) for name, some in several for each in some if each not in ("", None)
        ]

    def address(self, path: str, task: str, **anew: Sequence[str]) -> str:
        """Return an address that asks for the same, with some of it as it is given anew."""
        kept = [("task", task), *(pair for pair in self.pairs if pair[0] not in anew)]
        return f"{path}?" + urlencode(
            [*kept, *((name, one) for name, some in anew.items() for one in some)]
        )


Wanted = Annotated[RowsQuery, Query()]


class FacetChoice(NamedTuple):
    """A value that rows are told apart by: how many have it, the address of those alone, and whether it is chosen.

    The address of one that is chosen is without it.
    """

    label: str
    items: int
    href: str
    is_chosen: bool


def choices_of(found: RowCounts, asked: RowsQuery, task: str) -> dict[str, list[FacetChoice]]:
    """Return by what rows can be told apart, with what is chosen, whatever was found: fields first, versions last."""

    def choices(
        name: str, chosen: Sequence[str], values: Sequence[tuple[str, str, int]]
    ) -> list[FacetChoice]:
        given = [one for one in chosen if one]  # these narrow; of others one is chosen
        several = name in {"tag", "only"}
        missing = [
            (one, one, 0)
            for one in given
            if one not in {value for _, value, _ in values} and name != "only"
        ]
        made = []
        for label, value, count in (*missing, *values):
            rest = [one for one in given if one != value] if several or value in given else []
            address = asked.address("/", task, **{name: rest if value in given else [*rest, value]})
            made.append(FacetChoice(label, count, address, value in given))
        return made

    kinds = {
        name: choices("only", asked.only, [(one.value, one.where, one.items) for one in counted])
        for name, counted in found.fields.items()
    }
    known = {one.where for counted in found.fields.values() for one in counted}
    if others := [(one, one, 0) for one in asked.only if one not in known]:
        kinds["chosen"] = choices("only", asked.only, others)
    states = {**found.states, "gone": found.gone} if found.gone else found.states
    for kind, name, chosen, counts in (
        (
            "tags",
            "tag",
            asked.tag,
            {} if found.fields else found.tags or {},
        ),  # which are of the fields, too
        ("states", "state", [asked.state], {one: count for one, count in states.items() if count}),
        ("versions", "extractor", [asked.extractor], found.versions or {}),
    ):
        both = choices(name, chosen, [(one, one, count) for one, count in counts.items()])
        if both and (name != "extractor" or len(both) > 1 or any(chosen)):
            kinds[kind] = both
    return kinds


@router.get("/items.csv", include_in_schema=False)
def items_csv(request: Request, asked: Wanted) -> StreamingResponse:
    """Send all rows that are asked for as CSV, as they come."""
    lines = _csv(desk_of(request), asked)
    first = next(lines)  # or the error
    told = {"content-disposition": f'attachment; filename="{asked.task or "rows"}.csv"'}
    return StreamingResponse(
        chain([first], lines), media_type="text/csv; charset=utf-8", headers=told
    )


@router.get("/", include_in_schema=False)
def rows_page(request: Request, asked: Wanted) -> HTMLResponse:
    """Show one page of a task's rows, under where the task stands."""
    with desk_of(request).to_read(asked.task) as ws:
        return show_page(request, "rows.html", ws, "rows", is_part=False, **_shown(ws, asked))


@router.get("/parts/rows", include_in_schema=False)
def rows_part(request: Request, asked: Wanted) -> HTMLResponse:
    """Show the first page of what is asked for now; the reader's address follows."""
    with desk_of(request).to_read(asked.task) as ws:
        found = show_page(request, "parts/rows.html", ws, "rows", is_part=True, **_shown(ws, asked))
        found.headers["hx-replace-url"] = asked.address("/", ws.settings.task)
    return found


@router.get("/parts/facets", include_in_schema=False)
def facets_part(request: Request, asked: Wanted) -> HTMLResponse:
    """Show how many rows there are of each kind, each with the address that shows those alone."""
    with desk_of(request).to_read(asked.task) as ws:
        found = items.counts(ws, asked.which)
        kinds = choices_of(found, asked, ws.settings.task)
        return show_page(
            request,
            "parts/facets.html",
            ws,
            "rows",
            total=found.total,
            kinds=kinds,
            few=FEW,
            labels=LABELS,
        )


@router.get("/api/images/thumbnail")
def get_thumbnail(
    request: Request, key: str, side: Literal["160", "320", "640"] = "320"
) -> Response:
    """Return the small JPEG of one image, by its id."""
    with desk_of(request).to_read(IMAGES) as ws:
        found = thumbnail_of(ws.store, key, side=int(side))
    return Response(found, media_type="image/jpeg")


def _csv(desk: AppState, asked: RowsQuery) -> Iterator[bytes]:
    with desk.to_read(asked.task) as ws:
        lines = items.csv(ws, asked.which, **asked.how)
        while some := b"".join(islice(lines, LINES)):
            yield some


def _shown(ws: WorkspaceSession, asked: RowsQuery) -> dict[str, Any]:
    task = ws.settings.task
    found, names, after, sorts = _page(ws, asked)
    kind = task if task in {IMAGES, PASSAGES} and asked.state != REFUSED else "table"
    if kind == PASSAGES:
        for one in found:
            one["passage"] = marked_passage(quoted_passage(ws, one["id"]), most=BEGINNING)
    numbers = {name for name in names if any(_is_number(one["values"].get(name)) for one in found)}
    return {
        "kind": kind,
        "has_pages": asked.state != REFUSED,
        "asked": asked,
        "rows": found,
        "headers": [_header(asked, task, one, sorts, is_number=one in numbers) for one in names],
        "next": asked.address("/", task, after=[after]) if after else None,
        "first": asked.address("/", task) if asked.after else None,
        "csv": asked.address("/items.csv", task),
        "facets": asked.address("/parts/facets", task),
        "all": asked.address(
            "/", task, **{name: () for name, _ in asked.pairs if name not in {"sort", "fields"}}
        ),
        "narrows": any(name not in {"sort", "fields"} for name, _ in asked.pairs),
        "kept": [pair for pair in asked.pairs if pair[0] not in {"find", "where"}],
        "about": about(ws),
    }


def about(ws: WorkspaceSession) -> str:
    """Return where the rows of the task in use come from, and under which version they are asked."""
    record = getattr(ws.task, "record", None)
    if record is None or ws.task.subject in {IMAGES, PASSAGES}:
        return ""
    source = "a query" if record.is_query else PurePath(record.items).name
    return f"from {source} · version {record.version}"


def _page(
    ws: WorkspaceSession, asked: RowsQuery
) -> tuple[list[dict[str, Any]], Sequence[str], str | None, Sequence[str]]:
    with ws.store.read() as tx:
        grid = ws.task.grid(tx)
    own = [name for name in grid.more if name not in {EXTRACTOR, f"answer_{EXTRACTOR}"}]
    own += [WHY] if ws.settings.task == IMAGES else []
    own += [name for name in grid.in_state.get(asked.state, ()) if name not in own]
    fields = asked.how["fields"] or [*grid.usual, *own]
    limit = TEXTS if ws.settings.task == PASSAGES else ROWS
    page = items.page(
        ws,
        asked.which,
        limit=limit,
        after=asked.after or None,
        sort=asked.sort or None,
        fields=fields,
    )
    with ws.store.read() as tx:
        names = ws.task.table(tx).names(tx, [one.id for one in page.items])
    rows = [
        {
            "id": one.id,
            "name": names.get(one.id, one.id),
            "state": one.state,
            "values": dict(one.values),
        }
        for one in page.items
    ]
    return rows, page.names, page.after, (*grid.sorts, *grid.slow_sorts)


def marked_passage(passage: Passage, *, most: int | None = None) -> dict[str, Any]:
    """Return a passage with the marks and concepts of the version that wrote last; without any, no more than `most`.

    Each type of concept has a colour of its own, by its place among those that the passage has.
    """
    source, text, found = passage
    types = list(dict.fromkeys(kind for _, kind, _ in found))
    marks = [
        Mark(*quotation, name, types.index(kind))
        for name, kind, quoted in found
        for quotation in quoted
    ]
    return {
        "source": source,
        "text": text if most is None or marks or len(text) <= most else f"{text[:most].rstrip()} …",
        "marks": marks,
        "concepts": list(dict.fromkeys((name, kind, types.index(kind)) for name, kind, _ in found)),
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _header(
    asked: RowsQuery, task: str, name: str, sorts: Sequence[str], *, is_number: bool
) -> dict[str, Any]:
    """Return the head of a column, with the address that sorts by it, and how it is sorted, as ARIA says it."""
    order = {name: "ascending", f"-{name}": "descending"}.get(asked.sort, "none")
    anew = f"-{name}" if order == "ascending" or (is_number and order == "none") else name
    href = asked.address("/", task, sort=[anew]) if name in sorts else None
    label = LABELS.get(name, name.replace("_", " "))
    return {"name": name, "label": label, "href": href, "order": order, "is_number": is_number}
