"""Write a build beside the builds in service, and verify it before anyone may point at it.

Two passes at flat memory: entries go to `metadata.json`, its offsets and `entries.jsonl` as they come; then the
vectors are fetched from the cache in blocks, by the keys just written. Everything is sealed, the manifest last. The
one thing to know: verifying reads the files back from disk and asks the cache again; it believes nothing that staging
held in memory.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipeline import files
from pipeline.errors import InconsistentError, InputError
from pipeline.index import flat, manifest
from pipeline.index.handles import ReadHandle
from pipeline.index.manifest import Manifest, Staged, content_hash
from pipeline.index.vectors import BLOCK, VectorCache, check_unit_rows
from pipeline.task import Entry

OFFSET = struct.Struct("<QQ")  # where an entry of metadata.json begins, and its length, in bytes
PAGE = 500  # entries
SAMPLE = 64  # rows that must find themselves first
TIE = 1e-5  # similarities closer than this are equal: float32 sums of 3,072 products differ by less
_OPEN, _BETWEEN, _CLOSE = b"[\n", b",\n", b"\n]\n"


@dataclass(frozen=True)
class Row:
    """One line of `entries.jsonl`: the id, hash of text and tags, key of the vector, crc32 of the metadata."""

    id: str
    content: str
    vector: bytes
    metadata: int


def stage(
    directory: Path,
    entries: Iterable[tuple[Entry, bytes]],
    cache: VectorCache,
    *,
    number: int,
    task_type: str,
    position: int,
    built_at: datetime,
    progress: Callable[[int], None],
) -> Staged:
    """Write a build into `directory`, all of it on disk when this returns; `progress` gets the rows done so far.

    Raises:
        InputError: there are no entries.
        InconsistentError: a vector is not in the cache, or an entry's metadata is no JSON.
    """
    sealed = _write_entries(directory, entries)
    count = sealed[manifest.ENTRIES].lines
    if count == 0:
        raise InputError("there is nothing to index", hint="run `make batch-submit` to have rows answered first")
    blocks = _vector_blocks(directory / manifest.ENTRIES, cache, progress)
    sealed[manifest.INDEX] = flat.write(directory / manifest.INDEX, blocks, count=count, dim=cache.dim)
    written = Manifest(
        number=number,
        count=count,
        model=cache.model,
        dim=cache.dim,
        task_type=task_type,
        position=position,
        built_at=built_at,
        hashes={name: sealed[name].sha256 for name in manifest.PARTS},
        sizes={name: sealed[name].size for name in manifest.PARTS},
    )
    manifest.write(directory, written)
    return Staged(directory, written, cache)


def verify(staged: Staged, *, count: int) -> None:
    """Pass when the build on disk is whole, its parts agree, and it holds `count` entries.

    Raises:
        InconsistentError: it is not; the message says what differs.
    """
    found = manifest.read(staged.directory)
    if found != staged.manifest:
        raise InconsistentError(f"{staged.directory / manifest.MANIFEST} changed after it was written")
    if found.count != count:
        raise InconsistentError(f"the build holds {found.count} entries, expected {count}")
    for name in (manifest.METADATA, manifest.OFFSETS, manifest.ENTRIES):
        files.verify(staged.directory / name, sha256=found.hashes[name], what=f"{name} of the build")
    sample = _verify_rows(staged.directory, count=count)
    _verify_vectors(staged, sample)
    staged.verified = True


def unsound_rows(directory: Path) -> str:
    """Return what is wrong with the vectors of the build in `directory`: their number, or rows that are no vectors."""
    found = manifest.read(directory)
    handle = ReadHandle(directory / manifest.INDEX)
    try:
        index = flat.open_index(handle)
        if (index.ntotal, index.d) != (found.count, found.dim):
            return f"it holds {index.ntotal} x {index.d} numbers, its manifest says {found.count} x {found.dim}"
        for number, block in enumerate(flat.read_blocks(handle, count=found.count, dim=found.dim)):
            check_unit_rows(block, what=f"the build, rows from {number * BLOCK}")
    except InconsistentError as error:
        return error.message
    return ""


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the lines of an `entries.jsonl` in vector order.

    Raises:
        InconsistentError: a line is not what this module writes.
    """
    for _, line in files.read_lines(path):
        yield parse_row(line, path)


def parse_row(line: bytes, path: Path) -> Row:
    """Return one line of `entries.jsonl`; `path` is for the message.

    Raises:
        InconsistentError: the line is not what this module writes.
    """
    try:
        row = orjson.loads(line)
        return Row(row["id"], row["content"], bytes.fromhex(row["vector"]), row["metadata"])
    except (ValueError, KeyError, TypeError) as error:
        raise InconsistentError(f"{path} has a line that is no entry: {error}", hint="run `make index`") from None


