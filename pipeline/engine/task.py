"""Task, and the types that a task exchanges with the rest of the program.

- A task says which rows are asked, with which prompt, what a valid answer is, where answers are
  written, and how they are listed, exported and searched.
- It consists of attributes and of parts (`pipeline.engine.task_parts`). A task that stores rows or
  answers in its own way has other classes of parts. Some tasks ship. A user's task is made from a
  declaration (`pipeline.engine.user_task`).
- `tx` is a connection inside a transaction of `pipeline.store`. The caller ends the transaction.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from pipeline.core.command_hint import HintTemplate
from pipeline.core.ranking import Entry, Ranking
from pipeline.engine.task_parts import (
    AskedRows,
    OwnTables,
    TaskAnswers,
    TaskExport,
    TaskNouns,
    TaskPrompt,
    TaskRows,
)
from pipeline.tables.cells import find_cell_text

# These are loaded when they are first used.
if TYPE_CHECKING:
    from pipeline.engine.user_task import UserFile


@dataclass(frozen=True, kw_only=True)
class IndexedTask:
    """How a task is indexed and searched; each answered row is an entry."""

    task: str
    # Folder of the builds below DATA/index; empty for the task with stable paths in DATA.
    folder: str = ""
    # Word for an entry.
    entry_noun: str
    # Beginning of a question, for a hint.
    example_question: str = "words of a question"
    # Members of `shown` by column heading of the printed table.
    columns: Mapping[str, str]
    # Weights of an entry's fields, and of words relative to vectors.
    ranking: Ranking
    # Returns the number of entries.
    count_entries: Callable[[Connection], int]
    # Yields the entries of a snapshot by ascending id; `among` limits them to some ids.
    read_entries: Callable[..., Iterable[Entry]]
    # Member of the metadata that names an entry in judged queries.
    key: str = "id"
    # Members of the metadata that phrases are searched in.
    text_members: Sequence[str] = ("text",)
    # Other columns of the source that are searched too.
    text_columns: Sequence[str] = ()
    # Raises InputError if the source has no column of one of these names.
    check_columns: Callable[[Connection, Sequence[str]], None] = lambda _tx, _names: None
    # Returns the tags of an entry from its metadata.
    tags_of: Callable[[Mapping[str, Any]], Sequence[str]]
    # Returns the members of a hit from the metadata, the key first.
    hit_fields: Callable[[Mapping[str, Any]], dict[str, Any]]
    # Yields the rows without an answer that only their words find, by ascending id.
    read_untagged: Callable[[Connection], Iterable[Entry]] = lambda _tx: ()
    # Commands keep the index up to date only after `index` built it once.
    is_on_request: bool = False

    def name_of(self, metadata: Mapping[str, Any]) -> str:
        """Return the name of an entry in judged queries."""
        return str(metadata[self.key])

    def texts_of(
        self,
        metadata: Mapping[str, Any],
        extra_cells: Mapping[str, Any],
    ) -> list[str]:
        """Return the non-empty texts of an entry that phrases and snippets are taken from.

        Args:
            metadata: The entry's part of `metadata.json`.
            extra_cells: Its other columns of the source.
        """
        texts = [str(metadata[name]) for name in self.text_members if metadata[name]]
        column_texts = (find_cell_text(extra_cells, name) for name in self.text_columns)
        return [*texts, *filter(None, column_texts)]

    def hit_document(
        self,
        rank: int,
        similarity: float | None,
        metadata: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return a hit as a JSON document: rank, key, similarity, then its other members.

        Args:
            similarity: Cosine; 1.0 for the same direction.
        """
        fields = self.hit_fields(metadata)
        key_name = next(iter(fields))
        cosine = None if similarity is None else round(float(similarity), 4)
        return {"rank": rank, key_name: fields[key_name], "similarity": cosine, **fields}


@dataclass(eq=False, kw_only=True)
class Task:
    """Definition of the rows, prompt, answers and outputs of a task."""

    # First part of every request key.
    name: str
    # Value of TASK= in commands.
    subject: str
    # State of prompt and schema (`task@n`). With the model it is the version of an answer.
    prompt_version: str
    nouns: TaskNouns
    # Hint that is shown if there are no rows yet.
    fill_hint: HintTemplate
    # Unattended runs over all rows need a pilot that passed its gates.
    needs_pilot: bool = False
    # Gates of the task in the form of the setting GATES, which overrides them.
    gates: str = ""
    # Fingerprint of a user's declaration, which batches, calls and answers store.
    fingerprint: str | None = None
    # Where the rows come from and how to change them; empty if rows are imported. Rows of a source
    # are read again and again, so that a forgotten row would return.
    source_hint: HintTemplate | str = ""
    rows: TaskRows
    prompt: TaskPrompt
    answers: TaskAnswers
    export: TaskExport
    own_tables: OwnTables = field(default_factory=OwnTables)
    # The record and the file of a user's task, or of a shipped task of the same kind.
    user_file: "UserFile | None" = None
    index: IndexedTask | None = None
    # Hint that is shown if the task has no index.
    index_hint: HintTemplate | str = ""

    def require_user_file(self) -> "UserFile":
        """Return the file of a task that is known to be a user's task."""
        assert self.user_file is not None  # noqa: S101 - the caller knows it
        return self.user_file

    def with_asked_rows(self, asked_rows: AskedRows) -> "Task":
        """Return a copy of the task in which a command asks these rows."""
        return replace(self, rows=replace(self.rows, asked_rows=asked_rows))
