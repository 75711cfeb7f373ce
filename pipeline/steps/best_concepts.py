"""The preferred concepts: of one passage for a person, of all as they come for a program."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigurationError, InputError
from pipeline.passages import export, preferring, subject, table
from pipeline.passages.schema import look
from pipeline.runtime import Runtime

if TYPE_CHECKING:
    from pipeline.passages.schema import Shape
    from pipeline.store.database import Connection


def of(rt: Runtime, passage: str) -> list[dict[str, Any]]:
    """Return the best concepts of one passage, by name.

    Raises:
        InputError: there is no such passage.
    """
    with rt.store.read() as tx:
        shape = _shape(rt, tx)
        if not table.names(tx, shape, [passage]):
            raise InputError(f"there is no passage {passage!r}", hint="its id is what the file of passages has")
        found = preferring.best(tx, shape, subject.preference(rt.settings), passage=passage)
        return [export.document(one) for one in found]


def write_all(rt: Runtime, write: Callable[[bytes], object], *, as_list: bool = False) -> int:
    """Hand the best concepts of every passage over one after the other; return how many there are.

    They are JSON lines, or the rows of one JSON list.
    """
    count = 0
    with rt.store.read() as tx:
        everything = preferring.best(tx, _shape(rt, tx), subject.preference(rt.settings))
        for line in export.encoded(everything, format_="jsonl"):
            write((b",\n" if count else b"[\n") + line.rstrip() if as_list else line)
            count += 1
    if as_list:
        write(b"\n]\n" if count else b"[]\n")
    return count


def _shape(rt: Runtime, tx: "Connection") -> "Shape":
    """Return how the tables are.

    Raises:
        ConfigurationError: this workspace has none.
    """
    if all(one.name != "passages" for one in rt.subjects):
        raise ConfigurationError("there are no passages in this workspace", hint="`make import-passages PASSAGES=…`")
    return look(tx, passages=rt.settings.passages_table)
