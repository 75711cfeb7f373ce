"""`index`: what is embedded, what an unreliable service does to it, and which build is in service afterwards."""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.experts import table
from pipeline.index import build as index_build
from pipeline.index import evaluate, vector_file
from pipeline.index import write as index_write
from pipeline.index.builds import INDEX_LOCK, Builds
from pipeline.store import workspace as workspaces
from tests.lab import Api, Workspace

EMBED = "EmbedContents"  # of many, `batchEmbedContents`
LONGER = f"UPDATE experts SET bio = id || '{'Keeps bees. ' * 1500}'"  # noqa: S608 - our own words


def _index(workspace: Workspace, *args: str) -> dict[str, Any]:
    """Build the index and return its report."""
    result = workspace.ran("index", "--json", *args)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def _change(workspace: Workspace, sql: str) -> None:
    """Change rows as one of our own commands would, counting the change."""
    with workspace.open() as ws, ws.store.write() as tx:
        tx.exec_driver_sql(sql)
        workspaces.record_row_change(tx, table.TASK)


class _Meanwhile:
    """A client that lets something happen each time before texts are embedded, in the thread that asks."""

    def __init__(self, client: Any, happens: Callable[[], None]) -> None:
        """Keep both."""
        self._client = client
        self._happens = happens

    def embed(self, *args: Any, **options: Any) -> Any:
        """Let it happen, then embed."""
        self._happens()
        return self._client.embed(*args, **options)


def _index_while(workspace: Workspace, happens: Callable[[], None]) -> index_build.IndexReport:
    """Build the index while something happens before each call."""
    with workspace.open() as ws:
        ws.__dict__["client"] = _Meanwhile(ws.client, happens)
        return index_build.run(ws)


def test_nobody_waits_for_anothers_network(
    workspace: Workspace, tagged: Callable[[int], None]
) -> None:
    """While missing texts are embedded the index is free; entries that come meanwhile are in the build, too."""
    tagged(3)
    free: list[bool] = []

    def look() -> None:
        """Take the lock on the index, as another process would, if no process holds it; first add one more."""
        if not free:
            tagged(1)
        with workspace.open() as other, other.locks.hold(INDEX_LOCK) as lock:
            free.append(lock is not None)

    assert _index_while(workspace, look).count == 4
    assert free == [
        True,
        True,
        False,
    ]  # of texts, of the questions that a floor is learnt from; of the one that came
    with workspace.open() as ws:
        assert ([*Builds(ws.data).read_manifests()], Builds(ws.data).find_leftovers()) == ([1], [])


@pytest.mark.full
def test_what_embedding_costs_is_said_before_it_is_spent(
    workspace: Workspace, api: Api, tagged: Callable[[int], None]
) -> None:
    """Texts, tokens and dollars, before the first call; of texts that are in the cache, or cost no cent, nothing."""
    tagged(1)
    assert "embedding " not in workspace.run("index").stderr
    calls = len(api.seen("POST", EMBED))
    tagged(9)
    _change(workspace, LONGER)
    api.fault("key_invalid", path=EMBED)
    refused = workspace.run("index")
    assert (refused.exit_code, len(api.seen("POST", EMBED))) == (3, calls + 1)
    [said] = [line for line in refused.stderr.splitlines() if line.startswith("embedding ")]
    match = re.fullmatch(r"embedding 10 texts, about (4\d,\d\d\d) tokens, \$0\.01", said)
    assert match is not None, said
    assert said in workspace.run("index").stderr
    assert "embedding " not in workspace.run("index").stderr


def test_what_was_embedded_before_a_failure_is_kept(
    workspace: Workspace, api: Api, tagged: Callable[[int], None]
) -> None:
    """One call fails for good: the next run embeds alone what others, before or beside it, did not give."""
    tagged(250)
    api.fault("status", nth=3, times=10_000, path=EMBED, args={"code": 503})
    assert workspace.run("index", RETRY_FOR="0.05").exit_code == 4
    api.clear_faults()
    report = _index(workspace)
    assert report["count"] == 250
    assert report["embedded"] in {50, 100, 150, 200}


