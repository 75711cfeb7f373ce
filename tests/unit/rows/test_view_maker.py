"""The SQL of the views of a task changes only with the number of its maker."""

import hashlib
from pathlib import Path

from askrows.pipeline.rows.answer_views import MAKER_NUMBER, create_or_replace_views
from tests.delivery import workspace_at
from tests.integration.rows.sources import record_of
from tests.lab import ON_POSTGRESQL

# The maker's number, and the hash of the views that it makes on each database.
MAKER = (12, {"sqlite": "b9ab8004079e5f86", "postgresql": "bfe541d38cf0d8f1"})
FIELDS = (("tone", "text"), ("stars", "integer"), ("day", "date"), ("quotes", "json"))
VIEWS = ("reviews_answers", "reviews_answered")


def test_changed_views_have_a_new_number(tmp_path: Path) -> None:
    """Workspaces notice by the number that their views must be made again."""
    record = record_of(
        "reviews",
        prefix="reviews",
        key=(("id", "text"),),
        fields=FIELDS,
        columns={"id": "text", "price": "real", "tone": "text"},
    )
    with workspace_at(tmp_path / "data").open() as ws, ws.workspace.store.write() as tx:
        create_or_replace_views(tx, record)
        query = "SELECT sql FROM sqlite_master WHERE name = '{}'"
        if ON_POSTGRESQL:
            query = "SELECT pg_get_viewdef('{}'::regclass)"
        definitions = [tx.exec_driver_sql(query.format(name)).scalar_one() for name in VIEWS]

    # The stamp in SQLite's views has the number itself.
    sql = "".join(definition.partition(" */ ")[2] or definition for definition in definitions)
    digest = hashlib.sha256(sql.encode()).hexdigest()[:16]
    number, digests = MAKER
    database = "postgresql" if ON_POSTGRESQL else "sqlite"
    assert (MAKER_NUMBER, digest) == (number, digests[database]), (
        "raise MAKER_NUMBER, and store it here with the new hashes of both databases"
    )
