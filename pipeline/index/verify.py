"""Verify a staged build before anything may point at it.

The files are read back from disk and the cache is asked again; nothing is believed that staging held in memory. Each
file is read once or twice in full, at flat memory, whatever is looked at in it.
"""

import random
import zlib
from collections.abc import Collection
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.files import ReadHandle
from pipeline.index import flat_file, manifest
from pipeline.index.cache import check_unit_rows
from pipeline.index.manifest import WORDS, Manifest, Staged
from pipeline.index.postings import ROWS, SCORES, STARTS, TERMS, Postings, halves
from pipeline.index.staging import BETWEEN, CLOSE, OFFSET, OPEN, StagedRows, read_staged_pages
from pipeline.index.vector_file import BLOCK

SAMPLE = 64  # rows that must find themselves first
TIE = 1e-5  # similarities closer than this are equal: float32 sums of 3,072 products differ by less
PAGE = 128  # entries that are looked at at once
STEP = 1 << 16  # postings that are looked at at once: what a processor's cache holds

Sums = NDArray[np.int64]


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
    for name, sha256 in staged.manifest.hashes.items():
        files.verify(staged.directory / name, sha256=sha256, what=f"{name} of the build")
    chosen = frozenset(random.Random(count).sample(range(count), min(SAMPLE, count)))  # noqa: S311 - no secret
    sample, sums = _verify_rows(staged.directory, count=count, chosen=chosen)
    _verify_vectors(staged, sample)
    _verify_words(staged.directory, found, sums=sums, sample=sorted(sample))
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


def _verify_rows(directory: Path, *, count: int, chosen: Collection[int]) -> tuple[dict[int, bytes], Sums]:
    """Pass when metadata, offsets and rows tell of the same entries.

    Return row number -> vector key of the chosen ones, and the checksum of the terms of each row.
    """
    sample: dict[int, bytes] = {}
    sums, number, end = np.empty(count, np.int64), 0, 0
    with (
        (directory / manifest.METADATA).open("rb") as metadata,
        (directory / manifest.OFFSETS).open("rb") as offsets,
        closing(read_staged_pages(directory / manifest.ENTRIES, PAGE)) as pages,
    ):
        for page in pages:
            rows = len(page.ids)
            places = np.frombuffer(offsets.read(rows * OFFSET.size), "<u8").reshape(-1, 2)
            starts = np.uint64(end) + np.cumsum(places[:, 1] + np.uint64(len(BETWEEN))) - places[:, 1]
            lengths = places[:, 1].tolist() if (places[:, 0] == starts).all() else []
            whole = metadata.read(sum(lengths) + len(BETWEEN) * len(lengths))
            _verify_documents(whole, BETWEEN if end else OPEN, lengths, page, number)
            end += len(whole)
            sums[number : number + rows] = page.words[: max(0, count - number)]
            sample |= {at: bytes.fromhex(page.vectors[at - number]) for at in chosen if number <= at < number + rows}
            number += rows
        if number != count or offsets.read(1) or metadata.read(len(CLOSE) + 1) != CLOSE:
            raise InconsistentError(
                f"the build lists {number} entries, expected {count}, or holds more than its entries"
            )
    return sample, sums


def _verify_documents(whole: bytes, before: bytes, lengths: list[int], page: StagedRows, number: int) -> None:
    """Pass when a piece of `metadata.json` is the entries of a page, the first of which is row `number`."""
    documents = whole[len(before) :].split(BETWEEN) if whole.startswith(before) else []
    if list(map(len, documents)) != lengths:
        documents = []
    sums = list(map(zlib.crc32, documents))
    if sums != list(page.metadata):
        at = next(at for at, (found, said) in enumerate(zip_longest(sums, page.metadata)) if found != said)
        raise InconsistentError(
            f"metadata and entries of the build differ at row {number + at}, entry {page.ids[at]!r}"
        )
    for at, (document, one) in enumerate(zip(documents, page.ids, strict=True)):
        if not document.startswith(b'{"id":%b,' % one.encode()) and str(orjson.loads(document).get("id", one)) != one:
            raise InconsistentError(f"row {number + at} of metadata.json is another entry than {one!r}")