def _write_entries(directory: Path, entries: Iterable[tuple[Entry, bytes]]) -> dict[str, files.Sealed]:
    """Seal metadata, offsets and rows as the entries come, and return them by file name."""
    with (
        files.SealedWriter(directory / manifest.METADATA) as metadata,
        files.SealedWriter(directory / manifest.OFFSETS) as offsets,
        files.SealedWriter(directory / manifest.ENTRIES) as rows,
    ):
        pairs = iter(entries)
        while page := list(islice(pairs, PAGE)):  # written a page at a time: many small pieces take longer
            documents: list[bytes] = []
            places: list[bytes] = []
            lines: list[bytes] = []
            end = metadata.size
            for entry, key in page:
                document = _json(entry.metadata, entry.id)
                between = _BETWEEN if end else _OPEN
                places.append(OFFSET.pack(end + len(between), len(document)))
                documents += (between, document)
                end += len(between) + len(document)
                row = {
                    "id": entry.id,
                    "content": content_hash(entry),
                    "vector": key.hex(),
                    "metadata": zlib.crc32(document),
                }
                lines.append(_json(row, entry.id))
            metadata.write(b"".join(documents))
            offsets.write(b"".join(places))
            rows.write_lines(lines)
        metadata.write(_CLOSE)
        sealed = (metadata.seal(), offsets.seal(), rows.seal())
        return {each.path.name: each for each in sealed}


def _json(document: Mapping[str, Any], entry_id: str) -> bytes:
    """Return a document as one line of JSON.

    Raises:
        InconsistentError: it holds what JSON cannot say (a lone surrogate, an object of ours).
    """
    try:
        return orjson.dumps(document if isinstance(document, dict) else dict(document))
    except TypeError as error:
        raise InconsistentError(f"entry {entry_id!r} cannot be written as JSON: {error}") from None


def _vector_blocks(path: Path, cache: VectorCache, progress: Callable[[int], None]) -> Iterator[Any]:
    """Yield the vectors of the rows at `path` in blocks, and say how many rows are done after each."""
    rows = read_rows(path)
    done = 0
    while keys := [row.vector for row in islice(rows, BLOCK)]:
        yield cache.fetch(keys)
        done += len(keys)
        progress(done)


def _verify_rows(directory: Path, *, count: int) -> dict[int, bytes]:
    """Pass when metadata, offsets and rows tell of the same entries; return a sample of row number -> vector key."""
    chosen = set(random.Random(count).sample(range(count), min(SAMPLE, count)))  # noqa: S311 - the same rows each time
    sample: dict[int, bytes] = {}
    end, number = 0, 0
    with (directory / manifest.METADATA).open("rb") as metadata, (directory / manifest.OFFSETS).open("rb") as offsets:
        for number, row in enumerate(read_rows(directory / manifest.ENTRIES), start=1):
            between = _BETWEEN if end else _OPEN
            place = offsets.read(OFFSET.size)
            start, length = OFFSET.unpack(place) if len(place) == OFFSET.size else (-1, 0)
            piece = metadata.read(len(between) + length)
            document = piece[len(between) :]
            if start != end + len(between) or piece[: len(between)] != between or zlib.crc32(document) != row.metadata:
                raise InconsistentError(
                    f"metadata and entries of the build differ at row {number - 1}, entry {row.id!r}"
                )
            if str(orjson.loads(document).get("id", row.id)) != row.id:
                raise InconsistentError(f"row {number - 1} of metadata.json is another entry than {row.id!r}")
            end = start + length
            if number - 1 in chosen:
                sample[number - 1] = row.vector
        if number != count or offsets.read(1) or metadata.read(len(_CLOSE) + 1) != _CLOSE:
            raise InconsistentError(
                f"the build lists {number} entries, expected {count}, or holds more than its entries"
            )
    return sample


def _verify_vectors(staged: Staged, sample: dict[int, bytes]) -> None:
    """Pass when faiss reads all rows, each is of unit length, and each of the sample finds itself first."""
    count, dim = staged.manifest.count, staged.manifest.dim
    handle = ReadHandle(staged.directory / manifest.INDEX)
    if flat.sha256_of(handle) != staged.manifest.hashes[manifest.INDEX]:
        raise InconsistentError(f"{handle.path} changed after it was written")
    index = flat.open_index(handle)
    if (index.ntotal, index.d) != (count, dim):
        raise InconsistentError(f"the index holds {index.ntotal} x {index.d} numbers, expected {count} x {dim}")
    numbers = np.array(sorted(sample))
    queries = staged.cache.fetch([sample[number] for number in numbers.tolist()])
    best = np.full(len(numbers), -np.inf, dtype=np.float32)
    own = np.full(len(numbers), -np.inf, dtype=np.float32)
    first = 0
    for block in flat.read_blocks(handle, count=count, dim=dim):
        check_unit_rows(block, what=f"the build, rows from {first}")
        best = np.maximum(best, flat.highest(queries, block))
        here = (numbers >= first) & (numbers < first + len(block))
        own[here] = np.einsum("ij,ij->i", queries[here], block[numbers[here] - first])
        first += len(block)
    lost = np.flatnonzero(own < best - TIE)  # another row of equal similarity is another entry of equal text
    if len(lost):
        raise InconsistentError(f"row {numbers[lost[0]]} does not find itself first: {len(lost)} of {len(numbers)} so")
