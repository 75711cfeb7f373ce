"""SQLite tables of other applications whose ids are of no one type: each is that of one person, or they are refused."""

import pytest

from tests.lab import Workspace

pytestmark = pytest.mark.sqlite_only(reason="columns of PostgreSQL have a type")

BIO = "I keep bees and teach water law."


def _people(workspace: Workspace, kind: str, *ids: str) -> None:
    """Make the database of another application, with a person for each id, which is written as in SQL."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    workspace.change(f"CREATE TABLE experts (id {kind}, username TEXT, bio TEXT)")
    for number, key in enumerate(ids):  # usernames stand twice, or not at all
        name = "NULL" if number == 1 else "'p'"
        workspace.change(f"INSERT INTO experts VALUES ({key}, {name}, '{BIO} {number}')")  # noqa: S608 - ids of ours


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("", ("'x1'", "5", "'05'", "-7", "'-07'", "'+7'", "-9223372036854775808")),
        ("REAL", ("7", "8.5", "999999999999999")),  # as whole numbers are written where one of them is missing
        ("NUMERIC", ("1e15", "0.5")),
    ],
)
def test_each_id_is_one_person(workspace: Workspace, kind: str, ids: tuple[str, ...]) -> None:
    """A number, a text like it, and a number with decimals: each is asked about and tagged once, in a batch or live."""
    _people(workspace, kind, *ids)
    for command in (
        ["batch-submit", "--limit", "1", "--yes"],
        ["tag-live"],
        ["batch-poll"],
        ["batch-ingest"],
        ["doctor"],
    ):
        workspace.ran(*command)
    assert workspace.scalar("SELECT count(*) FROM experts WHERE tags LIKE '[%'") == len(ids)
    assert workspace.scalar("SELECT count(*) FROM findable_answers") == len(ids)
    assert "nothing to submit" in workspace.ran("batch-submit").output
