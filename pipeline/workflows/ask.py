"""Ask a question about the first rows of any table, show the answers, and say what all rows would cost and take.

What is asked with is the text of the file that `NAME=` keeps, run as that file is: so the two cannot differ. Nothing is
recorded of it but a trial, and what that cost; rows and answers are in memory alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.batch.prepare import BatchPlan
from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.core.step import Step
from pipeline.engine.task_file import ROWS, SOURCES, ItemsRows, declaration_in
from pipeline.engine.task_record import GivenRows, first_used
from pipeline.engine.task_words import TaskDraft, parse_fields, task_text
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.models import Usage
from pipeline.store.database import Store
from pipeline.tables.cells import rows_of
from pipeline.tables.findings import excerpt
from pipeline.tables.read import SourceRow
from pipeline.tables.shown import Table
from pipeline.tables.source import ItemsFile
from pipeline.workflows import new_task, preflight, try_out
from pipeline.workflows.new_task import NewTask
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.try_out import TryReport

FEW = 5
PIECE = 1 << 20  # bytes of a file that are copied at once
STAND_IN = "a stand-in answers here: it shows the way, and cannot judge a question or a prompt"


@dataclass(repr=False)
class AskReport:
    """What was asked: the draft of its file and whether that was kept, all `rows` that hold something, and what came.

    `estimate` says what all rows would come to, None where no reply came.
    """

    draft: TaskDraft
    is_kept: bool
    fields: Sequence[str]
    rows: int
    tried: TryReport
    estimate: Preflight | None

    def __repr__(self) -> str:
        """Return in a line how it ended."""
        return f"{self.tried!r} of {self.rows:,} rows"

    @property
    def answers(self) -> Table[dict[str, Any]]:
        """Return a row for each that was asked about: its key, and its fields, or why there is no valid answer."""
        return Table(
            {self.draft.guess.key: one.id, **(one.answer or {"problem": f"{one.outcome}: {one.reason}".rstrip(": ")})}
            for one in self.tried.items
        )

    @property
    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            **self.draft.document,
            "file": str(self.draft.path) if self.is_kept else None,
            "rows": self.rows,
            "answers": self.answers,
            "tried": self.tried.document,
            "all": None if self.estimate is None else self.estimate.document(),
        }


def prepared(
    items: Any, question: str, *, fields: str = "", name: str = "", data: Path, sheet: str = "", source: str = ""
) -> NewTask:
    """Return what is to be asked, where it can be; nothing is made. `items` are a file, a SELECT, or rows of Python.

    A file may have a `sheet`, a SELECT another database as its `source`, as `new_task.prepared` takes them.

    Raises:
        InputError: the question says nothing, `fields` is no list of fields, the name is taken, or there is no such
            file.
    """
    if not any(map(str.isalnum, question)):
        raise InputError("Q= asks for nothing; nothing was asked", hint='Q="Praise or blame?" is a question')
    found = parse_fields(fields)
    if name:
        new_task.check_name(name, data)
    if isinstance(items, str | Path):
        new = new_task.named(name, str(items), sheet=sheet, source=source)
    elif name:
        raise InputError("rows of Python stand in no file, which name= would keep", hint="write them to a file")
    else:
        new = NewTask(name, ROWS, ItemsRows(rows_of(items)))
    new = new._replace(question=question, fields=found)
    return new if new.table is None else new._replace(draft=_drafted(None, new, new.path))


def run(ws: OpenWorkspace, new: NewTask, *, size: int) -> AskReport:
    """Ask about the first rows that hold something; with a name write the file once they were asked.

    Raises:
        InputError: there is no column of text or no row with one, the name is taken, or it was not confirmed.
        ConfigurationError: no key, no such model, or a budget has no room.
    """
    name, path = new.name, new.path
    if name:
        new_task.check_unused(ws.store, name)
    draft = new.draft or _drafted(ws.store, new, path)
    for note in draft.guess.notes:
        ws.display.say(note)
    text = task_text(draft, question=new.question, fields=new.fields)
    declaration = declaration_in(text.encode(), name or new_task.UNNAMED, path)
    task = GivenRows(declaration, path, draft.rows.columns, ws.settings, at=ws.now())
    ids = task.take(draft.rows, store=ws.store, first=size, at=ws.now(), display=ws.display)
    if not ids:
        raise InputError(f"no row of {draft.what} holds a text to ask about; nothing was asked")
    beside = replace(ws, task=task)
    if ws.backend == "local":
        beside.tell_backend()
        ws.display.say(STAND_IN)
    tried = try_out.ask_about(beside, ids)
    if not any(one.is_judged for one in tried.items):
        tried.check()
    is_kept = bool(name) and not (tried.stopped or tried.interrupted)
    if is_kept:
        new_task.write_new(path, text)
    names = [one.name for one in new.fields]
    return AskReport(draft, is_kept, names, task.total, tried, _for_all(beside, task.total, tried))


def keep(ws: OpenWorkspace, new: NewTask) -> TaskDraft:
    """Keep a question about a file as a task's file in the workspace, with a copy of its rows; both are read at once.

    Raises:
        InputError: there is such a task, the rows stand in no file, or it holds no text to ask about; nothing was kept.
        ConfigurationError: the names of its views are taken, or there is no room for the file.
    """
    name, table = new.name, new.table
    if not isinstance(table, ItemsFile):
        raise InputError("only the rows of a file are kept with a question; nothing was written")
    new_task.check_name(name, ws.data)
    new_task.check_unused(ws.store, name)
    place = Path(SOURCES, f"{name}{table.path.suffix}")
    draft = _drafted(ws.store, new, ws.data / new.path)._replace(items=f"../{place.as_posix()}")
    with files.SealedWriter(ws.data / place) as writer, table.path.open("rb") as rows:
        while piece := rows.read(PIECE):
            writer.write(piece)
        writer.seal()
    new_task.write_new(draft.path, task_text(draft, question=new.question, fields=new.fields))
    try:
        first_used(ws.store, replace(ws.settings, task=name), at=ws.now(), display=ws.display)
    except BaseException:
        draft.path.unlink(missing_ok=True)
        raise
    return draft


def _drafted(store: Store | None, new: NewTask, path: Path) -> TaskDraft:
    """Return the draft, where there is a text to ask about, or an image where nothing of a text is to be quoted."""
    draft = new_task.drafted(store, new, path)
    guess, quotes = draft.guess, any(one.kind == "quote" for one in new.fields)
    if not any(isinstance(one, SourceRow) for one in draft.rows):
        raise InputError(f"{draft.what} has no rows below its header; nothing was asked", hint="give it rows")
    if not (guess.can_be_quoted or (guess.images and (guess.text or not quotes))):
        there = excerpt(", ".join(draft.rows.columns))
        what = "a text to quote" if guess.images else "a text to ask about"
        name = new.name or new_task.name_for(new.items)
        made = Step("new-task", name=name, from_=new.items, source=new.source or None)
        said = f"{draft.what} has no column that holds {what}; nothing was asked. Found: {there}"
        raise InputError(said, hint=f"`{made}` writes a file in which `prompt=` names any columns")
    return draft


def _for_all(ws: OpenWorkspace, rows: int, tried: TryReport) -> Preflight | None:
    used = [one for one in tried.items if one.tokens_in]
    if not used:
        return None
    sums, settings = [sum(getattr(one, name) for one in used) for name in ("tokens_in", "tokens_out")], ws.settings
    tokens_in, tokens_out = (round(one * rows / len(used)) for one in sums)
    batches = math.ceil(max(rows / settings.batch_rows, tokens_in / settings.batch_tokens))
    usage = Usage(prompt=tokens_in, answer=tokens_out)
    return preflight.estimate_plan(ws, BatchPlan(rows, batches, rows, counted_in=tokens_in, usage=usage))
