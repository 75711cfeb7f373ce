"""`index`: the embedded texts, failures of the service, and the build in service afterwards."""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from askrows.pipeline.index import build as index_build
from askrows.pipeline.index import vector_file
from askrows.pipeline.index import write as index_write
from askrows.pipeline.index.builds import INDEX_LOCK, Builds
from askrows.pipeline.store import workspace as workspaces
from tests.lab import Api, Workspace

# Part of the paths of both calls, `embedContent` and `batchEmbedContents`.
EMBED = "EmbedContents"
LENGTHEN_BIOS = f"UPDATE experts SET bio = id || '{'Keeps bees. ' * 1500}'"  # noqa: S608 - our text


def _build_index(workspace: Workspace, *args: str) -> dict[str, Any]:
    """Build the index and return its report."""
    result = workspace.ran("index", "--json", *args)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def _change_rows(workspace: Workspace, sql: str) -> None:
    """Change rows as a command does, and count the change."""
    with workspace.open() as ws, ws.workspace.store.write() as tx:
        tx.exec_driver_sql(sql)
        workspaces.record_row_change(tx, "experts")


class _ChangingClient:
    """A client that calls a function before it embeds texts."""

    def __init__(self, client: Any, change: Callable[[], None]) -> None:
        """Wrap a client."""
        self._client = client
        self._change = change

    def embed(self, *args: Any, **options: Any) -> Any:
        """Call the function, then embed."""
        self._change()
        return self._client.embed(*args, **options)


def _index_while(workspace: Workspace, change: Callable[[], None]) -> index_build.IndexReport:
    """Build the index, and call a function before each call of the API."""
    with workspace.open() as ws:
        ws.service.__dict__["client"] = _ChangingClient(ws.client, change)
        return index_build.build_index(ws.workspace, ws.service, ws.task)


@pytest.mark.full
def test_the_index_is_not_locked_during_calls(
    workspace: Workspace, tagged: Callable[[int], None]
) -> None:
    """The index lock is free while texts are embedded, and new entries are in the build."""
    tagged(3)
    was_free: list[bool] = []

    def try_lock() -> None:
        """Add a person at the first call, and try to take the index lock."""
        if not was_free:
            tagged(1)
        with (
            workspace.open() as other_session,
            other_session.workspace.locks.try_lock(INDEX_LOCK) as lock,
        ):
            was_free.append(lock is not None)

    assert _index_while(workspace, try_lock).count == 4
    # The calls embed the texts, the questions for the weak floor (three calls), and the new entry.
    assert was_free == [True, True, True, True, False]

    with workspace.open() as ws:
        assert (
            [*Builds(ws.workspace.data).read_manifests()],
            Builds(ws.workspace.data).find_leftovers(),
        ) == ([1], [])


@pytest.mark.full
def test_embedding_cost_is_printed_before_the_first_call(
    workspace: Workspace, api: Api, tagged: Callable[[int], None]
) -> None:
    """`index` prints texts, tokens and cost, except for cached texts and amounts below a cent."""
    tagged(1)
    assert "embedding " not in workspace.run("index").stderr

    calls = len(api.seen("POST", EMBED))

    tagged(9)
    _change_rows(workspace, LENGTHEN_BIOS)
    # The second refusal is that of the harmless text that is sent after the first.
    api.script_fault("key_invalid", times=2, path=EMBED)
    refused = workspace.run("index")
    assert (refused.exit_code, len(api.seen("POST", EMBED))) == (3, calls + 2)

    [cost_line] = [line for line in refused.stderr.splitlines() if line.startswith("embedding ")]
    match = re.fullmatch(r"embedding 10 texts, about (4\d,\d\d\d) tokens, \$0\.01", cost_line)
    assert match is not None, cost_line
    assert cost_line in workspace.run("index").stderr
    assert "embedding " not in workspace.run("index").stderr


def test_an_index_without_tagged_people_is_refused(
    workspace: Workspace, people: Callable[..., list[str]], tagged: Callable[[int], None]
) -> None:
    """`index` exits with 2 and a hint, and keeps the index in service."""
    people(3)
    result = workspace.ran("index", code=2)
    assert "there is nothing to index: no person is tagged" in result.stderr
    assert "make tag" in result.stderr

    tagged(2)
    _build_index(workspace)
    _change_rows(workspace, "UPDATE experts SET tags = NULL")
    assert workspace.run("index").exit_code == 2
    hits = json.loads(workspace.run("search", "bees", "--json").stdout)
    assert [hit["untagged"] for hit in hits].count(False) == 2
    assert "build 1 deleted" in workspace.ran("index", "--worse-ok").stdout
    assert "there is no index" in workspace.ran("search", "bees", code=2).stderr


@pytest.mark.full
def test_a_large_index_finds_its_rows(
    workspace: Workspace, tagged: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large indexes use 8 bits per number; a build with permuted rows is not promoted."""
    monkeypatch.setattr(vector_file, "MAX_EXACT_ROWS", 100)
    tagged(300)
    workspace.ran("index", BACKEND="local")
    current = workspace.data / "index" / "current"
    assert (current / "faiss.index").stat().st_size < 300 * 768 * 2

    hits = json.loads(workspace.ran("search", "hive 77", "--json", BACKEND="local").stdout)
    assert hits[0]["username"] == "p77"

    original_write = vector_file.write_faiss_index

    def write_permuted(path: Any, blocks: Any, **options: Any) -> Any:
        """Write a wrong vector for every twentieth row."""
        rows = np.concatenate([*blocks])
        rows[::20] = np.roll(rows[::20], 1, axis=0)
        return original_write(path, [rows], **options)

    monkeypatch.setattr(index_write, "write_faiss_index", write_permuted)
    error = workspace.ran("index", BACKEND="local", code=5).stderr
    assert "are not the nearest of their own vector" in error
    assert current.readlink().name == "1"
