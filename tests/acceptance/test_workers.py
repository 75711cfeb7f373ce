"""Units one by one, hosts that see one folder under two names, and workers that are killed: every row answered once."""

import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.database import connected, names, sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import LONGEST_S, ROOT, Running
from tests.acceptance.product import ON_POSTGRESQL, Workspace

on_a_server = pytest.mark.skipif(
    not ON_POSTGRESQL, reason="workers stand beside each other on PostgreSQL"
)


def unit(workspace: Workspace, only: str, **options: Any) -> tuple[list[str], list[str]]:
    """Do some units once; return what was done, and which units are due next."""
    work_document = workspace.read("work", once=True, only=only, **options)
    return work_document["did"], sorted({one["unit"] for one in work_document["next"]})


def test_each_unit_does_its_own_and_no_other(workspace: Workspace, api: Engine) -> None:
    """A batch goes its way step by step; a unit that is not due does nothing, and the report says what is next."""
    workspace.people(4)
    assert unit(workspace, "send,look,download,ingest,embed,build,promote") == ([], ["prepare"])
    assert unit(workspace, "prepare", BATCH_ROWS=2) == (["2 batches prepared"], ["send"])
    assert (workspace.batch_states(), api.creates()) == (["prepared", "prepared"], [])
    assert unit(workspace, "prepare,ingest") == ([], ["send"])
    assert unit(workspace, "send") == (["4 submitted in 2 batches"], ["look"])
    until(lambda: unit(workspace, "look")[1] == ["download"])
    assert set(workspace.batch_states()) == {"submitted"}
    workspace.do("work", once=True, only="download")
    workspace.do("work", once=True, only="ingest")
    assert workspace.states() == {"tagged": 4}
    assert unit(workspace, "embed")[0] == ["4 texts embedded"]
    assert unit(workspace, "build,promote")[0] == ["index of 4 built"]
    assert workspace.read("work", once=True)["did"] == []
    assert len(workspace.found("bees")) == 4
    assert "is no unit" in workspace.do("work", once=True, only="cook", code=2).err


def test_hosts_see_one_folder_under_their_own_names(workspace: Workspace, tmp_path: Path) -> None:
    """What one begins another goes on with, by another path to the folder; none of both paths is kept."""
    hosts = []
    for name in ("east", "west"):
        one = Workspace(tmp_path / name, workspace.url, settings={"BATCH_ROWS": "2"})
        one.home.mkdir()
        if ON_POSTGRESQL:
            one.settings["DATABASE_URL"] = workspace.environ["FINDABLE_DATABASE_URL"]
        hosts.append(one)
    workspace.people(3)
    for one in hosts:
        one.data.symlink_to(workspace.data)
    for one in hosts * 50:
        one.do("work", once=True)
        one.do("doctor")
        if workspace.status()["index"].get("count") == 3:
            break
    east, west = hosts
    assert east.found("bees") == west.found("bees") != []
    paths = [str(one.home).encode() for one in (*hosts, workspace)]
    kept = [file for file in workspace.data.rglob("*") if file.is_file() and file.suffix != ".lock"]
    assert not [file for file in kept if any(path in file.read_bytes() for path in paths)]
    with connected(workspace) as tx:
        rows = str([tx.execute(f'SELECT * FROM "{name}"').fetchall() for name in names(tx)])  # noqa: S608 - its tables
    assert not [path for path in paths if path.decode() in rows]


def test_work_goes_on_until_it_is_stopped(workspace: Workspace, api: Engine) -> None:
    """Without ONCE=1 it waits for what is due; SIGTERM ends it, and who comes next goes on."""
    workspace.people(2)
    api.configure(paused=True)
    with workspace.start("work") as running:
        until(lambda: len(api.creates()) == 1, running)
        assert running.stop(signal.SIGTERM).code == 130
    api.configure(paused=False)
    with workspace.start("work") as running:
        until((workspace.data / "index" / "current").exists, running)
    assert workspace.status()["index"]["count"] == 2
    assert len(api.creates()) == 1


