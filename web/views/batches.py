"""Batches: every one of every task, with its states over time, its counts and what it cost; and how to cancel one."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse

from pipeline.batch import cancel
from pipeline.batch.ingest import batch_account
from pipeline.batch.report import list_batches, summary_of
from pipeline.batch.send import CANCELLED
from pipeline.core.states import BatchState
from pipeline.store import batches, workspace
from web.render import desk_of, show_page
from web.view import Link, View

router = APIRouter()
MOST = 2**31 - 1  # the largest number of a batch that a database can hold
VIEW = View(router, Link("/batches", "Batches", of_task=False))
Number = Annotated[int, Path(ge=1, le=MOST)]
LINES = ("answered", "refused", "invalid", "missing")  # which add up to the requests of a batch that is over


@router.get("/api/batches")
def get_batches(request: Request) -> list[dict[str, Any]]:
    """Return every batch, as `findable batches --json`."""
    with desk_of(request).to_read() as ws:
        return [one.document for one in list_batches(ws.store, now=ws.now())]


@router.get("/api/batches/{number}")
def get_batch(request: Request, number: Number) -> dict[str, Any]:
    """Return one batch with its states over time (`moves`) and what went wrong in it, with examples (`reasons`)."""
    with desk_of(request).to_read() as ws:
        with ws.store.read() as tx:
            task = ws.task_of(batches.get_batch(tx, number).task)
            account = batch_account(tx, task, number)
            moves = workspace.events_about(tx, "batch", number)
        document = summary_of(account.batch, now=ws.now()).document
        reasons = [asdict(one) for one in account.anomalies]
        told = {name: getattr(account, name) for name in ("unapplied", "outdated", "other_versions")}
        return {**document, "moves": moves, "is_over": account.batch.is_over, "reasons": reasons, **told}


def _is_cancelled(batch: dict[str, Any]) -> bool:
    """Return whether a person cancelled a batch, which is no failure."""
    return batch["state"] == BatchState.FAILED and (batch["reason"] or "").startswith(CANCELLED)


def _lines(batch: dict[str, Any]) -> dict[str, int | None]:
    """Return what became of a batch's requests, by outcome; without a result the reasons that are kept tell it.

    Requests that were let go, and are charged with nothing, have none.
    """
    if batch["state"] != BatchState.FAILED:
        return {name: batch[name] for name in LINES}
    found = {name: sum(one["count"] for one in batch["reasons"] if one["outcome"] == name) for name in LINES}
    left = batch["requests"] - sum(found.values())
    return {**found, "let go, to be asked again": left} if left > 0 else dict(found)


@router.post("/api/batches/{number}/cancel")
def cancel_batch(request: Request, number: Number, *, give_up: bool = False) -> dict[str, Any]:
    """Cancel a batch; one that the API does not show any more only where it is to be given up, as `batch-cancel`."""
    with desk_of(request).to_write() as ws:
        report = cancel.run(ws, number=number, confirm=lambda _question: give_up)
    return {"batch": report.number, "said": report.said, "next": report.next}


@router.get("/batches", include_in_schema=False)
def batches_page(request: Request) -> HTMLResponse:
    """Show every batch, the newest first."""
    with desk_of(request).to_read() as ws:
        found = [one.document for one in list_batches(ws.store, now=ws.now())]
        shown = [{**one, "is_cancelled": _is_cancelled(one)} for one in found[::-1]]
        return show_page(request, "batches.html", ws, batches=shown)


@router.get("/batch", include_in_schema=False)
def batch_page(request: Request, number: Annotated[int, Query(ge=1, le=MOST)]) -> HTMLResponse:
    """Show one batch."""
    found = get_batch(request, number)
    with desk_of(request).to_read() as ws:
        known = {"lines": _lines(found), "is_cancelled": _is_cancelled(found)}
        return show_page(request, "batch.html", ws, batch=found, **known)
