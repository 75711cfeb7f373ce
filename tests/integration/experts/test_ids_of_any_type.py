"""SQLite tables of other applications whose ids are of no one type: each is that of one person, or they are refused."""

import pytest

from tests.lab import Workspace

pytestmark = pytest.mark.sqlite_only(reason="columns of PostgreSQL have a type")

BIO = "I keep bees and teach water law."


def _people(workspace: Workspace, kind: str, *ids: str) -> None:
    """Make the database of another application, with a person for each id, which is written as in SQL."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    workspace.change(f"CREATE TABLE experts (id {kind}, username TEXT, bio TEXT)")
    for number, key in enumerate(ids):
        workspace.change(f"INSERT INTO experts VALUES ({key}, 'p{number}', '{BIO} {number}')")  # noqa: S608 - ids of ours


@pytest.mark.parametrize("ids", [("5", "'05'"), ("'x1'", "5", "'05'", "-7", "'-07'", "'+7'", "-9223372036854775808")])
def test_a_number_and_a_text_like_it_are_two_people(workspace: Workspace, ids: tuple[str, ...]) -> None:
    """Either is asked about and tagged once, in a batch or live."""
    _people(workspace, "", *ids)
    for command in (["batch-submit", "--limit", "1"], ["tag-live"], ["batch-poll"], ["batch-ingest"], ["doctor"]):
        ran = workspace.ran(*command)
    assert workspace.scalar("SELECT count(*) FROM experts WHERE tags LIKE '[%'") == len(ids)
    assert workspace.scalar("SELECT count(*) FROM findable_answers") == len(ids)
    ran = workspace.run("batch-submit")
    assert (ran.exit_code, "nothing to submit" in ran.output) == (0, True), ran.output


@pytest.mark.parametrize(("kind", "keys"), [("REAL", ("7", "8.5", "999999999999999")), ("NUMERIC", ("1e15", "0.5"))])
def test_a_number_that_comes_back_as_it_is_stays(workspace: Workspace, kind: str, keys: tuple[str, ...]) -> None:
    """As another program writes whole numbers when one of them is missing."""
    _people(workspace, kind, *keys)
    for command in ("batch-submit", "batch-poll", "batch-ingest", "doctor"):
        workspace.ran(command)
    assert workspace.scalar("SELECT count(*) FROM experts WHERE tags LIKE '[%'") == len(keys)
