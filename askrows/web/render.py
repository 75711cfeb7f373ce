"""Render templates: the frame of each page, and how values are displayed."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.quotes import MAX_EXACT_FLOAT, format_likeness, is_quotation
from askrows.pipeline.core.states import Mode, describe_reason
from askrows.pipeline.core.text import format_duration, format_probability, join_first, plural
from askrows.pipeline.store.answers import PERSON
from askrows.pipeline.store.task_record import belongs_to_version
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workflows.table_replacement import find_replacement_obstacle
from askrows.web.app_state import FILE_TASKS, AppState
from askrows.web.background_work import BackgroundJob
from askrows.web.columns import EMPTY_VALUES
from askrows.web.field_shapes import find_input_kind, make_empty_texts
from askrows.web.page_texts import (
    adapt_message_to_page,
    capitalize_first,
    describe_price,
    format_cost,
    quote_setting_names,
    to_html,
    to_plain_text,
    work_label,
)
from askrows.web.uploads import NEW_TASK

# Characters of a long text that a table cell shows.
MAX_CELL_CHARS = 160
# Rows of a batch that one line names.
MAX_NAMED_ROWS = 10
# Colours of highlighted quotations: the CSS classes h0 to h5.
HUE_COUNT = 6
# Hex digits of a hash in the id of an element.
SHORT_HASH_DIGITS = 12
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
# The incomplete last word of a text that was cut.
_PARTIAL_WORD = re.compile(r"\s+\S{0,20}$")
# Display names of the states of rows and of batches. Other states are displayed as they are.
STATE_LABELS = {
    "open": "waiting",
    "untagged": "waiting",
    "claimed": "being asked",
    "tagged": "answered",
    "described": "answered",
    "with_concepts": "answered",
    "refused": "left out",
    "stale": "out of date",
    "empty": "no text",
    "no_bio": "no text",
    "parked": "set aside",
    "prepared": "ready to be sent",
    "submitting": "being sent",
    "submitted": "sent, waiting for the results",
    "downloaded": "answers received",
    "ingested": "done",
}
# Display names of askrows' own columns and facets; others have spaces for underscores.
COLUMN_LABELS = {
    "findability_score": "score",
    "answer_version": "answered by",
    "reviewed": "marked as checked",
    "doubtful": "doubtful answer",
    "reason": "why not answered",
    "versions": "answered by",
    "states": "state",
}
# Models of the local engine, and what they are called.
LOCAL_MODEL_PREFIX = "askrows-local"
LOCAL_ENGINE_LABEL = "local engine"
# The plural noun of every user task; such a task is displayed by its name.
USER_TASK_PLURAL = "rows"
SECTION_PATHS = {
    "rows": "/",
    "search": "/search",
    "runs": "/runs",
    "quality": "/quality",
    "settings": "/settings",
}
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Mark(NamedTuple):
    """A quotation to highlight in a text."""

    # Offsets in characters, and the text between them.
    start: int
    end: int
    quote: str
    # The field or concept that the quotation supports.
    name: str = ""
    # Number of the colour; may be HUE_COUNT or more.
    hue: int = 0


def accepted_response(work: BackgroundJob, said: str = "") -> JSONResponse:
    """Return the response to a request that started work: 202 with the address of its progress.

    `said` is a notice, for a page that does not show the work at once.
    """
    headers = {"location": f"/api/work/{work.number}"}
    document = {**work.document, "said": said}
    return JSONResponse(document, status_code=202, headers=headers)


async def _read_form(request: Request) -> dict[str, str]:
    form = await request.form()
    # A file in a field is ignored: tables are uploaded as the body of a request.
    return {name: text for name, text in form.items() if isinstance(text, str)}


# Fields of a submitted HTML form.
FormFields = Annotated[dict[str, str], Depends(_read_form)]


async def _get_app_state(request: Request) -> Any:
    return request.app.state.app_state


# State of the page that a request belongs to.
PageState = Annotated[AppState, Depends(_get_app_state)]


def render_page(
    app_state: AppState,
    template: str,
    run: Run,
    section: str = "",
    **values: Any,
) -> HTMLResponse:
    """Render a page, or a part of a page, about the task of a workspace.

    The template also gets the used tasks and the sections for the navigation. "search" is a section
    only if the task has an index.

    Args:
        app_state: The state of the page. The template gets its flag `readonly`.
        template: Path of the template.
        run: The run, opened with the task.
        section: The navigation entry to highlight, a key of SECTION_PATHS, or empty.
        values: Further variables of the template.
    """
    task = run.workspace.settings.task
    used_tasks = find_used_tasks(run)
    # Without a table, no page is about rows that the workspace does not have.
    task_query = ""
    drop_task = NEW_TASK
    if used_tasks:
        task_query = f"?task={quote(task)}"
        drop_task = find_drop_task(run, task)
    frame = {
        "task": task,
        "task_nouns": run.task.nouns,
        "column_label": partial(column_label, run.task),
        "drop_task": drop_task,
        "file_tasks": FILE_TASKS,
        "backend": run.workspace.backend,
        "provider": run.workspace.provider,
        "section": section,
        "sections": [
            (name, f"{path}{task_query}")
            for name, path in SECTION_PATHS.items()
            if name != "search" or run.task.index is not None
        ],
        "task_query": task_query,
        # A shipped task is listed once it has rows.
        "tasks": [
            (other.subject, task_title(other))
            for other in run.tasks
            if used_tasks and other.subject in used_tasks | {task}
        ],
        "task_title": task_title(run.task),
        "has_pictures": bool(run.task.folder_table),
        "has_question": run.task.user_file.path is not None,
    }
    return _render(app_state, template, {**frame, **values})


def find_used_tasks(run: Run) -> set[str]:
    """Return the names of the tasks in use; those of FILE_TASKS are in use if they have rows."""
    with run.workspace.store.read() as tx:
        return {
            task.subject
            for task in run.tasks
            if task.subject not in FILE_TASKS or task.rows.has_rows(tx)
        }


def find_drop_task(run: Run, task: str) -> str:
    """Return the task that a file is for if it is dropped on the page of a task.

    It is the task itself if a file can replace or extend its rows, else NEW_TASK.
    """
    is_replaceable = run.task.subject == task and not find_replacement_obstacle(
        run.task, run.workspace.data
    )
    return task if is_replaceable or task in FILE_TASKS else NEW_TASK


def render_problem(app_state: AppState, problem: dict[str, Any]) -> HTMLResponse:
    """Render a problem document as a page, with the status of the problem and the navigation.

    The workspace is not opened, so the page lists no tasks.
    """
    values = {
        "task": app_state.settings.task,
        "drop_task": NEW_TASK,
        "backend": "",
        "section": "",
        "tasks": [],
        "sections": list(SECTION_PATHS.items()),
        "task_query": f"?task={quote(app_state.settings.task)}",
        "task_title": "askrows",
        "has_question": False,
        "problem": problem,
    }
    return _render(app_state, "problem.html", values, status_code=int(problem["status"]))


def _render(
    app_state: AppState, template: str, values: dict[str, Any], *, status_code: int = 200
) -> HTMLResponse:
    variables = {"readonly": app_state.access.readonly, **values}
    return HTMLResponse(_templates.get_template(template).render(variables), status_code)


def task_title(task: Task) -> str:
    """Return the display name of a task: a user task's name, or the plural noun of its rows."""
    plural = task.nouns.plural
    if plural == USER_TASK_PLURAL:
        return task.subject
    return plural.capitalize()


