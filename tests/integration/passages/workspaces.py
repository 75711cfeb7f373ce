"""A workspace on the local backend in which nothing is ever asked, and passages, for the tests of their tables."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.core.redact import Secret
from pipeline.core.settings import Settings
from pipeline.engine.open_workspace import open_workspace
from pipeline.engine.session import WorkspaceSession
from pipeline.passages import table
from pipeline.passages.shape import ConceptRow, PassagesShape, read_shape
from pipeline.tables.cells import parse_json_cell
from tests import postgresql
from tests.lab import ON_POSTGRESQL
from tests.progress import NullProgress

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LABEL = "passage-concepts@1"


def url_of(directory: Path) -> str:
    """Return the URL of the database of a workspace, which need not be there yet."""
    directory.mkdir(parents=True, exist_ok=True)
    return (
        postgresql.database_of(directory)
        if ON_POSTGRESQL
        else f"sqlite:///{directory / 'findable.db'}"
    )


@contextlib.contextmanager
def workspace(
    directory: Path, *, task: str = "passages", passages: str = "passages"
) -> Iterator[WorkspaceSession]:
    """Open the workspace in a directory."""
    settings = Settings(
        data=directory,
        backend="local",
        database_url=Secret.url(url_of(directory)),
        task=task,
        passages_table=passages,
    )
    with open_workspace(settings, NullProgress(), confirm=lambda _question: True) as ws:
        yield ws


def lines_of(ws: WorkspaceSession) -> list[str]:
    """Return what was said so far."""
    assert isinstance(ws.display, NullProgress)
    return ws.display.lines


def passages_file(path: Path, *lines: dict[str, Any] | str) -> Path:
    """Write a JSON lines file of these documents, or of lines as they are, and return its path."""
    whole = (
        line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines
    )
    path.write_bytes("".join(f"{line}\n" for line in whole).encode("utf-8", "surrogatepass"))
    return path


def rows(ws: WorkspaceSession) -> dict[str, tuple[str, str | None, Any]]:
    """Return text, source and metadata of every passage by id, with None where the table has no such column."""
    with ws.store.read() as tx:
        here = shape(ws)
        ids = list(tx.execute(here.passages.select().with_only_columns(here.item_id)).scalars())
        found = table.item_table(here).read_rows(tx, ids, here.value_columns)
    return {
        key: (row["text"], row.get("source"), parse_json_cell(row.get("metadata")))
        for key, row in found.items()
    }


def shape(ws: WorkspaceSession) -> PassagesShape:
    """Return how the tables of a workspace are."""
    with ws.store.read() as tx:
        return read_shape(tx, passages=ws.settings.passages_table)


def concept(
    passage_id: str, *, name: str = "beekeeping", version: str = LABEL, model: str = "m"
) -> ConceptRow:
    """Return one concept of a passage, ready to be written."""
    return ConceptRow(
        passage_id, name, "method", '["bees"]', 0.75, model, version, '{"surface": "Bees"}', NOW
    )


def add_concepts(ws: WorkspaceSession, concepts: Sequence[ConceptRow]) -> None:
    """Put concepts into the table."""
    here = shape(ws)
    with ws.store.write() as tx:
        table.add_concepts(tx, here, concepts)
