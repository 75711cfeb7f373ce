"""The index in service is one whole build, whatever becomes of its files, of who makes it, of the rows meanwhile."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from tests import postgresql
from tests.acceptance.database import sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import ON_POSTGRESQL, PEOPLE, Workspace
from tests.acceptance.steps import OTHER, ROT, SHORT, Fate, spoil

KEYS = [
    *(
        "id",
        "username",
        "First Name",
        "Last Name",
        "Job Title",
        "Company",
        "Bio",
        "Hourly Rate",
        "Currency",
    ),
    *("Profile URL", "Profile URL with UTM", "tags", "findability_score", "category"),
]
QUESTION = "task: search result"  # a text that is embedded begins otherwise
READ = ("faiss.index", "metadata.json", "manifest.json")  # that every version of the product has
WRONG = 5  # exit code: what is stored contradicts itself


def tagged(workspace: Workspace, count: int, *, first: int = 0) -> list[str]:
    """Import people whom another program tags at once; return their usernames."""
    names = workspace.people(count, first=first)
    sql(
        workspace,
        "UPDATE experts SET tags = :tags WHERE tags IS NULL",
        tags='["bees", "water law"]',
    )
    return names


def folder(workspace: Workspace) -> Path:
    """Return the folder of the build in service."""
    return (workspace.data / "index" / "current").resolve()


def builds(workspace: Workspace) -> list[str]:
    """Return the names of all builds and of what is begun, the oldest first."""
    return sorted(path.name for path in (workspace.data / "index" / "builds").iterdir())


def held(workspace: Workspace) -> list[str]:
    """Return whom the build in service has, in the order of its vectors."""
    return [
        load["username"] for load in json.loads((workspace.data / "metadata.json").read_bytes())
    ]


def vectors(workspace: Workspace) -> Any:
    """Return the vectors of the build in service."""
    index = faiss.read_index(str(workspace.data / "faiss.index"))
    return index.reconstruct_n(0, index.ntotal)


def behind(workspace: Workspace) -> int:
    """Return how many people the index has otherwise than the database, whoever changed them."""
    count: int = workspace.status(exact=True)["index"]["behind"]
    return count


def embedded(api: Engine) -> list[str]:
    """Return every text that was sent to be embedded, questions left out."""
    jsons = [one["json"] for one in api.journal() if "mbedContent" in one["path"]]
    parts = [
        one["content"]["parts"][0]["text"] for call in jsons for one in call.get("requests", [call])
    ]
    return [text for text in parts if QUESTION not in text]


def steps_of_files(trail: list[str]) -> dict[str, int]:
    """Return for each file of a build the step with which it took its name in a folder that is not in service yet."""
    found = {}
    for number, step in enumerate(trail, start=1):
        verb, _, path = step.partition(" ")
        if (
            verb == "os.rename"
            and Path(path).parent.name.endswith(".staging")
            and not path.endswith(".part")
        ):
            found[Path(path).name] = number
    return found


def first(trail: list[str], words: str) -> int:
    """Return the number of the first step with some words in it."""
    return next(number for number, step in enumerate(trail, start=1) if words in step)


@pytest.mark.alike
def test_what_readers_know_of_a_build(workspace: Workspace, api: Engine) -> None:
    """Both stable paths, vectors of length 1 in the order of the metadata; only texts that changed are embedded."""
    workspace.data.mkdir(parents=True)
    for name in ("faiss.index", "metadata.json"):
        (workspace.data / name).write_bytes(f"theirs: {name}".encode())
    names = tagged(workspace, 4)
    workspace.people(1, first=50)
    api.fault("vectors_nan")  # once, so it is asked again
    api.fault("vectors_not_unit", times=10_000)
    workspace.do("index")
    aside = {
        path.read_bytes()
        for path in workspace.data.iterdir()
        if path.is_file() and not path.is_symlink()
    }
    assert {b"theirs: faiss.index", b"theirs: metadata.json"} <= aside
    for name in ("faiss.index", "metadata.json"):
        assert (workspace.data / name).resolve() == folder(workspace) / name
        assert not os.path.isabs((workspace.data / name).readlink()), (  # noqa: PTH117
            "the workspace cannot be moved"
        )
    entries = json.loads((workspace.data / "metadata.json").read_bytes())
    assert [list(entry) for entry in entries] == [KEYS] * 4
    assert (held(workspace), entries[1]["tags"]) == (names, ["bees", "water law"])
    rows = vectors(workspace)
    assert rows.shape == (4, 768)
    assert np.isfinite(rows).all()
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    said = workspace.status()["index"]
    assert (said["count"], said["dim"], said["behind"]) == (4, 768, 0)
    api.clear_faults()
    once = embedded(api)
    assert len(set(once)) == 4
    workspace.do("index")
    assert embedded(api) == once
    same = "I keep bees and teach water law number 1."
    workspace.put(
        "new.csv", f"Username,Bio,Hourly Rate\nperson-0000,I mend clocks.,5\nperson-0001,{same},7\n"
    )
    workspace.do("import", "new.csv")
    tagged(workspace, 1, first=9)
    assert behind(workspace) == 3  # and who is tagged now; a rate is no text
    workspace.do("index")
    new = embedded(api)[len(once) :]
    assert len(new) == 3, new
    assert any("I mend clocks." in text for text in new)
    assert behind(workspace) == 0
    assert np.array_equal(vectors(workspace)[2:4], rows[2:])
    sql(workspace, "UPDATE experts SET tags = NULL WHERE username = 'person-0000'")
    sql(
        workspace,
        "UPDATE experts SET tags = :tags WHERE username = 'person-0001'",
        tags='["goats"]',
    )
    sql(workspace, "DELETE FROM experts WHERE username = 'person-0002'")
    sql(workspace, "UPDATE experts SET hourly_rate = 9")
    assert behind(workspace) == 3
    workspace.do("index", rollback=True)
    assert behind(workspace) == 5  # those and two who came since


@pytest.mark.alike
def test_vectors_that_do_not_fit_are_in_no_build(workspace: Workspace, api: Engine) -> None:
    """Whatever the service sends: the command ends with 4, nothing of it is kept, and the index in service stays."""
    tagged(workspace, 3)
    workspace.do("index")
    served = folder(workspace)
    files = builds(workspace)
    tagged(workspace, 2, first=9)
    for word in ("vectors_short", "vectors_nan", "vectors_wrong_dimension", "vectors_fused"):
        api.fault(word, times=10_000)
        workspace.do("index", code=4, RETRY_FOR="0.02")
        assert (folder(workspace), builds(workspace)) == (served, files), word
        api.clear_faults()
    before = len(embedded(api))
    workspace.do("index")
    assert len(set(embedded(api)[before:])) == 2
    assert len(held(workspace)) == 5


@pytest.mark.alike
def test_another_encoder_than_the_questions_is_refused(workspace: Workspace) -> None:
    """Another model or width: code 3, what it was built with is said, and nothing is searched."""
    tagged(workspace, 3)
    workspace.do("index", DIM=256)
    assert len(workspace.found("water", DIM=256)) == 3
    for other in ({}, {"EMBEDDING_MODEL": "gemini-embedding-001", "DIM": 256}, {"DIM": 128}):
        refused = workspace.do("search", "water", code=3, **other)
        assert "gemini-embedding-2" in refused.err
        assert "256" in refused.err
        assert refused.out == ""


@pytest.fixture
def rebuilt(workspace: Workspace) -> Workspace:
    """A workspace whose build 1 has four people and whose build 2, in service, one more."""
    tagged(workspace, 4)
    workspace.do("index")
    tagged(workspace, 1, first=9)
    workspace.do("index")
    assert builds(workspace) == ["1", "2"]
    return workspace


@pytest.mark.alike
def test_the_previous_build_is_kept_and_put_back(rebuilt: Workspace) -> None:
    """One step back; damaged it is refused with 5, and what is in service stays; what comes later has a new number."""
    before = folder(rebuilt).with_name("1")
    served = folder(rebuilt)
    files = sorted(before.iterdir())
    assert {path.name for path in files} >= set(READ)
    for path in files:
        file_bytes = path.read_bytes()
        if path.name != "manifest.json":  # a byte of it may say nothing that matters
            spoil(path, ROT)
            refused = rebuilt.do("index", rollback=True, code=WRONG)
            assert path.name in refused.err
        if path.name in READ:  # half a build is none, or a broken one
            spoil(path, SHORT)
            assert rebuilt.run("index", rollback=True).code in {2, WRONG}
            path.unlink()
            assert rebuilt.run("index", rollback=True).code in {2, WRONG}
        assert folder(rebuilt) == served, path
        path.write_bytes(file_bytes)
    rebuilt.do("index", rollback=True)
    assert (folder(rebuilt), len(held(rebuilt)), behind(rebuilt)) == (before, 4, 1)
    assert len(rebuilt.found("water", k=99)) == 4
    rebuilt.do("index", rollback=True, code=2)
    tagged(rebuilt, 1, first=20)
    rebuilt.do("index")
    assert builds(rebuilt) == ["1", "3"]
    assert (len(held(rebuilt)), behind(rebuilt)) == (6, 0)
    rebuilt.do("index")
    assert builds(rebuilt) == ["3", "4"]


@pytest.mark.alike
@pytest.mark.parametrize(
    ("how", "other"),
    [(ROT, ""), (SHORT, ""), (OTHER, "../../current/{}"), (OTHER, "metadata.json")],
)
def test_each_file_damaged_before_it_is_verified(rebuilt: Workspace, how: str, other: str) -> None:
    """Damaged right after it was written: refused with 5, its folder is removed, the one in service answers."""
    sql(
        rebuilt, "DELETE FROM experts WHERE username = 'person-0000'"
    )  # nothing is to be embedded, here and below
    files = steps_of_files(rebuilt.do("index").trail)
    assert set(READ) <= set(files)
    if how == OTHER:  # any file's hash tells it; those that readers know have checks of their own
        files = {name: at for name, at in files.items() if name in READ and name != other}
    sql(rebuilt, "DELETE FROM experts WHERE username = 'person-0001'")
    served = folder(rebuilt)
    kept = builds(rebuilt)
    text = {path.name: path.read_bytes() for path in served.iterdir()}
    for name, at in files.items():
        fate = Fate(at=at, side="after", how=how, other=other.format(name))
        index_run = rebuilt.run("index", fate=fate)
        assert Path(index_run.trail[at - 1]).name == name, index_run.trail[at - 1]
        assert index_run.code == WRONG, (name, index_run)
        assert (folder(rebuilt), builds(rebuilt)) == (served, kept), name
    assert {path.name: path.read_bytes() for path in served.iterdir()} == text
    assert len(rebuilt.found("water", k=99)) == 4
    rebuilt.do("index")
    assert (len(held(rebuilt)), behind(rebuilt)) == (3, 0)


def damaged(path: Path, how: str, other: Path) -> Iterator[None]:
    """Damage a file, and put it right afterwards; where `other` says the same, there is no damage and no turn."""
    file_bytes = path.read_bytes()
    spoil(path, how, other=str(other))
    if path.read_bytes() != file_bytes:
        yield
    path.write_bytes(file_bytes)


@pytest.mark.alike
def test_each_file_damaged_in_service(rebuilt: Workspace) -> None:
    """Doctor says so with 5, a search finds as before or says so with 5; the next build puts it right."""
    rebuilt.each("score", "doctor")
    served = folder(rebuilt)
    before = folder(rebuilt).with_name("1")
    people = sorted(held(rebuilt))
    turns: list[tuple[Path, str, Path]] = [
        (path, ROT, path) for path in sorted(served.iterdir()) if path.name != "manifest.json"
    ]
    turns += [(served / name, SHORT, served) for name in READ]
    turns += [(served / name, OTHER, before / name) for name in READ]  # of another build
    turns += [(served / "faiss.index", OTHER, served / "metadata.json")]
    for path, how, other in turns:
        for _ in damaged(path, how, other):
            doctor_run = rebuilt.do("doctor", code=WRONG)
            assert path.name in doctor_run.err or "build" in doctor_run.err, doctor_run
            searched = rebuilt.run("search", "water", k=99, json=True)
            assert searched.code in {0, WRONG}, searched
            if searched.code == 0:
                assert sorted(one["username"] for one in searched.json) == people, (path, how)
    (served / "faiss.index").write_bytes(b"short")
    assert rebuilt.do("search", "water", code=WRONG).out == ""
    assert rebuilt.status()["index"]["count"] == 0
    rebuilt.each("index", "doctor")
    assert sorted(rebuilt.found("water", k=99)) == people
    (rebuilt.data / "index" / "current").unlink()  # which follows the database
    assert sorted(rebuilt.found("water", k=99)) == people


@pytest.mark.alike
def test_any_byte_of_the_entries_damaged_in_service(rebuilt: Workspace) -> None:
    """A search finds as before, or says so with 5."""
    path = folder(rebuilt) / "entries.sqlite"
    people = sorted(held(rebuilt))
    file_bytes = path.read_bytes()
    for at in range(7, len(file_bytes), len(file_bytes) // 60):
        path.write_bytes(file_bytes[:at] + bytes([file_bytes[at] ^ 128]) + file_bytes[at + 1 :])
        searched = rebuilt.run("search", "water", k=99, json=True)
        assert searched.code in {0, WRONG}, (at, searched)
        assert searched.code or sorted(one["username"] for one in searched.json) == people, at
    path.write_bytes(file_bytes)


@pytest.mark.alike
@pytest.mark.skipif(ON_POSTGRESQL, reason="a server keeps its files sound by itself")
def test_a_damaged_vector_is_embedded_again(rebuilt: Workspace, api: Engine) -> None:
    """One that is kept for the next build and rotted meanwhile is in none: the text is sent again."""
    before = vectors(rebuilt)
    texts = len(embedded(api))
    kept = rebuilt.data / "index" / "vectors.sqlite"
    data = bytearray(kept.read_bytes())
    for at in range(
        len(data) // 20, len(data), len(data) // 20
    ):  # in each of them, wherever they begin
        data[at] ^= 1
    kept.write_bytes(data)
    shutil.rmtree(rebuilt.data / "index" / "builds")
    (rebuilt.data / "index" / "current").unlink()
    rebuilt.do("index")
    assert len(embedded(api)) > texts
    assert np.array_equal(vectors(rebuilt), before)


MOMENTS: dict[str, Callable[[list[str]], int]] = {
    "while rows are read": lambda trail: steps_of_files(trail)["metadata.json"],
    "while texts are embedded": lambda trail: first(trail, "mbedContents"),
    "while vectors are written": lambda trail: first(trail, "/faiss.index"),
    "while it is verified": lambda trail: steps_of_files(trail)["manifest.json"],
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_row_deleted_while_it_is_indexed(rebuilt: Workspace, moment: str) -> None:
    """The build is of one snapshot, and `behind` says what differs from it, or it is refused; the next one is right."""
    tagged(rebuilt, 1, first=20)
    trail = rebuilt.do("index").trail
    names = [*held(rebuilt), *tagged(rebuilt, 1, first=21)]
    with rebuilt.start(
        "index", fate=Fate(at=MOMENTS[moment](trail), side="after", how="STOP")
    ) as running:
        assert running.until_stopped(), running.wait()
        sql(
            rebuilt,
            "DELETE FROM experts WHERE username IN (:old, :new)",
            old=names[0],
            new=names[-1],
        )
        running.signal(signal.SIGCONT)
        ended_process = running.wait()
    assert ended_process.code in {0, WRONG}, ended_process
    left = names[1:-1]
    if ended_process.code == 0:
        assert held(rebuilt) in (names, left)
        assert len(vectors(rebuilt)) == len(held(rebuilt))
    assert behind(rebuilt) == len(set(held(rebuilt)) ^ set(left))
    rebuilt.do("index")
    assert (held(rebuilt), behind(rebuilt)) == (left, 0)
    assert sorted(rebuilt.found("water", k=99)) == sorted(left)


def test_an_older_database_is_never_indexed_over_a_newer_one(rebuilt: Workspace) -> None:
    """A copy of yesterday's put back: refused with 5, what is in service stays, until a person says that it may go."""
    names = rebuilt.tags()
    aside = rebuilt.home / "aside"
    copy(rebuilt.data, aside)
    tagged(rebuilt, 2, first=20)
    rebuilt.do("index")
    served = folder(rebuilt)
    copy(aside, rebuilt.data)
    assert rebuilt.tags() == names
    refused = rebuilt.do("index", code=WRONG)
    assert "older" in refused.err
    assert folder(rebuilt) == served
    rebuilt.do("doctor", code=WRONG)
    rebuilt.do("index", worse_ok=True)
    assert (sorted(held(rebuilt)), behind(rebuilt)) == (sorted(names), 0)
    tagged(rebuilt, 1, first=30)
    rebuilt.do("index")
    assert (len(held(rebuilt)), behind(rebuilt)) == (6, 0)


