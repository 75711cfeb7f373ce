"""Stored answers of a task for Python code: each as the model that the task declares, with where it came from."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic

from pipeline.core.declaration import A_co
from pipeline.core.errors import InputError
from pipeline.core.quotes import Quote
from pipeline.core.settings import Settings
from pipeline.engine.declared import DeclaredTask
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import answers
from pipeline.tables.cells import data_frame, pyarrow_for

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection, Store

Opened = Callable[[], contextlib.AbstractContextManager[OpenWorkspace]]
Telling = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class AnsweredRow(Generic[A_co]):
    """One answer: the item's key as commands take it, the model, its extractor, when, and the row that was asked about.

    Quotations in it are located: `row["text"][quote.start:quote.end] == quote`. `row` is as the source is now, empty
    where the item was removed or is of a built-in task.
    """

    key: str
    answer: A_co
    extractor: str
    answered_at: datetime
    row: Mapping[str, Any]


class Answers(Generic[A_co]):
    """The answers of a task, by key; each iteration reads them anew."""

    def __init__(self, opened: Opened, extractor: str | None, telling: Telling) -> None:
        """Take what opens the workspace, and which answers are wanted; nothing is read yet."""
        self._opened, self._extractor, self._telling = opened, extractor, telling

    def __iter__(self) -> Iterator[AnsweredRow[A_co]]:
        """Yield each answer.

        Raises:
            InputError: one is of another model than the task has now; the message names it.
            ConfigurationError: there is no such task or workspace.
        """
        for page, _ in self._pages():
            yield from page

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a flat row for each answer: the columns of the key, its fields, the extractor, and when.

        Texts, numbers and dates are themselves; all else is as JSON has it, quotations as {quote, start, end}.
        """
        return [_flat(one, keys) for page, keys in self._pages() for one in page]

    def to_arrow(self) -> Any:
        """Return the same as a `pyarrow.Table`, which the extra `parquet` installs."""
        with self._telling():
            return pyarrow_for("an Arrow table").Table.from_pylist(self.to_dicts())

    def to_pandas(self) -> Any:
        """Return the same as a `pandas.DataFrame`, which the extra `pandas` installs."""
        with self._telling():
            return data_frame(self.to_dicts())

    def _pages(self) -> Iterator[tuple[list[AnsweredRow[A_co]], Sequence[str]]]:
        with self._telling(), self._opened() as ws:
            after, of = "", _chosen(ws.store, ws.task, ws.settings, self._extractor)
            while page := self._page(ws.store, ws.task, after, of):
                yield page, [name for name, _ in ws.task.record.key] if isinstance(ws.task, DeclaredTask) else ()
                after = page[-1].key

    def _page(self, store: "Store", task: "Task", after: str, of: str | None) -> list[AnsweredRow[A_co]]:
        with store.read() as tx:
            found = answers.newest_answers(tx, task.name, of=of, after=after)
            rows = _source_rows(tx, task, [one[0] for one in found])
        return [
            AnsweredRow(key, _model_of(task, key, extractor, text), extractor, at, rows.get(key, {}))
            for key, extractor, text, at in found
        ]


def _chosen(store: "Store", task: "Task", settings: Settings, extractor: str | None) -> str | None:
    """Return whose answers are read, as an export chooses; None where each item has one answer that counts, as people.

    Of a task that declares what was not asked yet those are none, for its model is another one than answers have.
    """
    if extractor is None and "extractor" not in task.export_choices:
        return None
    with store.read() as tx:
        there = answers.standing_extractors(tx, task.name)
        named = extractor or settings.version_of(task.name, task.label)
        own = None if task.fingerprint is None else task.label
        declared = named or (None if settings.prefer_versions else own)
        among = [one for one in there if declared is None or answers.is_of(one, declared)]
        rank = answers.ranks(tx, task.name, prefer=settings.prefer_versions or (), label=own)
        chosen = min(among, key=rank, default=None)
    return chosen or declared or ""


def _model_of(task: "Task", key: str, extractor: str, text: str) -> Any:
    try:
        return task.answer.model_validate_json(text)
    except Exception as error:  # a validator of the user's own may raise anything
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"the answer to {key} of {extractor} is none of what {task.name} declares now: {said}",
            hint=f"{task.words.make('export')} TO=answers.jsonl writes answers as they are",
        ) from error


def _source_rows(tx: "Connection", task: "Task", ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not isinstance(task, DeclaredTask):
        return {}
    names = list(task.record.columns)
    return {key: {name: row[name] for name in names} for key, row in task.rows(tx, ids).items()}


def _flat(one: AnsweredRow[Any], keys: Sequence[str]) -> dict[str, Any]:
    as_json = one.answer.model_dump(mode="json")
    told = {name: getattr(one.answer, name) for name in as_json}
    fields = {name: value if _is_plain(value) else as_json[name] for name, value in told.items()}
    named = {name: one.row[name] for name in keys if name in one.row} or {"key": one.key}
    return {**named, **fields, "extractor": one.extractor, "answered_at": one.answered_at}


def _is_plain(value: Any) -> bool:
    return type(value) in {str, int, float, bool, date, datetime, Decimal} and not isinstance(value, Quote)
