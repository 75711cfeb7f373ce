"""Test that the index in service is always a complete build."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from tests import postgresql
from tests.acceptance.database import run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import ON_POSTGRESQL, Workspace
from tests.acceptance.steps import REPLACED, ROT, SHORT, Fate, damage_file

ENTRY_FIELDS = [
    "id",
    "username",
    "First Name",
    "Last Name",
    "Job Title",
    "Company",
    "Bio",
    "Hourly Rate",
    "Currency",
    "Profile URL",
    "Profile URL with UTM",
    "tags",
    "findability_score",
    "category",
]
# A question that is embedded begins with this text, and a row does not.
QUESTION_PREFIX = "task: search result"
# Files that each version of the product writes for readers.
READER_FILES = ("faiss.index", "metadata.json", "manifest.json")
# Exit code for stored data that contradict each other.
INCONSISTENT = 5


def import_tagged(workspace: Workspace, count: int, *, first: int = 0) -> list[str]:
    """Import people and tag them as another program would; return their usernames."""
    names = workspace.import_people(count, first=first)
    tags = '["bees", "water law"]'
    run_sql(workspace, "UPDATE experts SET tags = :tags WHERE tags IS NULL", tags=tags)
    return names


def current_folder(workspace: Workspace) -> Path:
    """Return the folder of the build in service."""
    return (workspace.data / "index" / "current").resolve()


def list_builds(workspace: Workspace) -> list[str]:
    """Return the names in the folder of builds, oldest first."""
    return sorted(path.name for path in (workspace.data / "index" / "builds").iterdir())


def read_entries(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the entries of the build in service, in the order of its vectors."""
    entries: list[dict[str, Any]] = json.loads((workspace.data / "metadata.json").read_bytes())
    return entries


def indexed_names(workspace: Workspace) -> list[str]:
    """Return the usernames of the build in service, in the order of its vectors."""
    return [entry["username"] for entry in read_entries(workspace)]


def read_vectors(workspace: Workspace) -> Any:
    """Return the vectors of the build in service."""
    index = faiss.read_index(str(workspace.data / "faiss.index"))
    return index.reconstruct_n(0, index.ntotal)


def count_behind(workspace: Workspace) -> int:
    """Return the number of people whose entries differ from the database."""
    count: int = workspace.status(exact=True)["index"]["behind"]
    return count


def check_index_count(workspace: Workspace, count: int) -> None:
    """Check that the index has this number of people and equals the database."""
    assert len(indexed_names(workspace)) == count
    assert count_behind(workspace) == 0


def read_embedded_texts(api: Engine) -> list[str]:
    """Return all texts that were sent to be embedded, except questions."""
    texts = []
    for call in api.journal():
        if "mbedContent" in call["path"]:
            document = call["json"]
            requests = document.get("requests", [document])
            texts += [request["content"]["parts"][0]["text"] for request in requests]
    return [text for text in texts if QUESTION_PREFIX not in text]


def staged_file_steps(trail: list[str]) -> dict[str, int]:
    """Return the number of the step that renamed each file of a build in its staging folder."""
    steps = {}
    for number, step in enumerate(trail, start=1):
        verb, _, step_path = step.partition(" ")
        path = Path(step_path)
        is_staged = path.parent.name.endswith(".staging")
        if verb == "os.rename" and is_staged and path.suffix != ".part":
            steps[path.name] = number
    return steps


@pytest.mark.parametrize("commands", [("index", "index"), ("index", "work"), ("work", "work")])
def test_two_builds_at_once_embed_each_text_once(
    workspace: Workspace, api: Engine, commands: tuple[str, str]
) -> None:
    """A second build waits until the first has embedded the texts, and uses its vectors."""
    import_tagged(workspace, 4)
    api.script_fault("slow_reply", times=99, path="mbedContents", args={"seconds": 3})
    options: dict[str, dict[str, Any]] = {"index": {}, "work": {"once": True}}
    started_commands = [workspace.start_command(verb, **options[verb]) for verb in commands]
    assert [command.wait().code for command in started_commands] == [0, 0]

    texts = read_embedded_texts(api)
    assert len(texts) == len(set(texts)) == 4


