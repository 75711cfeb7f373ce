"""Views: each module answers JSON requests below `/api` and renders pages.

- `rows` lists rows, `choice_cell` has a choice in that list, and `row` is the page of one row.
  `ask_again` asks selected rows.
- `imports` takes a file, `add_row` one row, and `question` a new question.
- `search`, `quality`, `runs` and `settings` are pages of their own.
- `command_api` has the state of a task, its next step and background work.
"""

from askrows.web.views import (
    add_row,
    ask_again,
    choice_cell,
    command_api,
    imports,
    quality,
    question,
    row,
    rows,
    runs,
    search,
    settings,
)

ROUTERS = [
    command_api.router,
    imports.router,
    add_row.router,
    question.router,
    rows.router,
    row.router,
    choice_cell.router,
    ask_again.router,
    search.router,
    runs.router,
    quality.router,
    settings.router,
    # Last, because its path /api/{command} matches every other path below /api.
    command_api.command_router,
]
