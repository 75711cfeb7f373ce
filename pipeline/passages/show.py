"""The preferred concepts: of one passage for a person, of all as they come for a program."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.passages import best, export, subject, table
from pipeline.passages.schema import read_shape

if TYPE_CHECKING:
    from pipeline.passages.schema import PassagesShape
    from pipeline.store.database import Connection


def best_of_passage(ws: OpenWorkspace, passage: str) -> list[dict[str, Any]]:
    """Return the best concepts of one passage, by name.

    Raises:
        InputError: there is no such passage.
    """
    with ws.store.read() as tx:
        shape = _shape(ws, tx)
        if not table.passage_names(tx, shape, [passage]):
            raise InputError(f"there is no passage {passage!r}", hint="its id is what the file of passages has")
        found = best.best_concepts(tx, shape, subject.preference(ws.settings), passage=passage)
        return [export.concept_document(one) for one in found]


def write_all_best(ws: OpenWorkspace, write: Callable[[bytes], object], *, as_list: bool = False) -> int:
    """Hand the best concepts of every passage over one after the other; return how many there are.

    They are JSON lines, or the rows of one JSON list.
    """
    count = 0
    with ws.store.read() as tx:
        everything = best.best_concepts(tx, _shape(ws, tx), subject.preference(ws.settings))
        for line in export.encode_concepts(everything, format_="jsonl"):
            write((b",\n" if count else b"[\n") + line.rstrip() if as_list else line)
            count += 1
    if as_list:
        write(b"\n]\n" if count else b"[]\n")
    return count


def _shape(ws: OpenWorkspace, tx: "Connection") -> "PassagesShape":
    """Return how the tables are.

    Raises:
        ConfigurationError: this workspace has none.
    """
    if all(one.name != "passages" for one in ws.subjects):
        raise ConfigurationError("there are no passages in this workspace", hint="`make import-passages PASSAGES=…`")
    return read_shape(tx, passages=ws.settings.passages_table)