@pytest.mark.alike
def test_build_has_stable_paths_and_embeds_only_changed_texts(
    workspace: Workspace, api: Engine
) -> None:
    """A build has two stable paths and normalised vectors, and embeds only changed texts."""
    names = import_tagged(workspace, 4)
    workspace.import_people(1, first=50)

    # The service sends invalid vectors once.
    api.script_fault("vectors_nan")
    api.script_fault("vectors_not_unit", times=10_000)
    workspace.run_command("index")
    for name in ("faiss.index", "metadata.json"):
        path = workspace.data / name
        assert path.resolve() == current_folder(workspace) / name
        is_absolute = os.path.isabs(path.readlink())  # noqa: PTH117 - the link as it is stored
        assert not is_absolute, "the workspace cannot be moved"

    entries = read_entries(workspace)
    assert [list(entry) for entry in entries] == [ENTRY_FIELDS] * 4
    assert indexed_names(workspace) == names
    assert entries[1]["tags"] == ["bees", "water law"]
    vectors = read_vectors(workspace)
    assert vectors.shape == (4, 768)
    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    index_status = workspace.status()["index"]
    assert (index_status["count"], index_status["dim"], index_status["behind"]) == (4, 768, 0)
    api.clear_faults()

    # No text is embedded twice.
    first_texts = read_embedded_texts(api)
    assert len(set(first_texts)) == 4
    workspace.run_command("index")
    assert read_embedded_texts(api) == first_texts

    # The text of a person changed, and two people are newly tagged. A rate is not part of a text,
    # but of the metadata. `index` reads what another program changed.
    unchanged_bio = "I keep bees and teach water law number 1."
    rows = f"person-0000,I mend clocks.,5\nperson-0001,{unchanged_bio},7\n"
    workspace.write_file("new.csv", f"Username,Bio,Hourly Rate\n{rows}")
    workspace.run_command("import", "new.csv")
    import_tagged(workspace, 1, first=9)
    assert count_behind(workspace) == 2
    workspace.run_command("index")
    new_texts = read_embedded_texts(api)[len(first_texts) :]
    assert len(new_texts) == 3, new_texts
    assert any("I mend clocks." in text for text in new_texts)
    assert count_behind(workspace) == 0
    assert np.array_equal(read_vectors(workspace)[2:4], vectors[2:])


@pytest.mark.alike
def test_search_with_another_model_or_width_is_refused(workspace: Workspace) -> None:
    """A search with another model or width ends with exit 3 and names those of the index.

    `status` proposes no such search.
    """
    import_tagged(workspace, 3)
    index_model: dict[str, Any] = {"embedding_model": "gemini-embedding-001", "dim": 256}
    workspace.run_command("index", **index_model)
    assert len(workspace.search("water", **index_model)) == 3
    assert "export" in workspace.status(**index_model)["next"]
    assert workspace.status()["next"].endswith("index")
    for settings in ({}, {"DIM": 256}, {**index_model, "dim": 128}):
        search_run = workspace.run_command("search", "water", code=3, **settings)
        assert "gemini-embedding-001" in search_run.stderr
        assert search_run.stdout == ""


@pytest.fixture
def rebuilt(workspace: Workspace) -> Workspace:
    """Return a workspace with build 1 of four people, and build 2 of five people in service."""
    import_tagged(workspace, 4)
    workspace.run_command("index")
    import_tagged(workspace, 1, first=9)
    workspace.run_command("index")
    assert list_builds(workspace) == ["1", "2"]
    return workspace


@pytest.mark.alike
@pytest.mark.promise("index")
def test_previous_build_is_kept_for_a_rollback(rebuilt: Workspace) -> None:
    """A rollback restores the previous build, unless it is damaged; later builds get new numbers.

    A damaged build is refused with exit 5, and the index in service stays.
    """
    served_folder = current_folder(rebuilt)
    previous_folder = served_folder.with_name("1")
    paths = sorted(previous_folder.iterdir())
    assert {path.name for path in paths} >= set(READER_FILES)

    for path in paths:
        file_bytes = path.read_bytes()
        # A changed byte of the manifest may be harmless.
        if path.name != "manifest.json":
            damage_file(path, ROT)
            rollback_run = rebuilt.run_command("index", rollback=True, code=INCONSISTENT)
            assert path.name in rollback_run.stderr
        # An incomplete build is invalid, or counts as no build.
        if path.name in READER_FILES:
            damage_file(path, SHORT)
            assert rebuilt.try_command("index", rollback=True).code in {2, INCONSISTENT}
            path.unlink()
            assert rebuilt.try_command("index", rollback=True).code in {2, INCONSISTENT}
        assert current_folder(rebuilt) == served_folder, path
        path.write_bytes(file_bytes)

    rebuilt.run_command("index", rollback=True)
    assert current_folder(rebuilt) == previous_folder
    assert (len(indexed_names(rebuilt)), count_behind(rebuilt)) == (4, 1)
    assert len(rebuilt.search("water", k=99)) == 4
    rebuilt.run_command("index", rollback=True, code=2)

    import_tagged(rebuilt, 1, first=20)
    rebuilt.run_command("index")
    assert list_builds(rebuilt) == ["1", "3"]
    check_index_count(rebuilt, 6)
    rebuilt.run_command("index")
    assert list_builds(rebuilt) == ["3", "4"]


