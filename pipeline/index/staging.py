"""Write a build beside the builds in service, in two parts at flat memory, each sealed.

First the entries go to `metadata.json`, its offsets and `entries.jsonl` as they come; then the vectors are fetched
from the cache in blocks, by the keys just written, and the manifest is last. Between the two parts is the time to have
vectors made that are missing. The one thing to know: what is written here is believed by nobody before
`pipeline.index.verifying` has read it back.

Verify a staged build before anyone may point at it.

The files are read back from disk and the cache is asked again; nothing is believed that staging held in memory. Each
file is read once or twice in full, at flat memory, whatever is looked at in it.
"""

import hashlib
import random
import struct
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from pipeline.core import files
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.links import ReadHandle
from pipeline.core.task import Entry
from pipeline.index import flat_file, manifest
from pipeline.index.cache import VectorCache, check_unit_rows
from pipeline.index.manifest import Begun, Manifest, Staged, content_hash
from pipeline.index.vector_file import BLOCK, Vectors

OFFSET = struct.Struct("<QQ")  # where an entry of metadata.json begins, and its length, in bytes
OPEN, BETWEEN, CLOSE = b"[\n", b",\n", b"\n]\n"  # before, between and behind them; the first two are of one length
PAGE = 256  # entries: so few that they stay in the processor's cache from reading to writing


class StagedRow(NamedTuple):
    """One line of `entries.jsonl`: the id, hash of text and tags, key of the vector, crc32 of the metadata."""

    id: str
    content: str
    vector: bytes
    metadata: int


def begin_staging(directory: Path, entries: Iterable[tuple[Entry, bytes]], *, number: int, position: int) -> Begun:
    """Write the entries of a build into `directory`, on disk when this returns; their vectors are not looked for.

    Raises:
        InputError: there are no entries.
        InconsistentError: an entry's metadata is no JSON.
    """
    sealed = _write_entries(directory, entries)
    if not sealed[manifest.ENTRIES].lines:
        raise InputError("there is nothing to index", hint="run `make batch-submit` to have rows answered first")
    return Begun(directory, number, position, sealed)


def complete_staging(
    begun: Begun, cache: VectorCache, *, task_type: str, built_at: datetime, progress: Callable[[int], None]
) -> Staged:
    """Add vectors and manifest to what was begun, on disk when this returns; `progress` gets the rows done so far.

    Raises:
        InconsistentError: a vector is not in the cache.
    """
    blocks = _vector_blocks(begun.directory / manifest.ENTRIES, cache, progress)
    index = flat_file.write_flat(begun.directory / manifest.INDEX, blocks, count=begun.count, dim=cache.dim)
    sealed = {**begun.sealed, manifest.INDEX: index}
    written = Manifest(
        number=begun.number,
        count=begun.count,
        model=cache.model,
        dim=cache.dim,
        task_type=task_type,
        position=begun.position,
        built_at=built_at,
        hashes={name: sealed[name].sha256 for name in manifest.PARTS},
        sizes={name: sealed[name].size for name in manifest.PARTS},
    )
    manifest.write_manifest(begun.directory, written)
    return Staged(begun.directory, written, cache)


def read_staged_pages(path: Path, size: int) -> Generator[list[StagedRow]]:
    """Yield the lines of an `entries.jsonl` in vector order, `size` at a time, which is quicker than one by one.

    Raises:
        InconsistentError: a line is not what this module writes.
    """
    with closing(files.read_lines(path)) as lines:
        while page := [line for _, line in islice(lines, size)]:
            try:
                rows = orjson.loads(b"[%b]" % b",".join(page))
                found = [
                    StagedRow(row["id"], row["content"], bytes.fromhex(row["vector"]), row["metadata"]) for row in rows
                ]
            except (ValueError, KeyError, TypeError) as error:
                raise InconsistentError(
                    f"{path} has a line that is no entry: {error}", hint="run `make index`"
                ) from None
            yield found


