"""Verify a staged build before anything may point at it.

The files are read back from disk and the cache is asked again; nothing is believed that staging held in memory. Each
file is read once or twice in full, at flat memory, whatever is looked at in it.
"""

import hashlib
import random
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.links import ReadHandle
from pipeline.index import flat_file, manifest
from pipeline.index.cache import check_unit_rows
from pipeline.index.manifest import Staged
from pipeline.index.postings import PAGE
from pipeline.index.staging import BETWEEN, CLOSE, OFFSET, OPEN, StagedRow, read_staged_pages
from pipeline.index.vector_file import BLOCK, Vectors
from pipeline.index.verify_words import verify_words

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
    sample, sums = _verify_rows(staged.directory, count=count)
    _verify_vectors(staged, sample)
    verify_words(staged.directory, found, sums=np.array(sums), sample=sorted(sample))
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


def _verify_rows(directory: Path, *, count: int) -> tuple[dict[int, bytes], list[int]]:
    """Pass when metadata, offsets and rows tell of the same entries.

    Return a sample of row number -> vector key, and the checksum of the terms of each row.
    """
    chosen = set(random.Random(count).sample(range(count), min(SAMPLE, count)))  # noqa: S311 - the same rows each time
    sample: dict[int, bytes] = {}
    sums: list[int] = []
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
                sums.append(row.words)
                if number in chosen:
                    sample[number] = row.vector
                number += 1
        if number != count or offsets.read(1) or metadata.read(len(CLOSE) + 1) != CLOSE:
            raise InconsistentError(
                f"the build lists {number} entries, expected {count}, or holds more than its entries"
            )
    return sample, sums


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