@pytest.mark.alike
@pytest.mark.parametrize(
    ("damage", "source"),
    [(ROT, ""), (SHORT, ""), (REPLACED, "../../current/{}"), (REPLACED, "metadata.json")],
)
@pytest.mark.promise("index")
def test_file_that_is_damaged_before_verification_is_refused(
    rebuilt: Workspace, damage: str, source: str
) -> None:
    """A build with a file damaged after its write is refused with exit 5 and removed.

    `source` is the file whose bytes replace the file.
    """
    # Deletions change a build without embedding, here and below. They are read before, so that
    # each build takes the same steps.
    run_sql(rebuilt, "DELETE FROM experts WHERE username = 'person-0000'")
    rebuilt.run_command("tag_live")
    file_steps = staged_file_steps(rebuilt.run_command("index").trail)
    assert set(READER_FILES) <= set(file_steps)
    # All files have a hash, so that files for readers, which have more checks, are enough.
    if damage == REPLACED:
        reader_files = set(READER_FILES) - {source}
        file_steps = {name: step for name, step in file_steps.items() if name in reader_files}
    run_sql(rebuilt, "DELETE FROM experts WHERE username = 'person-0001'")
    rebuilt.run_command("tag_live")
    served_folder = current_folder(rebuilt)
    build_names = list_builds(rebuilt)
    served_files = {path.name: path.read_bytes() for path in served_folder.iterdir()}

    for name, step in file_steps.items():
        fate = Fate(step=step, side="after", event=damage, replacement=source.format(name))
        index_run = rebuilt.try_command("index", fate=fate)
        assert Path(index_run.trail[step - 1]).name == name, index_run.trail[step - 1]
        assert index_run.code == INCONSISTENT, (name, index_run)
        assert current_folder(rebuilt) == served_folder, name
        assert list_builds(rebuilt) == build_names, name

    assert {path.name: path.read_bytes() for path in served_folder.iterdir()} == served_files
    assert len(rebuilt.search("water", k=99)) == 4
    rebuilt.run_command("index")
    check_index_count(rebuilt, 3)


@contextlib.contextmanager
def with_damage(path: Path, damage: str, source: Path) -> Iterator[bool]:
    """Damage a file and restore it; yield False if `source` has the same bytes."""
    file_bytes = path.read_bytes()
    damage_file(path, damage, replacement=str(source))
    yield path.read_bytes() != file_bytes
    path.write_bytes(file_bytes)


@pytest.mark.alike
def test_file_that_is_damaged_in_service_is_reported(rebuilt: Workspace) -> None:
    """`doctor` reports a damaged file with exit 5, and a search finds all people or exits with 5.

    The next build repairs the index.
    """
    rebuilt.run_commands("score", "doctor")
    served_folder = current_folder(rebuilt)
    previous_folder = served_folder.with_name("1")
    people = sorted(indexed_names(rebuilt))

    # Each case: the file, the damage, and the file whose bytes replace it.
    served_paths = sorted(served_folder.iterdir())
    cases = [(path, ROT, path) for path in served_paths if path.name != "manifest.json"]
    cases += [(served_folder / name, SHORT, served_folder) for name in READER_FILES]
    cases += [(served_folder / name, REPLACED, previous_folder / name) for name in READER_FILES]
    cases += [(served_folder / "faiss.index", REPLACED, served_folder / "metadata.json")]

    for path, damage, source in cases:
        with with_damage(path, damage, source) as is_damaged:
            if is_damaged:
                rebuilt.run_command("doctor", code=INCONSISTENT)
                _check_search_is_right_or_refused(rebuilt, people)

    (served_folder / "faiss.index").write_bytes(b"short")
    assert rebuilt.run_command("search", "water", code=INCONSISTENT).stdout == ""
    assert rebuilt.status()["index"]["count"] == 0
    rebuilt.run_commands("index", "doctor")
    assert sorted(rebuilt.search("water", k=99)) == people

    # The link is restored from the database.
    (rebuilt.data / "index" / "current").unlink()
    assert sorted(rebuilt.search("water", k=99)) == people


def _check_search_is_right_or_refused(workspace: Workspace, people: list[str]) -> None:
    """Check that a search finds all people or exits with 5."""
    search_run = workspace.try_command("search", "water", k=99, json=True)
    assert search_run.code in {0, INCONSISTENT}, search_run
    if search_run.code == 0:
        assert sorted(hit["username"] for hit in search_run.json) == people, search_run


