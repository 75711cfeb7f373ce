"""Take one item out of sealed files, uploads, the index and the cached vectors.

Each part may be done twice and may be killed half way. A sealed file is written anew beside the old one, its new hash
is committed, and then it takes the old one's place: a run that died in between finds the old file under the new hash,
makes the same new file of it again, and goes on.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from pipeline.batch import uploads
from pipeline.core import files, links
from pipeline.core.errors import FindableError, InconsistentError
from pipeline.core.progress import Progress
from pipeline.core.task import Collection as Indexed
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.requests import request_key
from pipeline.gemini.result_file import key_of_line
from pipeline.index import build, embed
from pipeline.index.build_lookup import left_folders
from pipeline.index.builds import Builds
from pipeline.index.cache import caches, vector_key
from pipeline.index.evaluate import gate_questions
from pipeline.index.floor import nonsense
from pipeline.ops import byte_scan
from pipeline.quality import report_files
from pipeline.store import batches, erase
from pipeline.store.batches import Batch
from pipeline.store.database import Store

ENGINE = ("local-engine.sqlite", "local-engine.sqlite-wal", "local-engine.sqlite-shm", "local-engine-files")


def drop_lines(
    store: Store, data: Path, task: str, ids: Collection[str], *, words: Sequence[bytes], display: Progress
) -> dict[str, int]:
    """Write every sealed file of a batch that is over anew without the lines about these items of a task.

    Returns how many lines each file lost, by its name, where it lost any. A line that cannot be read goes where it
    holds a key or one of `words`. The caller holds the lease on preparing.
    """
    with store.read() as tx:
        over = [batch for batch in batches.batches_in_states(tx) if batch.is_over]
    keys = {request_key(task, one) for one in ids}
    done = {}
    for batch in over:
        for name, recorded in ((batch.request_file, batch.request_sha256), (batch.result_file, batch.result_sha256)):
            path = data / (name or "")
            if not name or not path.is_file():
                continue
            if lost := _drop_from(store, batch, path, recorded or "", keys=keys, words=words, display=display):
                done[name] = lost
    return done


def drop_uploads(ws: OpenWorkspace, numbers: Collection[int]) -> int:
    """Delete the uploads of these batches that were left at the API; return how many. No lease is needed.

    The local engine keeps results in the workspace too: those of these batches go along, where it has work to do still
    (`drop_engine` is for where it has not).

    Raises:
        RemoteError: the API cannot be asked; nothing was changed.
    """
    with ws.store.read() as tx:
        mine = [batch for batch in batches.batches_in_states(tx) if batch.number in numbers]
    if not mine or (ws.backend == "local" and not _is_under_way(ws.store)):
        return 0
    left = uploads.left_uploads(ws.store, ws.client, of=numbers)
    for one in left:
        ws.client.delete_upload(one.file.name)
    if ws.backend == "local":
        for batch in mine:
            if batch.remote_name:
                ws.client.delete_batch(batch.remote_name)
    return len(left)


def drop_engine(store: Store, data: Path) -> None:
    """Remove the local engine's state where no batch is under way; the caller holds the lease on preparing."""
    if not _is_under_way(store):
        for name in ENGINE:
            links.remove_link(data / name)


def _is_under_way(store: Store) -> bool:
    with store.read() as tx:
        return any(not batch.is_over for batch in batches.batches_in_states(tx))


def renew_index(ws: OpenWorkspace, ids: Collection[str]) -> int | None:
    """Build the index anew where the one in service holds one of these items, and remove every other build.

    Returns the number of the new build. Where nothing is left to index, there is no index afterwards.
    """
    made, collection = None, ws.collection
    builds = Builds(ws.data, collection.folder)
    if _is_indexed(builds, ids):
        with ws.store.read() as tx:
            left = collection.count(tx)
        if left:
            made = build.run(ws, worse_ok=True).number  # what was forgotten is out, whatever it was worth
        else:
            with ws.waited_lease(build.LEASE, waiting=build.WAITING) as lease:
                builds.retire(fence=lambda: build.hold_lease_during(ws.store, lease))
    with ws.waited_lease(build.LEASE, waiting=build.WAITING) as lease:
        with build.hold_lease_during(ws.store, lease):
            builds.sweep()
        builds.delete(builds.others(), fence=lambda: build.hold_lease_during(ws.store, lease))
        current = builds.current()
        if current is not None and not build.is_build_recorded(current, build.recorded_builds(ws.store)):
            build.record_build(ws.store, current, at=ws.now())
    return made