def column_label(task: Task, name: str) -> str:
    """Return the display name of a column of the list of rows, or of a facet.

    A column of the source or a field of the answer keeps its name, such as `reason`; the column of
    askrows is `row_reason` then.
    """
    if name in {*task.record.columns, *dict(task.record.fields)}:
        return name.replace("_", " ")
    return COLUMN_LABELS.get(name.removeprefix("row_"), name.replace("_", " "))


def state_label(state: str | None) -> str:
    """Return the display name of a state of a row or of a batch at the API; None gives ""."""
    name = (state or "").lower().rpartition("state_")[2]
    return STATE_LABELS.get(name, name.replace("_", " "))


def shorten(text: str) -> str:
    """Return a text cut to MAX_CELL_CHARS, without its incomplete last word."""
    if len(text) <= MAX_CELL_CHARS:
        return text
    return f"{_PARTIAL_WORD.sub('', text[:MAX_CELL_CHARS])} …"


def to_text(value: object) -> str:
    """Return a value as text: a list with commas, None as "", a bool as "yes" or "no".

    A float that is a whole number is written without decimals, up to MAX_EXACT_FLOAT.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(to_text, value))
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT_FLOAT:
        return str(int(value))
    return str(value)


def join_value_texts(value: Any) -> str:
    """Return the joined texts of a value: of a quotation its text, of an empty value "nothing".

    Members of a list of objects are separated by semicolons, members of another list by commas, and
    values of an object, without the empty ones, by blanks.
    """
    if isinstance(value, list) and any(isinstance(member, dict) for member in value):
        return "; ".join(map(join_value_texts, value))
    if isinstance(value, dict):
        if is_quotation(value):
            return str(value["quote"])
        members = [member for member in value.values() if member not in EMPTY_VALUES]
        return " ".join(map(join_value_texts, members)) or "nothing"
    return to_text(value) or "nothing"


def version_label(version: str) -> str:
    """Return the display name of a version: its model and question, or "a person".

    The first question is named only if there is no model. A text without a version number is
    returned unchanged.
    """
    prompt_version, _, model = version.partition("/")
    _, separator, number = prompt_version.rpartition("@")
    if not separator:
        return "a person" if version == PERSON else version
    if number == "1" and model:
        return model_label(model)
    return ", ".join(filter(None, [model_label(model), f"question {number}"]))


def model_label(model: str) -> str:
    """Return the display name of a model; all models of the local engine have one name."""
    return LOCAL_ENGINE_LABEL if model.startswith(LOCAL_MODEL_PREFIX) else model


def link_address(value: object) -> Markup:
    """Return a value as HTML; a web address becomes a link that opens without a referrer."""
    text = to_text(value)
    if not _WEB_ADDRESS.fullmatch(text):
        return escape(text)
    link = Markup('<a href="{0}" target="_blank" rel="noopener noreferrer nofollow">{0}</a>')
    return link.format(text)


def highlight(text: str, marks: Sequence[Mark]) -> Markup:
    """Return a text as HTML with its quotations in mark elements.

    A mark element has the CSS class of the mark's hue, and the mark's name as `data-name`. A mark
    is left out if its quotation is empty or differs from the text at its offsets. If marks overlap,
    the later mark has only the rest of its text. All text is escaped. If there is no valid mark and
    the whole text is a web address, it becomes a link.
    """
    html = Markup()
    end = 0
    valid_marks = [
        mark for mark in marks if mark.quote and text[mark.start : mark.end] == mark.quote
    ]
    for mark in sorted(valid_marks):
        start = max(end, mark.start)
        html += escape(text[end:start])
        if mark.end > end:
            attribute = ""
            if mark.name:
                attribute = Markup(' data-name="{}"').format(mark.name)
            element = Markup('<mark class="h{}"{}>{}</mark>')
            html += element.format(mark.hue % HUE_COUNT, attribute, text[start : mark.end])
        end = max(end, mark.end)

    if not html:
        return link_address(text)
    return html + escape(text[end:])


def highlight_spans(text: str, spans: Sequence[Sequence[int]]) -> Markup:
    """Return a text as HTML with the given (start, end) offsets in mark elements."""
    return highlight(
        text,
        [
            Mark(
                start,
                end,
                text[start:end],
            )
            for start, end in spans
        ],
    )


def has_running(work_documents: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a piece of background work runs."""
    return any(work["state"] == "running" for work in work_documents)