@pytest.mark.alike
@pytest.mark.skipif(ON_POSTGRESQL, reason="a server keeps its files sound by itself")
def test_damaged_stored_vector_is_embedded_again(rebuilt: Workspace, api: Engine) -> None:
    """A stored vector that was damaged is not used, and its text is embedded again."""
    vectors_before = read_vectors(rebuilt)
    text_count = len(read_embedded_texts(api))

    # Change the last byte of each vector.
    vectors_path = rebuilt.data / "index" / "vectors.sqlite"
    with contextlib.closing(sqlite3.connect(vectors_path)) as database, database:
        (table,) = database.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE '%vector%' AND type = 'table'"
        ).fetchone()
        vectors = database.execute(f"SELECT rowid, vector FROM {table}").fetchall()  # noqa: S608
        damaged = [(vector[:-1] + bytes([vector[-1] ^ 1]), rowid) for rowid, vector in vectors]
        database.executemany(f"UPDATE {table} SET vector = ? WHERE rowid = ?", damaged)  # noqa: S608

    shutil.rmtree(rebuilt.data / "index" / "builds")
    (rebuilt.data / "index" / "current").unlink()
    rebuilt.run_command("index")
    assert len(read_embedded_texts(api)) > text_count
    assert np.array_equal(read_vectors(rebuilt), vectors_before)


@pytest.mark.promise("index")
def test_older_database_does_not_replace_a_newer_index(rebuilt: Workspace) -> None:
    """An older copy of the database is refused with exit 5 until a person allows its build."""
    tags_before = rebuilt.exported_tags()
    backup = rebuilt.home / "aside"
    copy_database(rebuilt.data, backup)
    import_tagged(rebuilt, 2, first=20)
    rebuilt.run_command("index")
    served_folder = current_folder(rebuilt)

    copy_database(backup, rebuilt.data)
    assert rebuilt.exported_tags() == tags_before
    refused_run = rebuilt.run_command("index", code=INCONSISTENT)
    assert "older" in refused_run.stderr
    assert current_folder(rebuilt) == served_folder
    rebuilt.run_command("doctor", code=INCONSISTENT)

    rebuilt.run_command("index", worse_ok=True)
    assert sorted(indexed_names(rebuilt)) == sorted(tags_before)
    assert count_behind(rebuilt) == 0
    import_tagged(rebuilt, 1, first=30)
    rebuilt.run_command("index")
    check_index_count(rebuilt, 6)


def copy_database(source: Path, target: Path) -> None:
    """Replace the database of a workspace with a copy of another database."""
    if ON_POSTGRESQL:
        postgresql.copy_database(source, target)
        return
    target.mkdir(exist_ok=True)
    for path in target.glob("askrows.db*"):
        path.unlink()
    for path in source.glob("askrows.db*"):
        shutil.copy2(path, target / path.name)


@pytest.mark.alike
def test_remains_of_a_killed_build_are_removed(rebuilt: Workspace) -> None:
    """The next build removes the remains of a killed build, and keeps foreign files.

    A search works at any time.
    """
    import_tagged(rebuilt, 1, first=20)
    trail = rebuilt.run_command("index").trail
    foreign_file = rebuilt.data / "index" / "builds" / "notes.txt"
    foreign_file.write_text("mine")

    file_steps = staged_file_steps(trail)
    link_steps = [
        number for number, step in enumerate(trail, start=1) if step.endswith("/index/current")
    ]
    kills = [
        (file_steps["metadata.json"], "before"),
        (file_steps["manifest.json"], "after"),
        (link_steps[-1], "before"),
        (link_steps[-1], "after"),
    ]
    for turn, (step, side) in enumerate(kills):
        previous_folder = current_folder(rebuilt)
        previous_builds = set(list_builds(rebuilt))
        import_tagged(rebuilt, 1, first=21 + turn)
        rebuilt.run_command("index", fate=Fate(step=step, side=side), code=-signal.SIGKILL)
        assert set(list_builds(rebuilt)) - previous_builds, "the killed build has no files"
        has_old_link = current_folder(rebuilt) == previous_folder
        assert has_old_link is (turn < 3), (step, trail[step - 1])

        # A search updates the link from the database.
        assert len(rebuilt.search("water", k=99)) == len(indexed_names(rebuilt))
        has_old_link = current_folder(rebuilt) == previous_folder
        assert has_old_link is (turn < 2), "the link differs from the database"

        rebuilt.run_command("index")
        build_names = [name for name in list_builds(rebuilt) if name != foreign_file.name]
        assert all(name.isdecimal() for name in build_names), build_names
        assert len(build_names) == 2
        check_index_count(rebuilt, 7 + turn)

    assert foreign_file.read_text() == "mine"


@pytest.mark.alike
def test_links_for_other_programs_are_made_before_a_build_is_in_service(
    rebuilt: Workspace,
) -> None:
    """A build that a killed command left without links gets all links, the last one `current`.

    A restored workspace is in this state: its database knows the number of the build already.
    """
    served_folder = current_folder(rebuilt)
    (rebuilt.data / "index" / "current").unlink()
    (rebuilt.data / "metadata.json").unlink()

    assert rebuilt.search("water")
    assert current_folder(rebuilt) == served_folder
    assert (rebuilt.data / "metadata.json").resolve() == served_folder / "metadata.json"
