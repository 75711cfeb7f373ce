"""Verify a staged build before anything may point at it.

The files are read back from disk and the cache is asked again; nothing is believed that staging held in memory. Each
file is read once or twice in full, at flat memory, whatever is looked at in it.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.links import ReadHandle
from pipeline.index import flat_file, manifest
from pipeline.index.cache import check_unit_rows
from pipeline.index.manifest import Staged
from pipeline.index.vector_file import BLOCK
from pipeline.index.verify_rows import verify_made_rows, verify_rows
from pipeline.index.verify_words import verify_words

SAMPLE = 64  # rows that must find themselves first
SAMPLE_OF_MADE = 16  # the same where the others were copied, and compared while they were
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
    for name, sha256 in staged.manifest.hashes.items():
        files.verify(staged.directory / name, sha256=sha256, what=f"{name} of the build")
    _verify_parts(staged, count=count)
    staged.verified = True


def _verify_parts(staged: Staged, *, count: int) -> None:
    """Pass when the files tell of the same entries, of which each of a sample is found."""
    chosen = _chosen(staged)
    if staged.copied is None:
        sample, sums = verify_rows(staged.directory, count=count, chosen=chosen)
    else:
        made = np.flatnonzero(staged.copied.rows < 0).tolist()
        sample, sums = verify_made_rows(staged.directory, made, count=count, chosen=chosen)
    _verify_vectors(staged, sample)
    verify_words(staged.directory, staged.manifest, sums=sums, sample=sorted(sample))


def _chosen(staged: Staged) -> frozenset[int]:
    """Return the rows that must find themselves: the same each time, or some of those that were not copied."""
    rows: Sequence[int] = range(staged.manifest.count)
    count = SAMPLE
    if staged.copied is not None:
        count, rows = SAMPLE_OF_MADE, np.flatnonzero(staged.copied.rows < 0).tolist()
    return frozenset(random.Random(len(rows)).sample(rows, min(count, len(rows))))  # noqa: S311 - no secret


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
        if len(queries):
            best = np.maximum(best, flat_file.highest_similarity(queries, block)[0])
        here = (numbers >= first) & (numbers < first + len(block))
        own[here] = np.einsum("ij,ij->i", queries[here], block[numbers[here] - first])
        first += len(block)
    lost = np.flatnonzero(~(own >= best - TIE))  # another row of equal similarity is another entry of equal text
    if len(lost):
        raise InconsistentError(f"row {numbers[lost[0]]} does not find itself first: {len(lost)} of {len(numbers)} so")
