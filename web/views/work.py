"""Long work that a request began: how far it is, and what came of it."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from web.problem import Refused
from web.render import desk_of
from web.running import Work
from web.view import View

router = APIRouter()
VIEW = View(router)


def accepted(work: Work) -> JSONResponse:
    """Return the answer to a request that began long work: 202, and where to look."""
    return JSONResponse(work.document, status_code=202, headers={"location": f"/api/work/{work.number}"})


@router.get("/api/work")
def list_work(request: Request) -> list[dict[str, Any]]:
    """Return the long work that this page began, oldest first."""
    return [one.document for one in desk_of(request).running.every()]


@router.get("/api/work/{number}")
def get_work(request: Request, number: int) -> dict[str, Any]:
    """Return how far one is, and what came of it."""
    found = desk_of(request).running.get(number)
    if found is None:
        raise Refused(404, f"there is no work {number}; the page may have been started again since")
    return found.document
