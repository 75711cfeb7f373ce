"""Quality: how the newest answers are judged, samples to read, what was set aside, tags, and how well search does."""

import contextlib
import json
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from pipeline.core.quotes import shown_value
from pipeline.engine.workspace import WorkspaceSession
from pipeline.experts import tags
from pipeline.ops import items
from pipeline.quality.figures import shown
from pipeline.quality.report import report_documents
from pipeline.store import runs
from web.app_state import PEOPLE
from web.render import desk_of, show_page

router = APIRouter()

SHOWN = 12  # reports that are told of
SAMPLES = 8
NAMED = 10
TAGS = 60
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("/quality", include_in_schema=False)
def quality_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the newest report, what was set aside, and the tags."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        subject = ws.settings.task
        reports = report_documents(ws.data, ws.task.name, limit=SHOWN)
        with ws.store.read() as tx:
            pilots = [one for one in runs.all_pilots(tx) if one.task == ws.task.name]
        works = [desk.running.newest(f"{kind} {subject}") for kind in ("qc", "tags")]
        return show_page(
            request,
            "quality.html",
            ws,
            "quality",
            report=reports[0] if reports else None,
            gates=[_gate(reports[0], one) for one in reports[0]["gates"]] if reports else [],
            samples=[{**one, "said": _said(one["said"])} for one in reports[0]["samples"][:SAMPLES]]
            if reports
            else [],
            reports=reports,
            drawn={
                PurePath(one.report).stem: one.number for one in pilots if one.size and one.report
            },
            parked=_parked(ws),
            counted=tags.count_tags(ws.store) if subject == PEOPLE else None,
            most=TAGS,
            works=[one.document for one in works if one is not None],
        )


def _said(text: str) -> str:
    with contextlib.suppress(ValueError, AttributeError):  # that is no document
        return " · ".join(f"{name}: {shown_value(one)}" for name, one in json.loads(text).items())
    return text


def _gate(report: dict[str, Any], gate: dict[str, Any]) -> dict[str, Any]:
    """Return a gate of a report with what it measures in plain words, its value as it is read, and what is wanted."""
    figure = {"unit": "mean", "told": gate["name"], **report["figures"].get(gate["name"], {})}
    low, high = (
        None if one is None else shown(one, figure["unit"]) for one in (gate["low"], gate["high"])
    )
    wanted = (
        f"{low} to {high}"
        if low and high
        else f"at least {low}"
        if low
        else f"at most {high}"
        if high
        else ""
    )
    return {
        **gate,
        "about": figure["told"],
        "shown": shown(gate["value"], figure["unit"]),
        "wanted": wanted,
    }


def _parked(ws: WorkspaceSession) -> list[tuple[str, list[str], int]]:
    found: dict[str, list[str]] = {}
    for one in items.list_parked(ws.store, ws.task):
        found.setdefault(one.reason, []).append(one.name)
    ordered = sorted(found.items(), key=lambda pair: -len(pair[1]))
    return [(reason, names[:NAMED], len(names)) for reason, names in ordered]
