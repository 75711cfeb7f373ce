"""Judging for the test lab: what variants of the search found, blind, one key each; see `findable lab-judge`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.core.errors import FindableError
from pipeline.core.who import this_person
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index.lab.intervals import SEED
from pipeline.index.lab.judge import GRADES, Card, Judging
from pipeline.index.lab.open_lab import OpenLab
from pipeline.index.lab.systems import SYSTEMS, USUAL
from web import problem
from web.desk import Desk
from web.editor import editor_of, keep_editor, known_editor
from web.form import Sent
from web.problem import Refused
from web.render import desk_of, show_page
from web.running import Work
from web.view import View
from web.views.work import accepted

router = APIRouter()
VIEW = View(router)
MOST = 1500  # characters of an item that are shown
Grade = Annotated[int | None, Query(ge=0, le=max(map(int, GRADES)))]


@router.get("/api/tasks/{task}/judging")
def get_judging(request: Request, task: str) -> dict[str, Any]:
    """Return what is to be judged next, and how many are left; `card` is null where none is."""
    with _judging(desk_of(request), task) as judging:
        return _document(judging)


@router.post("/api/tasks/{task}/judging")
def judge_card(
    request: Request, task: str, *, qid: str, item: str, grade: Grade = None, who: str | None = None
) -> dict[str, Any]:
    """Store a judgement of the card that is next, or that it was skipped, without a grade; return the next one.

    `who` judges, else whose name the browser keeps, else who runs the page.
    """
    with _judging(desk_of(request), task, judge=_judge(request, who)) as judging:
        _act(judging, qid, item, grade)
        return _document(judging)


@router.post("/api/tasks/{task}/judging/undo")
def undo_judgement(request: Request, task: str) -> dict[str, Any]:
    """Take back what was said last, and return it as the next card."""
    with _judging(desk_of(request), task, judge=_judge(request, None)) as judging:
        judging.undo()
        return _document(judging)


@router.post("/api/tasks/{task}/judging/pool", status_code=202)
def begin_pool(request: Request, task: str, variants: str = ",".join(USUAL), seed: int = SEED) -> JSONResponse:
    """Begin to pool the first hits of some variants for every question, in the place of what is left."""
    return accepted(_begin_pool(desk_of(request), task, variants, seed))


@router.get("/judge", include_in_schema=False)
def judge_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show what is to be judged next."""
    return _shown(request, "judge.html", task)


@router.post("/parts/judge/pool", include_in_schema=False)
def pool_by_key(request: Request, task: str) -> HTMLResponse:
    """Begin to pool what the usual variants find, and show how far that is."""
    _begin_pool(desk_of(request), task, ",".join(USUAL), SEED)
    return _shown(request, "parts/judge.html", task)


@router.get("/parts/judge", include_in_schema=False)
def judge_part(request: Request, task: str) -> HTMLResponse:
    """Show the card alone."""
    return _shown(request, "parts/judge.html", task)


@router.post("/parts/judge", include_in_schema=False)
def judge_by_key(request: Request, task: str, *, qid: str, item: str, said: Sent, grade: Grade = None) -> HTMLResponse:
    """Store a judgement under the name that stands on the page, which the browser keeps, and show the next card."""
    who = _judge(request, said.get("who"))
    with _judging(desk_of(request), task, judge=who) as judging:
        _act(judging, qid, item, grade)
    found = _shown(request, "parts/judge.html", task)
    if said.get("who", "").strip():
        keep_editor(found, who)
    return found


@router.post("/parts/judge/undo", include_in_schema=False)
def undo_by_key(request: Request, task: str) -> HTMLResponse:
    """Take back what was said last, and show it."""
    with _judging(desk_of(request), task, judge=_judge(request, None)) as judging:
        judging.undo()
    return _shown(request, "parts/judge.html", task)


def _begin_pool(desk: Desk, task: str, variants: str, seed: int) -> Work:
    """Begin to pool what some variants find, unless that is under way.

    Raises:
        Refused: a variant has no name that is built in, or there is no such task.
    """
    names = tuple(filter(None, (one.strip() for one in variants.split(","))))
    if not names or not SYSTEMS.keys() >= set(names):
        raise Refused(422, f"{variants!r} names no variants", hint=f"some of {', '.join(SYSTEMS)}", field="variants")
    desk.check_there(task)

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws, OpenLab(ws) as opened:
            judging = _judging_of(ws, opened)
            return {"pooled": judging.fill([opened.system(name) for name in names], seed=seed)}

    return desk.running.begin(f"pool {task}", work)


def _judge(request: Request, given: str | None) -> str:
    """Return who judges: the name that is given or kept by the browser, else who runs the page.

    Raises:
        Refused: it is no name.
    """
    return editor_of(request, given) if (given or "").strip() or known_editor(request) else this_person()


@contextmanager
def _judging(desk: Desk, task: str, *, judge: str = "") -> Iterator[Judging]:
    """Open what is left to be judged of a task, to be written where a `judge` is named."""
    with desk.to_write(task) if judge else desk.to_read(task) as ws, OpenLab(ws) as opened:
        yield _judging_of(ws, opened, judge)


def _judging_of(ws: OpenWorkspace, opened: OpenLab, judge: str = "") -> Judging:
    return Judging(ws.store, ws.task, opened.build, judge=judge or this_person(), now=ws.now)


def _act(judging: Judging, qid: str, item: str, grade: int | None) -> None:
    """Store what was said of a card.

    Raises:
        Refused: it is not the one that is next.
    """
    card = judging.next()
    if card is None or (card.qid, card.item_id) != (qid, item):
        raise Refused(409, "this was judged meanwhile, perhaps in another window; it is as it was", hint="go on here")
    judging.act(card, grade)


def _document(judging: Judging) -> dict[str, Any]:
    card = judging.next()
    return {"card": card._asdict() if card else None, "left": card.total - card.done if card else 0}


def _shown(request: Request, template: str, task: str | None) -> HTMLResponse:
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        card: Card | None = None
        failed = None  # what is to be done first, where there is no index whose hits could be judged
        try:
            with OpenLab(ws) as opened:
                card = _judging_of(ws, opened).next()
        except FindableError as error:
            failed = problem.of(error)
        work = desk.running.newest(f"pool {ws.settings.task}")
        known = {"card": card, "failed": failed, "grades": GRADES, "most": MOST}
        names = {"who": known_editor(request), "host": this_person()}
        return show_page(request, template, ws, **known, **names, work=work.document if work else None)