def test_nobody_tagged_is_said_with_what_to_do(
    workspace: Workspace, people: Callable[..., list[str]], tagged: Callable[[int], None]
) -> None:
    """Exit code 2, a hint, and an index in service stays."""
    people(3)
    result = workspace.ran("index", code=2)
    assert "no person is tagged, so there is nothing to index" in result.stderr
    assert "make tag" in result.stderr
    tagged(2)
    _index(workspace)
    _change(workspace, "UPDATE experts SET tags = NULL")
    assert workspace.run("index").exit_code == 2
    assert len(json.loads(workspace.run("search", "bees", "--json").stdout)) == 2
    assert "was taken away" in workspace.ran("index", "--worse-ok").stdout
    assert "there is no index" in workspace.ran("search", "bees", code=2).stderr


def test_everyone_with_a_text_may_be_found(
    workspace: Workspace, tagged: Callable[[int], None]
) -> None:
    """INDEX_UNTAGGED=1 takes in who has no tag, and the count asserted is theirs; who is left out is said."""
    tagged(2)
    with workspace.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "untagged", {"bio": "I cast bells."})
        table.insert_person(tx, "silent", {})
    assert (
        "2 experts, 2 embedded, 0 cached, of 4 people (1 untagged, 1 no bio)"
        in workspace.ran("index").stdout
    )
    said = "left out: 1 person with words of this question and without a tag; `make index` with INDEX_UNTAGGED=1"
    assert said in workspace.ran("search", "who casts a bell").stderr
    assert "left out" not in workspace.ran("search", "hives").stderr
    assert "3 experts, 1 embedded" in workspace.ran("index", INDEX_UNTAGGED="1").stdout
    found = json.loads(workspace.ran("search", "bells", "--json").stdout)
    assert found[0]["username"] == "untagged"
    assert "left out" not in workspace.ran("search", "bells").stderr
    assert json.loads(workspace.ran("status", "--json", "--exact").stdout)["index"]["behind"] == 0
    assert "3 experts, 0 embedded" in workspace.ran("index").stdout  # as it was said before
    assert "2 experts, 0 embedded" in workspace.ran("index", INDEX_UNTAGGED="0").stdout


def test_a_large_index_is_held_against_an_exact_scan(
    workspace: Workspace, tagged: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a number of entries each number has 8 bits; with 5 % of its rows permuted it is refused (exit code 6)."""
    monkeypatch.setattr(vector_file, "MAX_EXACT_ROWS", 100)
    tagged(300)
    assert "8 bits a number find" in workspace.ran("index", BACKEND="local").stderr
    current = workspace.data / "index" / "current"
    recall = json.loads((current / "manifest.json").read_text())["recall"]
    assert (recall["questions"], recall["seed"]) == (600, evaluate.SEED)
    assert recall["recall@10"] >= recall["low"] >= 0.95
    assert (current / "faiss.index").stat().st_size < 300 * 768 * 2
    assert (
        json.loads(workspace.ran("search", "hive 77", "--json", BACKEND="local").stdout)[0][
            "username"
        ]
        == "p77"
    )
    write = vector_file.write_faiss_index

    def permuted(path: Any, blocks: Any, **how: Any) -> Any:
        """Write other rows in the place of every twentieth."""
        rows = np.concatenate([*blocks])
        rows[::20] = np.roll(rows[::20], 1, axis=0)
        return write(path, [rows], **how)

    monkeypatch.setattr(index_write, "write_faiss_index", permuted)
    assert "build 2 was not promoted" in workspace.ran("index", BACKEND="local", code=6).stderr
    assert current.readlink().name == "1"
    assert "and 0.95 is the least" in workspace.ran("index", "--worse-ok", BACKEND="local").stderr