def _write_entries(directory: Path, entries: Iterable[tuple[Entry, bytes]]) -> dict[str, files.Sealed]:
    """Seal metadata, offsets and rows as the entries come, and return them by file name."""
    with (
        files.SealedWriter(directory / manifest.METADATA) as metadata,
        files.SealedWriter(directory / manifest.OFFSETS) as offsets,
        files.SealedWriter(directory / manifest.ENTRIES) as rows,
    ):
        pairs = iter(entries)
        while page := list(islice(pairs, PAGE)):  # written a page at a time: many small pieces take longer
            documents = [_json(entry.metadata, entry.id) for entry, _ in page]
            offsets.write(_places(documents, start=metadata.size + len(BETWEEN)))
            metadata.write((BETWEEN if metadata.size else OPEN) + BETWEEN.join(documents))
            rows.write_lines(
                [
                    _json(
                        {
                            "id": entry.id,
                            "content": content_hash(entry),
                            "vector": key.hex(),
                            "metadata": zlib.crc32(document),
                        },
                        entry.id,
                    )
                    for (entry, key), document in zip(page, documents, strict=True)
                ]
            )
        metadata.write(CLOSE)
        sealed = (metadata.seal(), offsets.seal(), rows.seal())
        return {each.path.name: each for each in sealed}


def _places(documents: list[bytes], *, start: int) -> bytes:
    """Return where each of some documents begins and how long it is, when the first begins at `start`."""
    lengths = list(map(len, documents))
    starts = accumulate((length + len(BETWEEN) for length in lengths), initial=start)
    return b"".join(map(OFFSET.pack, starts, lengths))


def _json(document: Mapping[str, Any], entry_id: str) -> bytes:
    """Return a document as one line of JSON.

    Raises:
        InconsistentError: it holds what JSON cannot say (a lone surrogate, an object of ours).
    """
    try:
        return orjson.dumps(document if isinstance(document, dict) else dict(document))
    except TypeError as error:
        raise InconsistentError(f"entry {entry_id!r} cannot be written as JSON: {error}") from None


def _vector_blocks(path: Path, cache: VectorCache, progress: Callable[[int], None]) -> Iterator[Vectors]:
    """Yield the vectors of the rows at `path` in blocks, and say how many rows are done after each."""
    done = 0
    with closing(read_staged_pages(path, BLOCK)) as pages:
        for page in pages:
            yield cache.fetch([row.vector for row in page])
            done += len(page)
            progress(done)


SAMPLE = 64  # rows that must find themselves first
TIE = 1e-5  # similarities closer than this are equal: float32 sums of 3,072 products differ by less


def verify_build(staged: Staged, *, count: int) -> None:
    """Pass when the build on disk is whole, its parts agree, and it holds `count` entries.

    Raises:
        InconsistentError: it is not; the message says what differs.
    """
    found = manifest.read_manifest(staged.directory)
    if found != staged.manifest:
        raise InconsistentError(f"{staged.directory / manifest.MANIFEST} changed after it was written")
    if found.count != count:
        raise InconsistentError(f"the build holds {found.count} entries, expected {count}")
    for name in (manifest.METADATA, manifest.OFFSETS, manifest.ENTRIES):
        files.verify(staged.directory / name, sha256=found.hashes[name], what=f"{name} of the build")
    sample = _verify_rows(staged.directory, count=count)
    _verify_vectors(staged, sample)
    staged.verified = True


def unsound_build_rows(directory: Path) -> str:
    """Return what is wrong with the vectors of the build in `directory`: their number, or rows that are no vectors."""
    found = manifest.read_manifest(directory)
    handle = ReadHandle(directory / manifest.INDEX)
    try:
        index = flat_file.open_flat(handle)
        if (index.ntotal, index.d) != (found.count, found.dim):
            return f"it holds {index.ntotal} x {index.d} numbers, its manifest says {found.count} x {found.dim}"
        for number, block in enumerate(flat_file.read_flat_blocks(handle, count=found.count, dim=found.dim)):
            check_unit_rows(block, what=f"the build, rows from {number * BLOCK}")
    except InconsistentError as error:
        return error.message
    return ""


