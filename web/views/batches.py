"""Batches: every one of every task, with its counts and what it cost."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from pipeline.batch import listing
from web.render import desk_of, show_page
from web.view import Link, View

router = APIRouter()
VIEW = View(router, Link("/batches", "Batches", of_task=False))


@router.get("/api/batches")
def get_batches(request: Request) -> list[dict[str, Any]]:
    """Return every batch, as `findable batches --json`."""
    with desk_of(request).to_read() as ws:
        return [one.document for one in listing.run(ws.store, now=ws.now())]


@router.get("/batches", include_in_schema=False)
def batches_page(request: Request) -> HTMLResponse:
    """Show every batch, the newest first."""
    with desk_of(request).to_read() as ws:
        found = [one.document for one in listing.run(ws.store, now=ws.now())]
        return show_page(request, "batches.html", ws, batches=found[::-1])
