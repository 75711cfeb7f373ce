"""A workspace on the local backend without any call, and passages, for tests of tables."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.redact import Secret
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.ops.open_task import open_workspace
from askrows.pipeline.passages import table
from askrows.pipeline.passages.table import ConceptRow, PassagesShape, read_shape
from tests import postgresql
from tests.lab import ON_POSTGRESQL
from tests.progress import NullProgress

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LABEL = "passage-concepts@1"


def url_of(directory: Path) -> str:
    """Return the URL of a workspace's database, which may not exist yet."""
    directory.mkdir(parents=True, exist_ok=True)
    return (
        postgresql.database_of(directory)
        if ON_POSTGRESQL
        else f"sqlite:///{directory / 'askrows.db'}"
    )


@contextlib.contextmanager
def workspace(
    directory: Path, *, task: str = "passages", passages: str = "passages"
) -> Iterator[Run]:
    """Open the workspace in a directory."""
    settings = Settings(
        data=directory,
        backend="local",
        database_url=Secret.from_url(url_of(directory)),
        task=task,
        passages_table=passages,
    )
    with open_workspace(settings, NullProgress(), confirm=lambda _question: True) as ws:
        yield ws


def shape(ws: Run) -> PassagesShape:
    """Return the shape of a workspace's tables."""
    with ws.workspace.store.read() as tx:
        return read_shape(tx, passages=ws.workspace.settings.passages_table)


def concept(
    passage_id: str, *, name: str = "beekeeping", version: str = LABEL, model: str = "m"
) -> ConceptRow:
    """Return a concept of a passage, ready to be written."""
    return ConceptRow(
        passage_id, name, "method", '["bees"]', 0.75, model, version, '{"surface": "Bees"}', NOW
    )


def add_concepts(ws: Run, concepts: Sequence[ConceptRow]) -> None:
    """Write concepts to the table."""
    tables_shape = shape(ws)
    with ws.workspace.store.write() as tx:
        table.insert_concepts(tx, tables_shape, concepts)