def _verify_rows(directory: Path, *, count: int) -> dict[int, bytes]:
    """Pass when metadata, offsets and rows tell of the same entries; return a sample of row number -> vector key."""
    chosen = set(random.Random(count).sample(range(count), min(SAMPLE, count)))  # noqa: S311 - the same rows each time
    sample: dict[int, bytes] = {}
    end, number = 0, 0
    with (
        (directory / manifest.METADATA).open("rb") as metadata,
        (directory / manifest.OFFSETS).open("rb") as offsets,
        closing(read_staged_pages(directory / manifest.ENTRIES, PAGE)) as pages,
    ):
        for page in pages:
            places = offsets.read(len(page) * OFFSET.size).ljust(len(page) * OFFSET.size, b"\xff")
            for row, (start, length) in zip(page, OFFSET.iter_unpack(places), strict=True):
                between = BETWEEN if end else OPEN
                piece = metadata.read(len(between) + length) if start == end + len(between) else b""
                _verify_document(piece, between, row, number)
                end = start + length
                if number in chosen:
                    sample[number] = row.vector
                number += 1
        if number != count or offsets.read(1) or metadata.read(len(CLOSE) + 1) != CLOSE:
            raise InconsistentError(
                f"the build lists {number} entries, expected {count}, or holds more than its entries"
            )
    return sample


def _verify_document(piece: bytes, between: bytes, row: StagedRow, number: int) -> None:
    """Pass when a piece of `metadata.json` is what belongs between entries and the entry of a row."""
    document = piece[len(between) :]
    if not piece.startswith(between) or zlib.crc32(document) != row.metadata:
        raise InconsistentError(f"metadata and entries of the build differ at row {number}, entry {row.id!r}")
    if document.startswith(b'{"id":%b,' % row.id.encode()) and row.id.isdecimal():  # as nearly all do
        return
    if str(orjson.loads(document).get("id", row.id)) != row.id:
        raise InconsistentError(f"row {number} of metadata.json is another entry than {row.id!r}")


def _verify_vectors(staged: Staged, sample: dict[int, bytes]) -> None:
    """Pass when faiss reads all rows, each is of unit length, and each of the sample finds itself first."""
    count, dim = staged.manifest.count, staged.manifest.dim
    handle = ReadHandle(staged.directory / manifest.INDEX)
    index = flat_file.open_flat(handle)
    if (index.ntotal, index.d) != (count, dim):
        raise InconsistentError(f"the index holds {index.ntotal} x {index.d} numbers, expected {count} x {dim}")
    numbers = np.array(sorted(sample))
    queries = staged.cache.fetch([sample[number] for number in numbers.tolist()])
    best = np.full(len(numbers), -np.inf, dtype=np.float32)
    own = np.full(len(numbers), -np.inf, dtype=np.float32)
    wrong: list[InconsistentError] = []
    digest, first = hashlib.sha256(flat_file.flat_head(handle, count=count, dim=dim)), 0
    for block in flat_file.read_flat_blocks(
        handle, count=count, dim=dim
    ):  # each is read once, whatever it is looked at for
        digest.update(block.data)
        wrong += _not_unit(block, first)
        best = np.maximum(best, flat_file.highest_similarity(queries, block))
        here = (numbers >= first) & (numbers < first + len(block))
        own[here] = np.einsum("ij,ij->i", queries[here], block[numbers[here] - first])
        first += len(block)
    if digest.hexdigest() != staged.manifest.hashes[manifest.INDEX]:
        raise InconsistentError(f"{handle.path} changed after it was written")
    if wrong:
        raise wrong[0]
    lost = np.flatnonzero(~(own >= best - TIE))  # another row of equal similarity is another entry of equal text
    if len(lost):
        raise InconsistentError(f"row {numbers[lost[0]]} does not find itself first: {len(lost)} of {len(numbers)} so")


def _not_unit(block: Vectors, first: int) -> list[InconsistentError]:
    """Return what is wrong with the lengths of a block of rows that begins with row `first`, if anything is."""
    try:
        check_unit_rows(block, what=f"the build, rows from {first}")
    except InconsistentError as error:
        return [error]
    return []
