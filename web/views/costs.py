"""Costs: what was spent, by day, task, model or batch."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from pipeline.batch import report as batch_report
from pipeline.batch.report import KEYS
from web.render import desk_of, show_page
from web.view import Link, View

router = APIRouter()
VIEW = View(router, Link("/costs", "Costs", of_task=False))
BARS = 31  # of the chart, the newest
By = Annotated[str, Query(pattern=f"^({'|'.join(KEYS)})$")]


@router.get("/api/costs")
def get_costs(request: Request, by: By = "day") -> dict[str, Any]:
    """Return what was spent, as `findable costs --json`."""
    with desk_of(request).to_read() as ws:
        return batch_report.costs(ws.store, ws.tasks, by=by).document


@router.get("/costs", include_in_schema=False)
def costs_page(request: Request, by: By = "day") -> HTMLResponse:
    """Show what was spent."""
    with desk_of(request).to_read() as ws:
        report = batch_report.costs(ws.store, ws.tasks, by=by)
        newest = list(report.rows.items())[-BARS:]
        highest = max((one.cost for _, one in newest), default=0.0)
        bars = [(key, one, one.cost / highest) for key, one in newest] if highest else []
        rows = [*report.rows.items(), *([("all", report.total)] if report.rows else [])]
        return show_page(request, "costs.html", ws, rows=rows, bars=bars, highest=highest, by=by, keys=KEYS)
