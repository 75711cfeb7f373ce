"""Ingest on a PostgreSQL server of this run's own, which syncs as a real one does; moved there by the product itself.

Only this process's CPU is counted, not the server's.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import grounds, outcomes, product
from tests.bench.measure import Said, Timed, held, loads
from tests.postgresql import Server

SYNCING = ("ALTER SYSTEM SET fsync = on", "ALTER SYSTEM SET full_page_writes = on", "SELECT pg_reload_conf()")
NOT_WAITING = ("ALTER DATABASE bench SET synchronous_commit = off",)


def ingest(data: Path, how: str = "") -> Timed:
    """The product on PostgreSQL; `unsynced` lets no commit wait for the disk."""
    url = held(_moved(data, *(NOT_WAITING if how else ())))
    work = product.ingest_on(held(grounds.opened(data, DATABASE_URL=url)))
    return _telling(work, url)


def naive(data: Path) -> Timed:
    """A session and a commit for each row; they do not wait for the disk (`synchronous_commit` off), in its favour."""
    from sqlalchemy import create_engine

    from tests.bench.naive import rows

    url = held(_moved(data, *NOT_WAITING))
    engine = create_engine(url)
    loads("pydantic.alias_generators")
    return _telling(rows.ingest_on(engine, data), url)


def _telling(work: Timed, url: str) -> Timed:
    """Return the work, with what came of it read from the server before that is gone."""
    from sqlalchemy import create_engine

    def run() -> Said:
        began, used = time.perf_counter(), time.process_time()
        said = work()
        measured = {"wall": time.perf_counter() - began, "cpu": time.process_time() - used}
        engine = create_engine(url)
        with engine.connect() as connection:
            found = outcomes.ingested(lambda sql: [tuple(row) for row in connection.exec_driver_sql(sql)])
        engine.dispose()
        return {**said, **measured, **found}

    return run


@contextlib.contextmanager
def _moved(data: Path, *settings: str) -> Iterator[str]:
    from pipeline.ops import move

    with tempfile.TemporaryDirectory(prefix="fb-") as folder:
        Path(folder).chmod(0o755)  # the server runs as another user
        with Server(Path(folder) / "s") as server:
            for statement in SYNCING:
                server.execute(statement)
            url = server.make("bench")
            with grounds.opened(data) as ws:
                move.run(ws, url)
            for statement in ("VACUUM ANALYZE", *settings):
                server.execute(statement, database="bench")
            yield url
