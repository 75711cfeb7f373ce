"""Other programs read the index by its files while `make index` promotes one build after the other."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import faiss
import pytest

from tests.concurrency.conftest import Life
from tests.lab import Workspace

PROMOTIONS = 8 if os.environ.get("FAULTS") == "all" else 3
Pair = tuple[int, int, str]
LOOKING = """
import os, sys
paths = [os.path.join(sys.argv[1], name) for name in ("index/current", "faiss.index", "metadata.json")]
print("looking", flush=True)
looks = missed = 0
while looks % 1000 or not os.path.exists(sys.argv[2]):
    looks += 1
    for path in paths:
        try:
            os.stat(path)
        except OSError:
            missed += 1
print(looks, missed)
"""


def resolved(data: Path) -> Pair:
    """Read vectors and metadata in the documented way: `index/current` is resolved once."""
    return pair(data / "index" / (data / "index" / "current").readlink())


def pair(folder: Path) -> Pair:
    """Return how many vectors and how many entries there are, and whose the last entry is."""
    index = faiss.read_index(str(folder / "faiss.index"))
    entries = json.loads((folder / "metadata.json").read_bytes())
    return index.ntotal, len(entries), entries[-1]["username"]


def add_one(workspace: Workspace, number: int) -> None:
    """Put one more tagged person in, as another program might."""
    with workspace.open() as ws, ws.store.write() as tx:
        from pipeline.experts import table
        from pipeline.store import workspace as workspaces

        table.insert_people(tx, [(f"reader-{number:03d}", {"bio": f"Hive {number}.", "tags": '["bees"]'})])
        workspaces.touch_revision(tx)


@pytest.mark.sqlite_only("reads files of the index alone")
def test_a_reader_never_sees_a_mixed_pair_or_a_missing_file(live: Callable[[str], Life]) -> None:
    """Through `current`, resolved once, each pair is of one build; through the stable paths each file is there."""
    life = live("data")
    data = life.workspace.data
    over = threading.Event()
    seen: list[Pair] = []
    wrong: list[str] = []

    def read() -> None:
        while not over.is_set():
            try:
                seen.append(resolved(data))
                pair(data)  # the two may be of two builds here, but each is whole
            except (OSError, RuntimeError, ValueError) as error:
                wrong.append(repr(error))

    watcher = subprocess.Popen(
        [sys.executable, "-c", LOOKING, str(data), str(life.files / "over")], stdout=subprocess.PIPE, text=True
    )
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "looking\n"
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(PROMOTIONS):
        add_one(life.workspace, number)
        assert life.workspace.run("index").exit_code == 0
    over.set()
    for reader in readers:
        reader.join()
    (life.files / "over").touch()
    looks, missed = map(int, watcher.communicate(timeout=30)[0].split())
    assert looks > 1000
    assert missed == 0, f"{missed} of {looks} looks found a path missing"
    assert wrong == []
    assert all(vectors == entries for vectors, entries, _ in seen), seen
    assert {name for _, _, name in seen} >= {f"reader-{number:03d}" for number in range(PROMOTIONS - 1)}
