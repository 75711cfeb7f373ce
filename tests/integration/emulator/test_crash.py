"""A host dies at every write of a batch's life; the next one must come out right."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from emulator.batches import Batch
from emulator.settings import Settings
from emulator.world import World
from tests.integration.emulator.caller import MODEL, documents, request_file

COUNT = 5


class DeathError(BaseException):
    """The host is dead; nothing in it may catch this."""


class Dying:
    """Lets a world die just before its n-th write."""

    def __init__(self, world: World, *, at: int) -> None:
        """Count the writes of `world` from now on."""
        self._change, self._change_many = world.database.change, world.database.change_many
        self._left = at
        setattr(world.database, "change", self.change)  # noqa: B010 - a plain assignment to a method does not type-check
        setattr(world.database, "change_many", self.change_many)  # noqa: B010 - as above

    def change(self, statement: str, values: Sequence[object] = ()) -> int:
        """Write, or die."""
        self._step()
        return self._change(statement, values)

    def change_many(self, statement: str, values: Sequence[Sequence[object]]) -> None:
        """Write many, or die."""
        self._step()
        self._change_many(statement, values)

    def _step(self) -> None:
        if self._left == 0:
            raise DeathError
        self._left -= 1


def work(world: World) -> None:
    """Do all the work there is, in this thread."""
    while (batch := world.worker._claim()) is not None:
        world.worker._advance(batch)


def prepared(root: Path) -> tuple[World, Batch]:
    """Return a world with one pending batch."""
    world = World(root, settings=Settings(chunk_lines=2))
    source = root / "requests.jsonl"
    source.write_bytes(request_file(COUNT))
    upload = world.files.start("me", described={}, declared=None, mime_type="jsonl")
    (world.database.folder / f"upload-{upload}").write_bytes(source.read_bytes())
    file = world.files.finalize(world.files.upload(upload), early=True)
    asked = {"inputConfig": {"fileName": f"files/{file.id}"}}
    batch, _ = world.create_batch("me", asked, model=MODEL, kind="generate", target="/")
    return world, batch


def writes_of_a_life(root: Path) -> int:
    """Return how many writes a batch takes from its claim to its end."""
    world, _ = prepared(root)
    dying = Dying(world, at=10_000)
    work(world)
    world.database.close()
    return 10_000 - dying._left


def test_a_batch_comes_out_right_whenever_its_host_dies(tmp_path: Path) -> None:
    """Dead before any write of a batch's life, the next host ends it with every request answered once."""
    total = writes_of_a_life(tmp_path / "count")
    assert total > COUNT
    for at in range(total):
        root = tmp_path / str(at)
        world, batch = prepared(root)
        Dying(world, at=at)
        with pytest.raises(DeathError):
            work(world)
        world.database.close()

        after = World(root, settings=Settings())
        after.database.change("UPDATE batches SET lease_until = 0")
        work(after)
        ended = after.batches.find(batch.id)
        assert (ended.state, ended.succeeded, ended.failed) == ("SUCCEEDED", COUNT, 0)
        lines = after.files.download("me", f"batch-{batch.id}").read_bytes().split(b"\n")
        assert sorted(document["key"] for document in documents(lines)) == [f"k/{n}" for n in range(COUNT)]
        assert after.database.rows("SELECT COUNT(*) AS n FROM results")[0]["n"] == 0
        after.database.close()


def test_what_a_host_wrote_after_it_lost_its_lease_does_not_count(tmp_path: Path) -> None:
    """A commit is guarded by the lease: a host that was too slow writes nothing and leaves the batch to the other."""
    world, batch = prepared(tmp_path)
    claimed = world.worker._claim()
    assert claimed is not None
    world.database.change("UPDATE batches SET host = 'other'")
    world.worker._advance(claimed)
    assert world.database.rows("SELECT COUNT(*) AS n FROM results")[0]["n"] == 0
    found = world.batches.find(batch.id)
    assert (found.state, found.host, found.succeeded) == ("RUNNING", "other", 0)
    world.database.close()


def test_a_host_that_lost_its_lease_at_the_last_moment_ends_nothing(tmp_path: Path) -> None:
    """Where the lease is gone when the result file is ready, the batch is not ended and the file is thrown away."""
    world, batch = prepared(tmp_path)
    work(world)
    world.database.change("UPDATE batches SET state = 'RUNNING', has_output = 0, host = 'other'")
    world.worker._finish(world.batches.find(batch.id))
    found = world.batches.find(batch.id)
    assert (found.state, found.has_output) == ("RUNNING", 0)
    assert [path.name for path in world.database.folder.glob("results-*")] == []
    world.database.close()


def test_a_batch_whose_work_breaks_ends_failed_and_others_go_on(tmp_path: Path) -> None:
    """An input that is gone ends its batch as FAILED with the reason; the next batch is worked on."""
    world, batch = prepared(tmp_path)
    world.batches.input_path(batch.id).unlink()
    work(world)
    found = world.batches.find(batch.id)
    assert (found.state, "input is gone" in found.error) == ("FAILED", True)
    world.database.close()


def test_what_dead_hosts_left_behind_is_swept(tmp_path: Path) -> None:
    """Inputs and half-written results of no active batch go; those of an active one and fresh ones stay."""
    world, batch = prepared(tmp_path)
    left = [world.database.folder / name for name in ("input-nobody", f"results-{batch.id}-9-x", "results-nobody-9-x")]
    for path in left:
        path.touch()
    world.batches.sweep(older_than_s=3600)
    assert all(path.exists() for path in left)
    world.batches.sweep(older_than_s=-1)
    assert [path.exists() for path in left] == [False, True, False]
    assert world.batches.input_path(batch.id).exists()
    world.database.close()
