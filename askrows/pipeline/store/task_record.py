"""A registered task, as it is stored, and the names of the versions of its answers.

A version of answers is `task@n/model`. A prompt version `task@n` has a version for each model, and
a variant `task@n+hash` for each vocabulary that limits its answers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, or_, true

from askrows.pipeline.core.answer_fields import AnswerField
from askrows.pipeline.core.declaration import HASH_KEY, is_query

# Between a prompt version and the hash of a vocabulary.
VARIANT_MARK = "+"


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """What commands need of a task without loading its file, and the state of the task."""

    name: str
    # The file that declares the task.
    path: str
    # The beginning of the names of its views.
    prefix: str
    # The source of its rows: a query, or the path of a file.
    items: str
    # (name, type) pairs of the key columns.
    key: tuple[tuple[str, str], ...]
    # The type of each column of the source, by name.
    columns: Mapping[str, str]
    # (name, type) pairs of the answer's fields.
    fields: tuple[tuple[str, str], ...]
    # The version of its answers.
    version: int
    fingerprint: str
    # When the record was written.
    at: datetime

    # Model of the task; None for the model of the settings.
    model: str | None = None
    # Template of the names of rows.
    name_template: str | None = None
    # Template of the indexed text.
    index_template: str | None = None
    # Table of the database that has its rows and takes new ones; empty for any other source.
    table: str = ""
    # Column of this table by which rows of files are matched and persons name rows; empty: the key.
    file_key: str = ""
    # Names of the columns of this table in files, if they differ.
    headers: Mapping[str, str] = field(default_factory=dict)
    # Further columns of files, of which a function of the task's file makes cells of this table.
    file_columns: Sequence[str] = ()
    # The indexed text is the result of a function of the file.
    has_index_function: bool = False
    # The column or field of each member of an entry's metadata; empty: the whole row.
    metadata: Mapping[str, str] = field(default_factory=dict)
    # Words of questions that describe no row.
    question_words: Sequence[str] = ()
    # Columns and fields that lists and hits show; empty: the usual.
    list_columns: Sequence[str] = ()
    # The type of each derived value by name, and the columns of other programs that get some.
    derived: Mapping[str, str] = field(default_factory=dict)
    derived_targets: Mapping[str, str] = field(default_factory=dict)
    # The SHA-256 of the file, or a random text; empty if no function makes a stored value.
    functions_id: str = ""
    # Words for a row, for several rows, for answered rows and for empty rows; empty: the usual.
    words: Sequence[str] = ()
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
    # Columns that must have a value: a row with a blank in one of them is not asked.
    required_columns: Sequence[str] = ()
    # The rows are the images of imported folders.
    has_folder: bool = False
    # Columns of images.
    image_columns: Sequence[str] = ()
    # Paths of vocabularies, and of the SQLite file of a query with `source=`.
    needed_files: Sequence[str] = ()

    # State, which is in no file.
    # The SHA-256 of the source when it was read, and size and time of change of its file before
    # that; the latter is None for a query and a folder.
    items_sha256: str | None = None
    items_stamp: str | None = None
    # The place up to which `cursor=` has read the query.
    cursor: Mapping[str, Any] = field(default_factory=dict)
    # Versions that PREFER_VERSIONS stored, in their order.
    preferred_versions: tuple[str, ...] = ()
    # Columns of INDEX_COLUMNS= of the newest build.
    index_columns: Sequence[str] = ()
    # The type of each column of files that the table lacks, by name; its cells are stored beside
    # the table.
    extra_columns: Mapping[str, str] = field(default_factory=dict)
    # Folders that imports of images read.
    image_folders: Sequence[str] = ()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return the record of a stored document; missing members have their defaults."""
        parsed_members = {
            "key": tuple(map(tuple, document["key"])),
            "fields": tuple(map(tuple, document["fields"])),
            "at": datetime.fromisoformat(document["at"]),
            "answer_fields": list(map(AnswerField.from_document, document["answer_fields"])),
            "preferred_versions": tuple(document["preferred_versions"]),
        }
        return cls(**{**document, **parsed_members})

    def to_json(self) -> str:
        """Return the document as it is stored."""
        document = {**asdict(self), "at": self.at.isoformat()}
        return json.dumps(document, ensure_ascii=False)

    @property
    def shown_columns(self) -> dict[str, str]:
        """Return the type of each column of a row by name: source, other files, derived values."""
        return {**self.columns, **self.extra_columns, **self.derived}

    @property
    def is_query(self) -> bool:
        """Return whether the rows come from a query."""
        return is_query(self.items)

    @property
    def has_made_key(self) -> bool:
        """Return whether the key is a hash of the row."""
        return self.key[0][0] == HASH_KEY

    @property
    def line_noun(self) -> str:
        """Return what the number of a row counts: lines of a file, or rows of a query."""
        # Rows of the task's own table are refused by lines of imported files.
        has_files = bool(self.table) and not self.has_folder
        return "row" if self.is_query and not has_files else "line"

    @property
    def prompt_version(self) -> str:
        """Return the prompt version that the file declares: `task@n`."""
        return f"{self.name}@{self.version}"


def has_version(column: ColumnElement[str], version: str | None) -> ColumnElement[bool]:
    """Return the SQL condition that a column has a version; always true if `version` is None.

    Args:
        version: A version, or a prompt version, which means all its models and variants.
    """
    if version is None:
        return true()
    return or_(
        column == version,
        column.startswith(f"{version}/", autoescape=True),
        column.startswith(f"{version}{VARIANT_MARK}", autoescape=True),
    )


def belongs_to_version(version: str, prompt_version: str) -> bool:
    """Return whether a version equals a prompt version, or is one of its models or variants."""
    return version == prompt_version or version.startswith(
        (f"{prompt_version}/", f"{prompt_version}{VARIANT_MARK}")
    )
