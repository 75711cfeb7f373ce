"""A registered task, as it is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from pipeline.core.answer_fields import AnswerField
from pipeline.core.declaration import HASH_KEY


@dataclass(frozen=True, kw_only=True)
class TaskMembers:
    """What commands need of a declaration without loading its file, and state of the task."""

    # Model of the task; None for the model of the settings.
    model: str | None = None
    # Template of the names of rows.
    name_template: str | None = None
    # Template of the indexed text.
    index_template: str | None = None
    # Table, or table and column, of another program that gets the answers.
    write_to: str | None = None
    # Gates in the format of the GATES setting.
    gates: str = ""
    # Estimated tokens of an answer.
    answer_tokens: int = 0
    # Fields of the answer.
    answer_fields: Sequence[AnswerField] = ()
    # Columns of the prompt.
    asked_columns: Sequence[str] = ()
    # Column that the answer quotes.
    quoted_column: str | None = None
    # Columns that must have text: a row without text there is not asked.
    required_columns: Sequence[str] = ()
    # Columns of images.
    image_columns: Sequence[str] = ()

    # State, which is in no file: the place up to which `cursor=` has read the query.
    cursor: Mapping[str, Any] = field(default_factory=dict)
    # Versions that PREFER_VERSIONS stored, in their order.
    preferred_versions: Sequence[str] = ()
    # Folders that imports of images read.
    image_folders: Sequence[str] = ()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the members of a stored document; missing members have their defaults."""
        answer_fields = [AnswerField.from_document(field) for field in document["answer_fields"]]
        return cls(**{**document, "answer_fields": answer_fields})

    def with_state_of(self, other: Self) -> Self:
        """Return a copy with the state of other members of the task."""
        return replace(
            self,
            cursor=other.cursor,
            preferred_versions=other.preferred_versions,
            image_folders=other.image_folders,
        )


@dataclass(frozen=True)
class TaskRecord:
    """One row of `findable_tasks`: a registered task, and the version of its answers."""

    name: str
    # The file that declares the task.
    path: str
    # The beginning of the names of its tables.
    prefix: str
    # The source of its rows: a query, or the path of a file.
    items: str
    is_query: bool
    # The SHA-256 of that file when it was imported.
    items_sha256: str | None
    # Size and time of change of that file before it was read; None for a query and a folder.
    items_stamp: str | None
    # (name, type) pairs of the key columns.
    key: tuple[tuple[str, str], ...]
    # The type of each column of the source, by name.
    columns: Mapping[str, str]
    # (name, type) pairs of the answer's fields.
    fields: tuple[tuple[str, str], ...]
    version: int
    fingerprint: str
    members: TaskMembers = field(metadata={"column": "words"})
    # When the record was written.
    at: datetime

    @property
    def has_made_key(self) -> bool:
        """Return whether the key is a hash of the row."""
        return self.key[0][0] == HASH_KEY

    @property
    def line_noun(self) -> str:
        """Return what a number of the source counts: lines of a file, or rows of a query."""
        return "row" if self.is_query else "line"

    @property
    def preferred(self) -> tuple[str, ...]:
        """Return the versions that PREFER_VERSIONS stored, in their order; empty if none."""
        return tuple(self.members.preferred_versions)

    @property
    def prompt_version(self) -> str:
        """Return the prompt version that the file declares: `task@n`."""
        return f"{self.name}@{self.version}"
