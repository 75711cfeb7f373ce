"""Quality: how the newest answers are judged, samples to read, what was set aside, tags, and how well search does."""

import json
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.core.errors import FindableError
from pipeline.core.quotes import shown_value
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import tags
from pipeline.index import evaluate as search_quality
from pipeline.ops import items
from pipeline.quality.figures import shown
from pipeline.quality.report import report_documents
from pipeline.store import runs
from web.desk import PEOPLE
from web.problem import Refused
from web.render import accepted, desk_of, show_page
from web.running import Work

router = APIRouter()

SHOWN = 12  # reports that are told of
SAMPLES, NAMED, TAGS = 8, 10, 60
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("/api/tasks/{task}/reports")
def get_reports(request: Request, task: str, limit: Limit = SHOWN) -> list[dict[str, Any]]:
    """Return the newest quality reports of a task, as `findable qc --json` wrote them, the newest first."""
    with desk_of(request).to_read(task) as ws:
        return report_documents(ws.data, ws.task.name, limit=limit)


@router.post("/api/tasks/{task}/eval", status_code=202)
def begin_eval(request: Request, task: str) -> JSONResponse:
    """Begin to measure the search on the judged questions that are kept in the workspace, as `findable eval`."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        if not (files := _judged(ws)):
            raise Refused(409, "no judged questions are kept here; nothing was measured")

    def work(display: Work) -> list[dict[str, Any]]:
        with desk.to_write(task, display) as ws:
            return search_quality.run(ws, *files)

    return accepted(desk.running.begin(f"eval {task}", work))


@router.get("/quality", include_in_schema=False)
def quality_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the newest report, what was set aside, and the tags."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        subject = ws.settings.task
        reports = report_documents(ws.data, ws.task.name, limit=SHOWN)
        with ws.store.read() as tx:
            pilots = [one for one in runs.all_pilots(tx) if one.task == ws.task.name]
        works = [desk.running.newest(f"{kind} {subject}") for kind in ("qc", "eval", "tags")]
        return show_page(
            request,
            "quality.html",
            ws,
            "quality",
            report=reports[0] if reports else None,
            gates=[_gate(reports[0], one) for one in reports[0]["gates"]] if reports else [],
            samples=[{**one, "said": _said(one["said"])} for one in reports[0]["samples"][:SAMPLES]] if reports else [],
            reports=reports,
            drawn={PurePath(one.report).stem: one.number for one in pilots if one.size and one.report},
            parked=_parked(ws),
            counted=tags.count_tags(ws.store) if subject == PEOPLE else None,
            most=TAGS,
            judged=_judged(ws),
            works=[one.document for one in works if one is not None],
        )


def _said(text: str) -> str:
    """Return an answer as a person reads it, field by field, where it is an object of JSON."""
    try:
        answer = json.loads(text)
    except ValueError:
        return text
    return (
        " · ".join(f"{name}: {shown_value(one)}" for name, one in answer.items()) if isinstance(answer, dict) else text
    )


def _gate(report: dict[str, Any], gate: dict[str, Any]) -> dict[str, Any]:
    """Return a gate of a report with what it measures in plain words, its value as it is read, and what is wanted."""
    figure = report["figures"].get(gate["name"], {})
    unit = figure.get("unit", "mean")
    value = shown(gate["value"], unit)
    bounds = [shown(one, unit) for one in (gate["low"], gate["high"]) if one is not None]
    wanted = (
        " to ".join(bounds) if len(bounds) > 1 else f"at {'least' if gate['low'] is not None else 'most'} {bounds[0]}"
    )
    about = figure.get("told", gate["name"])
    return {**gate, "about": about, "shown": value, "wanted": wanted if bounds else ""}


def _parked(ws: OpenWorkspace) -> list[tuple[str, list[str], int]]:
    """Return by reason, the most frequent first, the first rows that are set aside for it, and how many these are."""
    found: dict[str, list[str]] = {}
    for one in items.list_parked(ws.store, ws.task):
        found.setdefault(one.reason, []).append(one.name)
    ordered = sorted(found.items(), key=lambda pair: -len(pair[1]))
    return [(reason, names[:NAMED], len(names)) for reason, names in ordered]


def _judged(ws: OpenWorkspace) -> list[Any]:
    """Return the files with the judged questions of the task in use, where there are some and it is indexed."""
    try:
        folder = ws.data / search_quality.FOLDER / ws.collection.folder
    except FindableError:
        return []
    files = [folder / search_quality.QUERIES, folder / search_quality.QRELS]
    return files if all(one.is_file() for one in files) else []
