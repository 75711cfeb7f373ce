"""Say what only some tasks do: measure, list, begin versions, and what commands that keep a workspace need of them.

Those are its tables, its checks, its exports, erasing one item. A subject implements what it has in a class of its own,
which stands in its `Task`. `Connection` stands for a connection inside a transaction of `pipeline.store`, which the
caller ends.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel
    from sqlalchemy import Connection, Table

    from pipeline.core.task import (
        Collection,
        StaleItems,
        Task,
        VersionCounts,
    )
    from pipeline.quality.figures import Bound, Quality
    from pipeline.tables.grid import Grid


class RowFault(NamedTuple):
    """Something that is wrong with rows of a task: what, why it matters, and what mends it.

    What is no contradiction (another program's doing, a notice) does no harm to data.
    """

    said: str
    why: str
    next: str = ""
    contradiction: bool = True


class CheckResult(NamedTuple):
    """What a look at every row of a task's answers came to: figures for programs, a line of them, and what is wrong."""

    said: str
    figures: Mapping[str, int]
    faults: Sequence[RowFault]


class DerivedCheck(NamedTuple):
    """What is wrong with columns that follow from others, and the items whose answers are here and whose row is not."""

    faults: Sequence[RowFault] = ()
    orphans: Sequence[str] = ()


class ExportWanted(NamedTuple):
    """Which rows to export: the best of each name, those of one extractor, or one for each member of a list.

    Without an `extractor` (a label, with or without a model) they are of the version that is preferred, the first of
    `prefer` that there is. With `cost` each has what its answer took beside it.
    """

    best: bool = False
    extractor: str | None = None
    rows: str | None = None  # the field of the answers that is the list
    cost: bool = False
    prefer: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionShare:
    """How many items have answers of an extractor."""

    extractor: str
    items: int


class ExportRows(NamedTuple):
    """Rows on their way into a file, what makes its bytes of them, and how many they are; None: not known before.

    `encode` takes rows and a format, and yields pieces that never split a row. It raises ConfigurationError where
    Parquet is wanted, and its library is not installed. All are of one `extractor`; None where each has its own.
    """

    rows: Iterable[Any]
    encode: Callable[[Iterable[Any], str], Iterator[bytes]]
    total: int | None = None
    extractor: str | None = None
    versions: Sequence[VersionShare] = ()


class Hooks:
    """What only some tasks do; a body here is what all others need."""

    how_to_index = ""  # what to do or to type that puts the items into a search index, where they are in none
    derives = False  # columns of its rows follow from others, as a score does
    brings_items = False  # a source is read again and again, and would bring back an item that was forgotten
    export_word = "item"  # what one row of an export is called
    export_choices = frozenset[str]()  # which members of `ExportWanted` may be set
    export_formats: Mapping[str, str] = MappingProxyType({})  # of an export, by a file's ending; the first is usual

    def id_of(self, tx: "Connection", name: str) -> str | None:  # noqa: ARG002 - most names are ids
        """Return the id of the item of that name; None where it is the name, as of most tasks.

        Raises:
            InputError: there is none, and the task says so itself.
        """
        return None

    def grid(self, tx: "Connection") -> "Grid | None":  # noqa: ARG002 - not all
        """Return what lists the items; None where they cannot be listed."""
        return None

    def texts(self, tx: "Connection", ids: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002 - not all tell
        """Return by id what is asked about of these items, for a person to read; nothing where a task does not tell."""
        return {}

    def begin_index(self) -> "Collection | None":
        """Return what is indexed from the first build on, where there is none until it is asked for."""
        return None

    def stale(self, tx: "Connection") -> "StaleItems | None":  # noqa: ARG002 - few tell
        """Return which items changed since they were answered; None where a task does not tell."""
        return None

    @property
    def bounds(self) -> "Sequence[Bound]":
        """Return the gates of `quality`; none where the task measures its answers as any other."""
        return ()

    def quality(self, tx: "Connection", extractor: str | None) -> "Quality | None":  # noqa: ARG002 - few measure more
        """Return what the answers of one extractor (None: of all of the task) are like, at flat memory.

        None where they are measured as those of any task.
        """
        return None

    def check_declared(self, fingerprint: str, what: str) -> None:
        """Pass where the task's file declares what was asked under a fingerprint.

        Raises:
            ConfigurationError: it declares another thing now; `what` names what was asked.
        """

    def stored_json(self, answer: "BaseModel", *, applied: bool) -> str:  # noqa: ARG002 - few keep another thing
        """Return the JSON of an answer that the engine keeps."""
        return answer.__pydantic_serializer__.to_json(answer).decode()  # its own method takes twice as long

    def kept_model(self, asked: "type[BaseModel]") -> "type[BaseModel]":
        """Return the model of an answer that is kept whole, which is the one that was asked for in most tasks."""
        return asked

    def written_answers(
        self,
        tx: "Connection",  # noqa: ARG002 - few keep another thing
        extractor: str,  # noqa: ARG002
        ids: Sequence[str],  # noqa: ARG002
    ) -> "Mapping[str, BaseModel]":
        """Return by id the whole answers of an extractor that stand in the subject's rows, and not in `stored_json`."""
        return {}

    def blame(self, error: BaseException, item_id: str) -> None:
        """Pass where what failed while an answer about an item was read is findable's own.

        Raises:
            ConfigurationError: it is the user's, in the model of answers, and so not the item's fault either.
        """

    def new_version(self, tx: "Connection", task: "Task", label: str | None) -> "Task":  # noqa: ARG002 - few have more
        """Return the task under another version, `label` or the next free one; older answers do not count for it.

        Raises:
            InputError: the task has one version alone.
        """
        raise InputError(f"{task.name} has one version alone")

    def versions(self, tx: "Connection") -> "list[VersionCounts] | None":  # noqa: ARG002 - few hold others' answers
        """Return every version that has answers, by label and model.

        None where those are what the record of answers has.
        """
        return None

    def roll_back(
        self,
        tx: "Connection",  # noqa: ARG002 - few hold others' answers
        label: str,  # noqa: ARG002
        *,
        model: str,  # noqa: ARG002
    ) -> int | None:
        """Remove the answers of a version from the subject's rows, in the caller's transaction; return how many.

        None where the record of answers tells whose they are.
        """
        return None

    def tables(self, tx: "Connection") -> "Sequence[Table]":  # noqa: ARG002 - most have none of their own
        """Return the subject's tables, as they are to be on a server after a move."""
        return ()

    def make_tables(self, tx: "Connection", there: "Connection") -> None:
        """Make the tables and views of the subject, as `tx` has them, in the database of a move."""

    def highest_id(self, tx: "Connection", table: "Table") -> int:  # noqa: ARG002 - most give no id again
        """Return the highest number that a row of a table ever had, where the rows there do not tell."""
        return 0

    def check(self, tx: "Connection") -> CheckResult | None:  # noqa: ARG002 - few keep proofs beside their answers
        """Look at every row that was written, at flat memory, and say what was seen also where nothing is wrong.

        None where there is nothing to be looked at.
        """
        return None

    def check_derived(self, tx: "Connection", display: Progress) -> DerivedCheck:  # noqa: ARG002 - few derive columns
        """Compare every column that follows from others with these, and every row with the answer that was applied."""
        return DerivedCheck()

    def refresh_derived(self, tx: "Connection") -> int:  # noqa: ARG002 - few derive columns
        """Bring columns that follow from others up to date; return how many rows were written."""
        return 0

    def settle_foreign(self, tx: "Connection") -> None:
        """Park rows whose answer is another program's text, and let those go where it was mended."""

    def declared_in(self) -> "Path | None":
        """Return the user's own file that declares the task; None where it is built in."""
        return None

    def check_removable(self, tx: "Connection", item_id: str) -> None:
        """Pass when the database lets go of an item's row.

        Raises:
            ConfigurationError: it does not, or rows of this subject are not removed one by one.
        """

    def remove(self, tx: "Connection", item_id: str) -> None:
        """Delete an item's row, if it is there.

        Raises:
            ConfigurationError: the database does not let go of it.
        """

    def export_rows(self, tx: "Connection", wanted: ExportWanted) -> ExportRows:  # noqa: ARG002 - few are exported
        """Return the rows to export, by id, as they are wanted; of `wanted` only `export_choices` are set.

        Raises:
            InputError: two choices exclude each other, or there is no such list, or no row of that extractor.
        """
        return ExportRows((), lambda _rows, _format: iter(()))
