"""Costs: what was spent, by day, task, model or batch."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from pipeline.cost import costs
from web.render import desk_of, show_page
from web.view import Link, View

router = APIRouter()
VIEW = View(router, Link("/costs", "Costs", of_task=False))
By = Annotated[str, Query(pattern=f"^({'|'.join(costs.KEYS)})$")]


@router.get("/api/costs")
def get_costs(request: Request, by: By = "day") -> dict[str, Any]:
    """Return what was spent, as `findable costs --json`."""
    with desk_of(request).to_read() as ws:
        return costs.document(costs.run(ws.store, ws.subjects, by=by))


@router.get("/costs", include_in_schema=False)
def costs_page(request: Request, by: By = "day") -> HTMLResponse:
    """Show what was spent."""
    with desk_of(request).to_read() as ws:
        report = costs.run(ws.store, ws.subjects, by=by)
        rows = [*report.rows.items(), *([("all", report.total)] if report.rows else [])]
        return show_page(request, "costs.html", ws, rows=rows, by=by, keys=list(costs.KEYS))
