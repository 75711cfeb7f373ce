"""The views: what a room returns as JSON below `/api` and as a page."""

from web.views import adding, gallery, home, item, items, records, search

ROUTERS = [one.router for one in (home, items, item, adding, gallery, search, records)]
