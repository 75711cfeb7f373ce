"""The sides of a comparison: a version whose answers are stored, or a model or a file that is asked live."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import InputError
from pipeline.engine import registry
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality.agreement import SideAnswer
from pipeline.store import answers

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Connection


@dataclass(frozen=True)
class Side:
    """One side: what it is called, and where it is asked live the workspace to ask with; `label` is of stored answers.

    A label alone stands for all models of that version.
    """

    name: str
    label: str
    ws: OpenWorkspace | None = None


def is_stored_version(text: str) -> bool:
    """Return whether a side is a version of which stored answers alone are taken.

    It is one by its number, or a label with or without a model.
    """
    return _is_version(text)


def _is_version(text: str) -> bool:
    return text.isdecimal() or "@" in text


def _label_of(task: "Task", text: str) -> str:
    """Return the label that a version's number stands for, else the text itself."""
    return f"{task.label.partition('@')[0]}@{text}" if text.isdecimal() else text


def side_of(ws: OpenWorkspace, text: str) -> Side:
    """Return the side that a text means.

    Raises:
        InputError, ConfigurationError: there is no such file or model, or no answer is kept of the task's.
    """
    if _is_version(text):
        label = _label_of(ws.task, text)
        if not ws.task.keeps_answers:
            raise InputError(
                f"the answers of {ws.task.name} stand in a table of their own, and cannot be compared yet",
                hint="A= and B= may be two models, which are asked",
            )
        return Side(f"the answers of {label}", label)
    if text.endswith(".py") or "/" in text:
        asked = _with_task(ws, Path(text))
        return Side(f"{text} with {asked.model.name}", asked.extractor, asked)
    sources = {**ws.settings.sources, "model": "A= or B="}
    asked = _with_client_of(replace(ws, settings=replace(ws.settings, model=text, sources=sources)), ws)
    return Side(asked.extractor, asked.extractor, asked)


def _with_task(ws: OpenWorkspace, path: Path) -> OpenWorkspace:
    """Return the workspace with the task as another file declares it, about the same rows.

    Raises:
        InputError: the task is built in, or the file declares none about these rows.
    """
    if not registry.is_declared(ws.settings):
        raise InputError(f"{ws.task.name} is no task of a file; nothing was asked", hint="A= and B= may be two models")
    return _with_client_of(replace(ws, task=registry.declared().task_beside(ws.task, path, at=ws.now())), ws)


def _with_client_of(other: OpenWorkspace, ws: OpenWorkspace) -> OpenWorkspace:
    """Return another view of a workspace, with the client of the workspace itself."""
    other.model  # noqa: B018 - what is wrong with its name is said before anything is asked
    other.client = ws.client
    return other


def stored_of(tx: "Connection", task: "Task", side: Side, ids: Sequence[str]) -> dict[str, SideAnswer]:
    """Return what is stored of a side already: of one that is asked, answers to the same question alone."""
    task = side.ws.task if side.ws is not None else task
    if not task.keeps_answers:
        return {}
    rows = answers.newest_of_version(tx, task.name, side.label, ids)
    if side.ws is not None:
        now = {one.id: one.input_hash for one in task.items(tx, ids)}
        rows = {
            key: row
            for key, row in rows.items()
            if row["input_hash"] == now.get(key) and row["fingerprint"] == task.fingerprint
        }
    told = ("tokens_in", "tokens_out", "cost")
    return {
        key: SideAnswer(json.loads(row["answer"]), is_stored=True, **{name: row[name] for name in told})
        for key, row in rows.items()
    }
