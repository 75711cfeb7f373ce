"""The passages as they are indexed: their text with the names of their concepts, of any version in sight."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipeline.core.ranking import FieldGroup, Ranking
from pipeline.core.task import Entry
from pipeline.passages import table
from pipeline.tables.cells import cell_words

if TYPE_CHECKING:
    from pipeline.passages.schema import PassagesShape
    from pipeline.store.database import Connection

FOLDER = "tasks/passages"
SHOWN = 1_000  # characters of the text that a hit shows
PAGE = 500  # passages whose concepts are read at once


def is_begun(data: Path) -> bool:
    """Return whether a build of passages was ever begun: then they are indexed, as all else is."""
    return (data / "index" / FOLDER).is_dir()


class PassagesCollection:
    """Every passage with concepts; see `pipeline.core.task.Collection`."""

    task = table.TASK
    folder = FOLDER
    word = "passage"
    question = "…"
    columns: Mapping[str, str] = MappingProxyType(
        {**{name: name for name in ("rank", "similarity")}, "passage": "id", "concepts": "concepts", "text": "text"}
    )
    ranking = Ranking((FieldGroup(("text",)), FieldGroup(("concepts",), 0.5)))

    def __init__(self, shape: "PassagesShape") -> None:
        """Keep how the tables are."""
        self._shape = shape
        self._table = table.item_table(shape)

    def count(self, tx: "Connection") -> int:
        """Return how many passages have concepts in this snapshot."""
        return self._table.total(tx, table.has_concepts(self._shape, None))

    def entries(self, tx: "Connection", among: Sequence[str] | None = None) -> Iterator[Entry]:
        """Yield every passage with concepts, by id; those among some ids in any order."""
        found = table.has_concepts(self._shape, None)
        if among is None:
            rows = self._table.cells(tx, ("id", "text"), found)
        else:
            rows = self._table.among(tx, among, [self._shape.passages.c[name] for name in ("id", "text")], found)
        while page := {cell_words(row[0]): cell_words(row[1]) for row in islice(rows, PAGE)}:
            named = table.concept_names(tx, self._shape, list(page))
            for key, text in page.items():
                yield _entry(key, text, named.get(key, []))

    def name_of(self, metadata: Mapping[str, Any]) -> str:
        """Return the id."""
        return str(metadata["id"])

    def plain_text(self, metadata: Mapping[str, Any]) -> str:
        """Return the text."""
        return str(metadata["text"])

    def texts(self, metadata: Mapping[str, Any]) -> list[str]:
        """Return the text."""
        return [str(metadata["text"])]

    def tags(self, metadata: Mapping[str, Any]) -> list[str]:
        """Return the names of the concepts."""
        return [str(name) for name in metadata["concepts"]]

    def shown(self, rank: int, similarity: float, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return a passage that was found: its id, its concepts, and the beginning of its text."""
        told = {"concepts": metadata["concepts"], "text": metadata["text"][:SHOWN]}
        return {"rank": rank, "id": metadata["id"], "similarity": round(float(similarity), 4), **told}


def _entry(key: str, text: str, concepts: list[str]) -> Entry:
    whole = f"{text} Concepts: {', '.join(concepts)}." if concepts else text
    metadata = {"id": key, "text": text, "concepts": concepts}
    return Entry(key, whole, metadata, concepts, {"text": text, "concepts": "\n".join(concepts)})