def short_hash(text: str) -> str:
    """Return a short text that differs for different texts, for the ids of elements."""
    return hashlib.sha256(text.encode()).hexdigest()[:SHORT_HASH_DIGITS]


_FILTERS: Mapping[str, Any] = {
    "capitalize_first": capitalize_first,
    "describe_price": describe_price,
    "quote_setting_names": quote_setting_names,
    "format_duration": format_duration,
    "first_few": partial(join_first, max_names=MAX_NAMED_ROWS),
    "format_probability": format_probability,
    "format_usd": format_cost,
    "has_running": has_running,
    "highlight": highlight,
    "highlight_spans": highlight_spans,
    "mode_label": lambda mode: Mode(mode).facts.label,
    "model_label": model_label,
    "likeness": format_likeness,
    "plural": plural,
    "link_address": link_address,
    "describe_reason": describe_reason,
    "for_page": adapt_message_to_page,
    "render_message": to_html,
    "short_hash": short_hash,
    "shorten": shorten,
    "state_label": state_label,
    "join_value_texts": join_value_texts,
    "thousands": "{:,}".format,
    "to_plain_text": to_plain_text,
    "to_text": to_text,
    "version_label": version_label,
    "work_label": work_label,
}

_templates.tests["quotation"] = is_quotation
_templates.tests["of_version"] = belongs_to_version
_templates.filters |= _FILTERS
_templates.globals["make_empty_texts"] = make_empty_texts
_templates.globals["find_input_kind"] = find_input_kind
_icon_module: Any = _templates.get_template("parts/icon.html").module
_templates.globals["icon"] = _icon_module.icon