def until(is_so: Any, *running: Running) -> None:
    """Wait until something is so."""
    last = time.monotonic() + LONGEST_S
    while not is_so():
        assert time.monotonic() < last, [one.so_far() for one in running]
        time.sleep(0.05)


def test_without_a_server_a_worker_says_what_does_the_same(workspace: Workspace) -> None:
    """On SQLite it names `work`; on a server without its tables, how they are made, once."""
    workspace.people(1)
    if not ON_POSTGRESQL:
        assert "work` does the same" in workspace.do("worker", code=2).err
        return
    assert "--setup" in workspace.do("worker", code=3).err
    assert "is there" in workspace.do("worker", setup=True, yes=True).out
    assert workspace.read("worker", setup=True) == {"made": False}


@on_a_server
def test_workers_are_killed_and_every_row_is_answered_once(
    workspace: Workspace, api: Engine, tmp_path: Path
) -> None:
    """Three, one killed again and again; the next takes its place, and SIGTERM ends those that are left with 0."""
    workspace.people(40)
    workspace.do("worker", setup=True)

    def are_tagged() -> bool:
        return sql(workspace, "SELECT count(*) FROM experts WHERE tags IS NOT NULL") == [(40,)]

    how: dict[str, Any] = {"BATCH_ROWS": 4, "yes": True, "concurrency": 2}
    with ExitStack() as held:
        rest = [held.enter_context(workspace.start("worker", port=0, **how)) for _ in range(2)]
        for _ in range(6):
            with workspace.start("worker", **how) as one:
                until(lambda one=one: '"seconds"' in one.so_far() or are_tagged(), one, *rest)
                one.signal(signal.SIGKILL)
        until(are_tagged, *rest)
        until(lambda: workspace.status()["index"]["count"] == 40, *rest)
        assert workspace.states() == {"tagged": 40}
        (port,) = re.findall(r"at port (\d+)", rest[0].so_far())
        seen = {
            path: httpx2.get(f"http://127.0.0.1:{port}/{path}", timeout=60)
            for path in ("healthz", "readyz", "metrics")
        }
        assert {one.status_code for one in seen.values()} == {200}
        assert 'findable_rows{state="tagged",task="experts"} 40.0' in seen["metrics"].text
        for one in rest:
            one.signal(signal.SIGTERM)
        assert [one.wait().code for one in rest] == [0, 0]
    assert len(api.creates()) == 10
    with Engine(tmp_path / "other") as other:  # an answer does not depend on who wrote it
        alone = Workspace(tmp_path / "alone", other.url)
        alone.people(40)
        alone.do("tag", wait=True, yes=True, mode="batch")
        assert alone.exported() == workspace.exported()


def recipes() -> list[str]:
    """Return the blocks of docs/deploy.md."""
    return re.findall(
        r"```\w*\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8"), re.DOTALL
    )


def commands() -> set[tuple[str, ...]]:
    """Return what follows `findable` in them, as a shell, a list of YAML or of Python has it."""
    found = [
        one
        for block in recipes()
        for one in re.findall(r"\bfindable[\s\",]+(work[^\n\]>]*)", block)
    ]
    return {
        tuple(re.findall(r"[\w=-][\w=,.-]*", re.sub(r'["\']|, ', " ", one.split(" cwd")[0])))
        for one in found
    }


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_what_the_recipes_run_runs(workspace: Workspace, words: tuple[str, ...]) -> None:
    """Each is short, and its command line does something here: what goes on is stopped, what ends ends well."""
    assert max(len(block.splitlines()) for block in recipes()) <= 25
    workspace.people(1)
    if ON_POSTGRESQL and words[0] == "worker":
        workspace.do("worker", setup=True)
    goes_on = words == ("work",) or (
        ON_POSTGRESQL and words[0] == "worker" and "--setup" not in words
    )
    words = tuple("--port=0" if word.startswith("--port") else word for word in words)
    with workspace.start(*words) as running:
        if goes_on:
            until(lambda: running.so_far() != "", running)
        refused = 2 if words[0] == "worker" and not ON_POSTGRESQL else 0
        done = running.stop(signal.SIGTERM) if goes_on else running.wait()
        assert done.code == (130 if goes_on and words[0] == "work" else refused)
