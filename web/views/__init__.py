"""The views: what a room returns as JSON below `/api` and as a page."""

from web.views import acts, adding, quality, row, rows, runs, search, settings

ROUTERS = [
    *(one.router for one in (acts, adding, rows, row, search, runs, quality, settings)),
    acts.last,
]
