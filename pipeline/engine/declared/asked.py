"""Ask about rows as a declaration says, and hold answers against them: one way for all tasks."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any

from pipeline.core.task import Answered, Item, Rows, WriteResult, tuples
from pipeline.store.database import PAGE, streamed
from pipeline.tables.item_table import ItemTable

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.engine.declared.question import Question
    from pipeline.store.database import Connection


class AskedRows(ABC):
    """Rows that a declaration asks about; see `pipeline.core.task.TaskRows` for what each member promises.

    What a subclass says is which rows they are, what is hashed of each, and where answers go.
    """

    needs_row: bool = False  # whether it takes the row to tell whether an answer is valid

    @property
    @abstractmethod
    def question(self) -> "Question":
        """Return how the declaration puts rows to the model."""

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """Return the columns that are read of a row."""

    @abstractmethod
    def table(self, tx: "Connection") -> ItemTable:
        """Return the table of the items."""

    @abstractmethod
    def input_hash(self, row: Mapping[str, Any]) -> str:
        """Return the hash of what is asked about a row."""

    @abstractmethod
    def write(self, tx: "Connection", answers: Sequence[Answered], *, extractor: str, at: datetime) -> WriteResult:
        """Write answers where there is none yet."""

    @abstractmethod
    def remove(self, tx: "Connection", ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take the answers of these items back."""

    @property
    def answer(self) -> "type[BaseModel]":
        """Return the model by which an answer is judged."""
        return self.question.declared.answer

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Return what the declaration sets of a request's `generationConfig` beside the room for the answer."""
        declared = self.question.declared
        told: dict[str, Any] = {"thinkingConfig": declared.thinking, "temperature": declared.temperature}
        if declared.images and declared.media_resolution:
            told["mediaResolution"] = f"MEDIA_RESOLUTION_{declared.media_resolution.upper()}"
        return {name: value for name, value in told.items() if value is not None}

    def items(self, tx: "Connection", rows: Rows) -> Iterator[Item]:  # noqa: ARG002 - some look up more
        """Yield what to ask about these rows."""
        return self.about(rows)

    def about(self, rows: Rows) -> Iterator[Item]:
        """Return what to ask about these rows, by what they hold alone."""
        cells = list(rows.values())
        texts, contexts = self.texts(cells), cells if self.needs_row else repeat(None)
        return tuples(Item, rows, self.question.prompts(texts), self.hashes(cells, texts), contexts)

    def texts(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return what is said to the model about each of some rows."""
        return self.question.texts(rows)

    def hashes(self, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Iterable[str]:  # noqa: ARG002 - some hash these
        """Return the hash of what is asked about each row, of which the text was made."""
        return map(self.input_hash, rows)

    def rows(self, tx: "Connection", ids: Sequence[str], *, locked: bool = False) -> dict[str, dict[str, Any]]:
        """Return these rows that are there, by their ids."""
        return self.table(tx).rows(tx, ids, self.columns, locked=locked)

    def equals(self, tx: "Connection", hashes: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return the open rows of some hashes, by these: where none is kept with a row, every open one is read."""
        found, wanted = dict[str, list[str]](), set(hashes)
        if not wanted:
            return found
        query = self.table(tx).pending(names=self.columns)
        for page in streamed(tx, query, page=PAGE).partitions():
            rows = {row[-1]: dict(zip(self.columns, row, strict=False)) for row in page}
            cells = list(rows.values())
            for key, hashed in zip(rows, self.hashes(cells, self.texts(cells)), strict=True):
                if hashed in wanted:
                    found.setdefault(hashed, []).append(key)
        return found

    def contexts(self, tx: "Connection", ids: Sequence[str]) -> Mapping[str, Any]:
        """Return the rows where it takes them to tell whether an answer is valid."""
        return self.rows(tx, ids) if self.needs_row else {}

    def judged(self, answer: "BaseModel", context: Any, *, input_hash: str) -> "tuple[BaseModel | None, str]":
        """Return a valid answer as it goes on, or None and what is wrong; see `TaskRows.judged`."""
        if context is None or (input_hash and self.input_hash(context) != input_hash):
            return answer, ""
        return self.proven(answer, context)

    def proven(self, answer: "BaseModel", row: Mapping[str, Any]) -> "tuple[BaseModel | None, str]":  # noqa: ARG002
        """Return an answer held against the row that it was asked about."""
        return answer, ""
