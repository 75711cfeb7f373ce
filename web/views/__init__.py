"""The views: what a room returns as JSON below `/api` and as a page."""

from web.views import acts, row, rows

ROUTERS = [one.router for one in (acts, rows, row)]
