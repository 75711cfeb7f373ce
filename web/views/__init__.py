"""The views, a module for each: the same function of a room as JSON below `/api` and as a page."""

from web.view import View
from web.views import (
    acts,
    batches,
    costs,
    home,
    images,
    imports,
    index,
    item,
    items,
    passages,
    people,
    reports,
    search,
    settings,
    tags,
    work,
)

VIEWS: tuple[View, ...] = (  # their links stand on top of a page in this order
    home.VIEW,
    items.VIEW,
    item.VIEW,
    tags.VIEW,
    acts.VIEW,
    people.VIEW,
    imports.VIEW,
    passages.VIEW,
    images.VIEW,
    search.VIEW,
    index.VIEW,
    reports.VIEW,
    batches.VIEW,
    costs.VIEW,
    settings.VIEW,
    work.VIEW,
)
