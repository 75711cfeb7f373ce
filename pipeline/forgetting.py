"""What forgetting one item is made of: sealed files without its lines, an index and vectors without it, no uploads.

Each part may be done twice and may be killed half way. A sealed file is written anew beside the old one, its new hash
is committed, and then it takes the old one's place: a run that died in between finds the old file under the new hash,
makes the same new file of it again, and goes on.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import building, embedding, files, uploads
from pipeline.checks import sealed
from pipeline.errors import FindableError, InconsistentError
from pipeline.gemini.requests import key_of
from pipeline.gemini.results import key_in
from pipeline.index import links
from pipeline.runtime import Runtime
from pipeline.store import batches, erasing
from pipeline.store.batches import Batch

ENGINE = ("local-engine.sqlite", "local-engine.sqlite-wal", "local-engine.sqlite-shm", "local-engine-files")


@dataclass(frozen=True)
class Rewritten:
    """One sealed file that was written anew, and how many lines it lost."""

    name: str
    lines: int


def sweep(rt: Runtime) -> None:
    """Remove what killed runs left in the workspace; the caller holds the lease on preparing."""
    for path in sealed.litter(rt):
        path.unlink(missing_ok=True)


def drop_lines(rt: Runtime, task: str, ids: Collection[str], *, words: Sequence[bytes]) -> list[Rewritten]:
    """Write every sealed file of a batch that is over anew without the lines about these items of a task.

    A line that cannot be read goes where it holds a key or one of `words`. The caller holds the lease on preparing.
    """
    with rt.store.read() as tx:
        over = [batch for batch in batches.in_states(tx) if batch.is_over]
    done = []
    for batch in over:
        keys = {key_of(task, one) for one in ids}
        for name, recorded in ((batch.request_file, batch.request_sha256), (batch.result_file, batch.result_sha256)):
            path = rt.data / (name or "")
            if name and path.is_file():
                lost = _drop_from(rt, batch, path, recorded or "", keys=keys, words=words)
                done += [Rewritten(name, lost)] if lost else []
    return done


def drop_uploads(rt: Runtime, numbers: Collection[int]) -> int:
    """Delete the uploads of these batches that were left at the API; return how many. No lease is needed.

    The local engine keeps results in the workspace too: those of these batches go along, where it has work to do still
    (`drop_engine` is for where it has not).

    Raises:
        RemoteError: the API cannot be asked; nothing was changed.
    """
    with rt.store.read() as tx:
        mine = [batch for batch in batches.in_states(tx) if batch.number in numbers]
    if not mine or (rt.backend == "local" and not _is_under_way(rt)):
        return 0
    left = uploads.left_behind(rt, of=numbers)
    for one in left:
        rt.client.delete_upload(one.file.name)
    if rt.backend == "local":
        for batch in mine:
            if batch.remote_name:
                rt.client.delete_batch(batch.remote_name)
    return len(left)


def drop_engine(rt: Runtime) -> None:
    """Remove the local engine's state where no batch is under way; the caller holds the lease on preparing."""
    if rt.backend == "local" and not _is_under_way(rt):
        for name in ENGINE:
            links.remove(rt.data / name)


def _is_under_way(rt: Runtime) -> bool:
    """Return whether there is a batch that is not over."""
    with rt.store.read() as tx:
        return any(not batch.is_over for batch in batches.in_states(tx))


def renew_index(rt: Runtime, ids: Collection[str]) -> int | None:
    """Build the index anew where the one in service holds one of these items, and remove every other build.

    Returns the number of the new build. Where nobody is left to index, there is no index afterwards.
    """
    made = None
    if _is_indexed(rt, ids):
        with rt.store.read() as tx:
            left = rt.collection.count(tx)
        if left:
            made = building.build(rt).number
        else:
            with rt.waited_lease(building.LEASE, waiting=building.WAITING) as lease:
                rt.builds.withdraw(fence=lambda: building.fence(rt, lease))
    with rt.waited_lease(building.LEASE, waiting=building.WAITING) as lease:
        with building.fence(rt, lease):
            rt.builds.sweep()
        rt.builds.drop(rt.builds.others(), fence=lambda: building.fence(rt, lease))
        current = rt.builds.current()
        if current is not None and not building.is_recorded(current, building.recorded(rt)):
            building.record(rt, current)
    return made


def drop_vectors(rt: Runtime) -> int:
    """Remove every cached vector that no entry of the collection asks for, of all models; return how many."""
    folder = rt.data / "index" / "vectors"
    if not folder.is_dir():
        return 0
    from pipeline.index.vectors import caches, vector_key

    gone = 0
    for cache in caches(folder):
        with rt.store.read() as tx:
            needed = {
                vector_key(entry.text, model=cache.model, dim=cache.dim, task_type=embedding.TASK_TYPE)
                for entry in rt.collection.entries(tx)
            }
        gone += cache.retain(needed)
    return gone


def is_of_others(path: Path, words: Sequence[bytes]) -> bool:
    """Return whether all lines of a sealed file that hold one of these words are about items by a key of their own."""
    with path.open("rb") as file:
        return all(key_in(line) for line in file if any(word in line for word in words))


def _is_indexed(rt: Runtime, ids: Collection[str]) -> bool:
    """Return whether the build in service holds one of these items; one that cannot be read may."""
    try:
        if rt.builds.current() is None:
            return False
        with rt.builds.open() as index:
            return any(one in index.content_hashes() for one in ids)
    except FindableError:
        return True


def _drop_from(
    rt: Runtime, batch: Batch, path: Path, recorded: str, *, keys: Collection[str], words: Sequence[bytes]
) -> int:
    """Write one sealed file anew without some lines; return how many it lost."""
    was = files.sha256_of(path)
    draft = files.part_of(path)
    try:
        written, lost = _write_without(path, draft, keys=keys, words=words)
        if not lost:
            return 0
        if was == recorded:
            with rt.store.write() as tx:
                if not erasing.reseal(tx, batch.number, was=was, sha256=written.sha256, size=written.size):
                    raise InconsistentError(
                        f"the record of {path.name} changed meanwhile; it was left as it is", hint="run it again"
                    )
        elif written.sha256 != recorded:
            rt.display.warn(f"{path.name} had other bytes than were recorded; it has them still, but for those lines")
        files.rename(written, path)
    finally:
        draft.unlink(missing_ok=True)
    return lost


def _write_without(
    path: Path, draft: Path, *, keys: Collection[str], words: Sequence[bytes]
) -> tuple[files.Sealed, int]:
    """Seal a draft with all lines of a file but some, byte for byte; return it with how many it lacks."""
    needles = [json.dumps(key).encode("ascii") for key in keys]
    lost = 0
    with files.SealedWriter(draft) as writer, path.open("rb") as file:
        for line in file:
            if _is_about(line, keys, needles, words):
                lost += 1
            else:
                writer.write(line)
        return writer.seal(), lost


def _is_about(line: bytes, keys: Collection[str], needles: Sequence[bytes], words: Sequence[bytes]) -> bool:
    """Return whether a line is about one of these keys: by its key, or in what cannot be read by what it holds."""
    key = key_in(line)
    if key:
        return key in keys
    return any(needle in line for needle in (*needles, *words))
