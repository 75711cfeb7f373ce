"""A registered task, as it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

# The key of the preferred versions in `TaskRecord.members`.
PREFERRED_VERSIONS_KEY = "prefer_versions"
# The key of the examples in `TaskRecord.members` that were drawn from corrections: (row id, values
# by column, answer), by prompt version.
DRAWN_EXAMPLES_KEY = "drawn_examples"
# The key of the folders in `TaskRecord.members` that imports of images read.
IMAGE_FOLDERS_KEY = "image_folders"


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
    # Stored members: what commands need without loading the file, and state by the keys above.
    members: Mapping[str, Any] = field(metadata={"column": "words"})
    # When the record was written.
    at: datetime

    @property
    def line_noun(self) -> str:
        """Return what a number of the source counts: lines of a file, or rows of a query."""
        return "row" if self.is_query else "line"

    @property
    def preferred(self) -> tuple[str, ...]:
        """Return the versions that PREFER_VERSIONS stored, in their order; empty if none."""
        return tuple(self.members.get(PREFERRED_VERSIONS_KEY, ()))

    @property
    def prompt_version(self) -> str:
        """Return the prompt version that the file declares: `task@n`."""
        return f"{self.name}@{self.version}"

    def list_examples(self, version: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Return (row id, values by column, answer) of the drawn examples of a version."""
        label = version.partition("/")[0]
        examples = self.members.get(DRAWN_EXAMPLES_KEY, {}).get(label, [])
        return [(row_id, row, answer) for row_id, row, answer in examples]