def drop_left_indexes(ws: OpenWorkspace) -> None:
    """Remove the indexes of tasks that are indexed no more, which hold what their rows said."""
    with ws.waited_lease(build.LEASE, waiting=build.WAITING):
        for path in left_folders(ws.data, [one.folder for one in ws.collections]):
            links.remove_link(path)


def drop_vectors(store: Store, data: Path, collections: Sequence[Indexed]) -> int:
    """Remove every cached vector that no entry and no question of the gate asks for, of all models; return how many."""
    folder = data / "index" / "vectors"
    if not folder.is_dir():
        return 0
    removed = 0
    for cache in caches(folder):
        with store.read() as tx:
            needed = {
                vector_key(entry.text, model=cache.model, dim=cache.dim, task_type=embed.TASK_TYPE)
                for one in collections
                for entry in one.entries(tx)
            }
        needed |= set(embed.question_keys(cache, (*gate_questions(data, collections), *nonsense())))
        removed += cache.retain(needed)
    return removed


def drop_reports(data: Path, task: str, ids: Collection[str], *, words: Sequence[bytes]) -> int:
    """Remove the reports of a task that show one of these items or hold one of `words`; return how many files."""

    def is_named(paths: Sequence[Path]) -> bool:
        """Return whether a report names the item; one that is not whole may."""
        try:
            return _is_shown(paths, ids) or any(byte_scan.is_holding(path, words) for path in paths)
        except FileNotFoundError:  # another process removes it, too
            return True

    return report_files.remove_reports(data, task, is_named=is_named)


def _is_shown(paths: Sequence[Path], ids: Collection[str]) -> bool:
    """Return whether one of these items is among the samples of a report, or its document cannot tell."""
    if all(report_files.LATEST in path.name for path in paths):
        return False  # a copy, without a document of its own
    try:
        (document,) = (json.loads(path.read_bytes()) for path in paths if path.suffix == ".json")
        return any(sample["id"] in ids for sample in document["samples"])
    except (ValueError, KeyError, TypeError):
        return True


def is_of_others(path: Path, words: Sequence[bytes]) -> bool:
    """Return whether all lines of a sealed file that hold one of these words are about items by a key of their own."""
    with path.open("rb") as file:
        return all(key_of_line(line) for line in file if any(word in line for word in words))


def _is_indexed(builds: Builds, ids: Collection[str]) -> bool:
    """Return whether the build in service holds one of these items; one that cannot be read may."""
    try:
        if builds.current() is None:
            return False
        with builds.open() as index:
            return not index.content_hashes().keys().isdisjoint(ids)
    except FindableError:
        return True


def _drop_from(
    store: Store,
    batch: Batch,
    path: Path,
    recorded: str,
    *,
    keys: Collection[str],
    words: Sequence[bytes],
    display: Progress,
) -> int:
    """Write one sealed file anew without some lines; return how many it lost."""
    was = files.sha256_of(path)
    draft = files.part_of(path)
    try:
        written, lost = _write_without(path, draft, keys=keys, words=words)
        if not lost:
            return 0
        if was == recorded:
            with store.write() as tx:
                if not erase.reseal(tx, batch.number, was=was, sha256=written.sha256, size=written.size):
                    raise InconsistentError(
                        f"the record of {path.name} changed meanwhile; it was left as it is", hint="run it again"
                    )
        elif written.sha256 != recorded:
            display.warn(f"{path.name} had other bytes than were recorded; it has them still, but for those lines")
        files.rename(written, path)
    finally:
        draft.unlink(missing_ok=True)
    return lost


def _write_without(
    path: Path, draft: Path, *, keys: Collection[str], words: Sequence[bytes]
) -> tuple[files.Sealed, int]:
    """Seal a draft with all lines of a file but some, byte for byte; return it with how many lines were left out."""
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
    key = key_of_line(line)
    if key:
        return key in keys
    return any(needle in line for needle in (*needles, *words))
