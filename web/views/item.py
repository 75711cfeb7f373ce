"""One item: its row beside its answers, where these came from, every request about it, and what is like it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from pipeline.core.answer_paths import is_quotation, leaves
from pipeline.core.errors import InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import show as person
from pipeline.images import TASK as IMAGES
from pipeline.ops import show
from pipeline.passages.show import QuotedPassage, quoted_passage
from pipeline.store.answers import PERSON
from web.asked import Text
from web.desk import PEOPLE
from web.render import as_stated, as_text, desk_of, show_page
from web.steps import NextStep
from web.view import View
from web.views.acts import acts_shown, is_askable
from web.views.passages import TASK as PASSAGES
from web.views.tags import tags_shown

router = APIRouter()
VIEW = View(router)
FEW = 5  # answers that are shown at first
UNUSABLE = "unusable"  # the state of an image that cannot be opened
SIDE = 640  # pixels of the longer side of the picture


@router.get("/api/tasks/{task}/item")
def get_item(request: Request, task: str, key: Text, *, raw: bool = False) -> dict[str, Any]:
    """Return everything known about one item, as `findable show --item KEY --json`."""
    with desk_of(request).to_read(task) as ws:
        return show.run(ws, key, raw=raw)


@router.get("/item", include_in_schema=False)
def item_page(request: Request, key: Text, task: str | None = None, *, raw: bool = False) -> HTMLResponse:
    """Show everything known about one item."""
    with _shown(request, task, key, raw=raw) as (ws, shown):
        return show_page(request, "item.html", ws, **shown)


@router.get("/parts/state", include_in_schema=False)
def state_part(request: Request, key: Text, task: str, state: str = "") -> Response:
    """Have the page shown anew where the state of an item is another one than was shown; else say nothing (204)."""
    with desk_of(request).to_read(task) as ws:
        try:
            with ws.store.read() as tx:
                now = show.state_of(tx, ws.task, key)
        except InputError:
            now = ""  # it is not here any more
    return Response(status_code=204, headers={} if now == state else {"hx-refresh": "true"})


@contextmanager
def _shown(
    request: Request, task: str | None, key: str, *, raw: bool = False
) -> Iterator[tuple[OpenWorkspace, dict[str, Any]]]:
    """Give what the page shows of an item, beside the workspace, which is open for the length of a block."""
    with desk_of(request).to_read(task) as ws:
        known = show.run(ws, key, raw=raw)
        name, tags = ws.settings.task, dict[str, Any]()
        if name == PEOPLE:
            tags = tags_shown(request, person.run(ws, key))
        concepts = {}
        if name == PASSAGES and known["columns"]:
            concepts = concepts_by_version(quoted_passage(ws.store, ws.tasks, ws.settings, known["item"]))
        columns = [(column, as_text(value)) for column, value in known.pop("columns").items()]
        title = heading_of(known, name, columns)
        if tags:  # which stand beside the row
            columns = [one for one in columns if one[0] not in {"name", "tags", "findability_score"}]
        known.pop("task")
        shown = answers_shown(known, tags.get("edits", ()))
        can_ask = is_askable(ws, known)
        cost = NextStep(ws, "").one_call(known["item"]) if can_ask else None
        yield (
            ws,
            {
                **known,
                **title,
                "answers": shown,
                "quotations": list(quotations_in(shown[0].get("answer"))) if shown else [],
                "concepts": concepts,
                "few": FEW,
                "columns": columns,
                "raw": raw,
                "key": key,
                "item_tags": bool(tags),
                "is_answered": as_stated(known["state"]) == ws.task.words.done,
                "has_index": ws.is_indexed,
                **tags,
                **acts_shown(desk_of(request), name, key, known, can_ask=can_ask, cost=cost),
            },
        )


def answers_shown(known: Mapping[str, Any], edits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the answers of an item, newest first; `edit` is the edit by hand that one is, None where a model gave it.

    Each edit kept one answer, so they are in the same order.
    """
    by_hand = iter(edits)
    shown = [{**one, "edit": next(by_hand, None) if one["extractor"] == PERSON else None} for one in known["answers"]]
    return shown[::-1]


def concepts_by_version(passage: QuotedPassage) -> dict[str, list[tuple[str, str]]]:
    """Return what each version found in a passage, by name and type, each once."""
    return {
        extractor: list(dict.fromkeys((one.name, one.type) for one in some))
        for extractor, some in passage.concepts.items()
    }


def heading_of(known: Mapping[str, Any], task: str, columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return how an item is called: `title`, `beside` what else names it, and `picture`, the address of an image."""
    name = known["name"]
    if task == IMAGES:
        address = f"/api/images/thumbnail?{urlencode({'key': known['item'], 'side': SIDE})}"
        return {"title": PurePath(name).name, "beside": "", "picture": "" if known["state"] == UNUSABLE else address}
    full = dict(columns).get("name", "")
    return {"title": full or name, "beside": name if full else "", "picture": ""}


def quotations_in(answer: Any) -> Iterator[tuple[int, int, str]]:
    """Yield each quotation that an answer holds: (start, end, quote)."""
    for _, one in leaves(answer):
        if is_quotation(one) and isinstance(one["start"], int) and isinstance(one["end"], int):  # not a field called so
            yield one["start"], one["end"], one["quote"]