def _verify_vectors(staged: Staged, sample: dict[int, bytes]) -> None:
    """Pass when faiss reads all rows, each is of unit length, and each of the sample finds itself first."""
    count, dim = staged.manifest.count, staged.manifest.dim
    handle = ReadHandle(staged.directory / manifest.INDEX)
    index = flat_file.open_flat(handle)
    if (index.ntotal, index.d) != (count, dim):
        raise InconsistentError(f"the index holds {index.ntotal} x {index.d} numbers, expected {count} x {dim}")
    numbers = np.array(sorted(sample), np.int64)
    queries = staged.cache.fetch([sample[number] for number in numbers.tolist()])
    best = np.full(len(numbers), -np.inf, dtype=np.float32)
    own = np.full(len(numbers), -np.inf, dtype=np.float32)
    first = 0
    for block in flat_file.read_flat_blocks(handle, count=count, dim=dim):
        check_unit_rows(block, what=f"the build, rows from {first}")
        best = np.maximum(best, flat_file.highest_similarity(queries, block))
        here = (numbers >= first) & (numbers < first + len(block))
        own[here] = np.einsum("ij,ij->i", queries[here], block[numbers[here] - first])
        first += len(block)
    lost = np.flatnonzero(~(own >= best - TIE))  # another row of equal similarity is another entry of equal text
    if len(lost):
        raise InconsistentError(f"row {numbers[lost[0]]} does not find itself first: {len(lost)} of {len(numbers)} so")


def _verify_words(directory: Path, found: Manifest, *, sums: Sums, sample: list[int]) -> None:
    """Pass when the words on disk are of terms in order, and of the entries with these checksums.

    Each row of the sample must be found by its rarest term. `sums` is counted down to zero: a second array of all
    entries would be half of what this takes.
    """
    postings = Postings([ReadHandle(directory / name) for name in WORDS], found.words, found.count)
    codes, starts = postings.array(TERMS), postings.array(STARTS)
    if not _is_ascending(codes) or len(starts) != len(codes) + 1:
        raise InconsistentError("the terms of the build do not ascend, or are not as many as have postings")
    if not _is_ascending(starts) or starts[0]:
        raise InconsistentError("the postings of the build's terms do not follow one another")
    for row, term in _verify_postings(postings, sums, np.array(sample)).items():
        if not postings.add_up(np.array([term]))[row] > 0:
            raise InconsistentError(f"row {row} is not found by its rarest term")


def _verify_postings(postings: Postings, sums: Sums, sample: Sums) -> dict[int, int]:
    """Pass when the postings are those of entries with these checksums; return the rarest term of rows of a sample."""
    codes, starts = postings.array(TERMS), postings.array(STARTS)
    rows, scores = postings.array(ROWS), postings.array(SCORES)
    if not starts[-1] == len(rows) == len(scores):
        raise InconsistentError(f"the words of the build have {len(rows)} postings, expected {starts[-1]}")
    held, last = np.diff(starts), -1
    rarest: dict[int, tuple[int, int]] = {}
    for low in range(0, len(rows), STEP):
        here = rows[low : low + STEP].astype(np.int64)
        which = np.searchsorted(starts, np.arange(low, low + len(here)), side="right") - 1
        places = which * len(sums) + here
        if here.min() < 0 or here.max() >= len(sums) or not _is_ascending(places) or places[0] <= last:
            raise InconsistentError("the postings of the build are out of order, or of entries that are not there")
        if not (np.isfinite(scores[low : low + STEP]) & (scores[low : low + STEP] > 0)).all():
            raise InconsistentError("a score among the words of the build is no positive number")
        np.subtract.at(sums, here, halves(codes[which]))
        last = int(places[-1])
        for at in np.flatnonzero(np.isin(here, sample)).tolist():
            one = (int(held[which[at]]), int(which[at]))
            rarest[int(here[at])] = min(one, rarest.get(int(here[at]), one))
    if sums.any():
        raise InconsistentError(f"row {np.flatnonzero(sums)[0]} has other words than its entry")
    return {row: term for row, (_, term) in rarest.items()}


def _is_ascending(array: NDArray[Any]) -> bool:
    return bool((array[1:] > array[:-1]).all())
