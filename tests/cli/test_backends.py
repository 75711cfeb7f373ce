"""Which backend does the work, what a person is told of it, and that answers of two backends never mix."""

from pathlib import Path

import pytest

from tests.lab import KEY, Api, Workspace

PEOPLE = "Username,First Name,Bio\nada,Ada,I keep bees and teach water law.\nbob,Bob,I mend old clocks.\n"
GEMINI_LINE = "biographies leave this machine"


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """A workspace of two people, without a key."""
    made = Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    assert made.run("import", str(path)).exit_code == 0
    return made


def with_key(workspace: Workspace, api: Api) -> Workspace:
    """Return the same workspace as a user with a key has it."""
    keys = {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": api.url, "FINDABLE_LIST_LAG": "0"}
    return Workspace(workspace.data, workspace.environ | keys)


def said(workspace: Workspace, *args: str, **values: str) -> str:
    """Run a command that must work and return what it said on standard error."""
    result = workspace.ran(*args, **values)
    return result.stderr


@pytest.mark.full
def test_the_first_time_with_a_key_it_is_said_that_data_leaves(local: Workspace, api: Api) -> None:
    """Before the first batch and not again, with the server where it is not Google's; the key is never said or kept."""
    gemini = with_key(local, api)
    first = said(gemini, "batch-submit")
    assert first.count(GEMINI_LINE) == 1
    assert api.url in first
    told = said(gemini, "batch-poll")
    assert GEMINI_LINE not in told
    for command in ("batch-ingest", "index", "status", "settings", "doctor", "batches"):
        told += gemini.run(command).output
    assert KEY not in first + told
    for path in gemini.data.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_a_damaged_state_of_the_local_engine_is_said_plainly(local: Workspace) -> None:
    """Other bytes in the engine's place: exit code 3, named, and the people are as they were."""
    said(local, "batch-submit")
    for name in ("local-engine.sqlite-wal", "local-engine.sqlite-shm"):
        (local.data / name).unlink(missing_ok=True)
    (local.data / "local-engine.sqlite").write_bytes(b"a letter to my aunt\n" * 500)
    result = local.ran("batch-poll", code=3)
    assert "the local engine cannot start" in result.stderr
    assert local.scalar("SELECT state FROM findable_batches") == "submitted"
