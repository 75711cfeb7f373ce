"""The views: what a room returns as JSON below `/api` and as a page."""

from web.views import command_api, imports, quality, row, rows, runs, search, settings

ROUTERS = [
    *(one.router for one in (command_api, imports, rows, row, search, runs, quality, settings)),
    command_api.last,
]
