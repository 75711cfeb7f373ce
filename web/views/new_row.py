"""Form for a new row of a task whose rows are stored in the workspace."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from pipeline.core.errors import FindableError, InputError
from pipeline.engine.task import Task
from pipeline.engine.user_task import UserTask
from pipeline.workflows import row_additions
from web.errors import to_line
from web.render import FormFields, PageState, render_page

router = APIRouter()

# Kinds of columns whose value is short; other values get a text area.
SHORT_KINDS = ("integer", "real", "boolean")
MAX_COLUMN_FIELDS = 100
FIELD_PREFIX = "column."


@dataclass
class NewRowForm:
    """A row as it was typed, and how its last submission ended."""

    # Text by column.
    texts: Mapping[str, str] = field(default_factory=dict)
    # Message by the column that it belongs to; the empty name has that of the whole row.
    messages: dict[str, str] = field(default_factory=dict)
    # Key of the row that was added last.
    added_key: str = ""


@router.post("/parts/new-row", include_in_schema=False)
def add_row(app_state: PageState, task: str, form: FormFields) -> HTMLResponse:
    """Add a row to the source of a task; render the form again.

    The text of a column is the form's field `column.NAME`. If the row is added, the rendered form
    is empty and has a link to the row. If the row is refused, the form has the typed texts, and the
    reason next to its field, or above the form if it is about no field.
    """
    with app_state.open_to_read(task) as ws:
        names = [name for name, _, _ in list_row_fields(ws.data, ws.task)]
    texts = {name: form.get(f"{FIELD_PREFIX}{name}", "") for name in names}
    new_row = NewRowForm(texts)
    try:
        _check_columns(form, names)
        with app_state.open_to_write(task) as ws:
            key = row_additions.add_row(ws, texts)
    except InputError as error:
        new_row.messages[error.field if error.field in texts else ""] = to_line(error)
    except FindableError as error:
        new_row.messages[""] = to_line(error)
    else:
        new_row = NewRowForm(added_key=key)

    with app_state.open_to_read(task) as ws:
        return render_page(
            app_state,
            "parts/new_row.html",
            ws,
            new_row=new_row,
            row_fields=list_row_fields(ws.data, ws.task),
        )


def _check_columns(form: Mapping[str, str], names: Collection[str]) -> None:
    """Raise InputError unless a form has a field for each of these columns, and no other."""
    typed_names = {
        name.removeprefix(FIELD_PREFIX) for name in form if name.startswith(FIELD_PREFIX)
    }
    if typed_names != set(names):
        raise InputError("the columns have changed; nothing was added. Check the form")


def list_row_fields(data: Path, task: Task) -> list[tuple[str, bool, bool]]:
    """Return (column, is part of the key, is one line) of each field of the form for a new row.

    The columns are the recorded ones of the task's source, which is not read; the key comes first.
    A field is one line if its column is part of the key, or of a kind in SHORT_KINDS. The list is
    empty if no row can be added to the task, or if the form would have more than MAX_COLUMN_FIELDS
    fields.

    Args:
        data: The folder of the workspace. Rows can only be added to a source that is in it.
    """
    if not isinstance(task, UserTask) or not row_additions.can_add_rows(task, data):
        return []
    columns = task.record.columns
    keys = [name for name, _ in task.record.key if name in columns]
    names = [*keys, *(name for name in columns if name not in keys)]
    if len(names) > MAX_COLUMN_FIELDS:
        return []
    return [(name, name in keys, columns[name] in SHORT_KINDS or name in keys) for name in names]