def copy(source: Path, target: Path) -> None:
    """Put the database of one workspace in the place of another's, as a person would who has a copy of it."""
    if ON_POSTGRESQL:
        postgresql.copy_database(source, target)
        return
    target.mkdir(exist_ok=True)
    for path in target.glob("findable.db*"):
        path.unlink()
    for path in source.glob("findable.db*"):
        shutil.copy2(path, target / path.name)


@pytest.mark.alike
def test_what_a_killed_build_left_is_removed(rebuilt: Workspace) -> None:
    """Killed anywhere, the one in service answers; what was begun is gone after the next, and foreign files are not."""
    tagged(rebuilt, 1, first=20)
    trail = rebuilt.do("index").trail
    foreign = rebuilt.data / "index" / "builds" / "notes.txt"
    foreign.write_text("mine")
    files = steps_of_files(trail)
    flip = max(
        number for number, step in enumerate(trail, start=1) if step.endswith("/index/current")
    )
    moments = [
        (files["metadata.json"], "before"),
        (files["manifest.json"], "after"),
        (flip, "before"),
        (flip, "after"),
    ]
    for turn, (at, side) in enumerate(moments):
        whole = folder(rebuilt)
        names = set(builds(rebuilt))
        tagged(rebuilt, 1, first=21 + turn)
        rebuilt.do("index", fate=Fate(at=at, side=side), code=-signal.SIGKILL)
        assert set(builds(rebuilt)) - names, "nothing was left"
        assert (folder(rebuilt) == whole) is (turn < 3), (at, trail[at - 1])
        assert len(rebuilt.found("water", k=99)) == len(held(rebuilt))
        assert (folder(rebuilt) == whole) is (turn < 2), "the link follows the database"
        rebuilt.do("index")
        numbers = [name for name in builds(rebuilt) if name != foreign.name]
        assert all(name.isdecimal() for name in numbers), numbers
        assert len(numbers) == 2
        assert (len(held(rebuilt)), behind(rebuilt)) == (7 + turn, 0)
    assert foreign.read_text() == "mine"
    assert rebuilt.states() == {"tagged": 10}
    assert PEOPLE in rebuilt.seen
