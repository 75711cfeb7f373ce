"""Verify the entries of a staged build: metadata, offsets and lines tell of the same ones, in one order."""

import re
import zlib
from collections.abc import Collection, Sequence
from contextlib import closing
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.core.errors import InconsistentError
from pipeline.core.links import ReadHandle
from pipeline.index import manifest
from pipeline.index.copying import PAGE
from pipeline.index.staging import BETWEEN, CLOSE, OFFSET, OPEN, StagedRows, read_staged_pages, staged_rows

Sums = NDArray[np.int64]
_SUM = re.compile(rb'"words":(\d+)}\n')


def verify_rows(directory: Path, *, count: int, chosen: Collection[int]) -> tuple[dict[int, bytes], Sums]:
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
            lengths = places[:, 1].tolist() if _follow(places, end) else []
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


def verify_made_rows(
    directory: Path, made: Sequence[int], *, count: int, chosen: Collection[int]
) -> tuple[dict[int, bytes], Sums]:
    """Pass as `verify_rows` does, where all rows but those that were `made` are copies, held against their hashes.

    Those that were made tell of the same entries, and all stand where the offsets say.
    """
    places = np.fromfile(directory / manifest.OFFSETS, "<u8").reshape(-1, 2)
    metadata, path = ReadHandle(directory / manifest.METADATA), directory / manifest.ENTRIES
    if len(places) != count or not _follow(places, 0) or places[-1].sum() + len(CLOSE) != metadata.size:
        raise InconsistentError(f"the offsets of the build are not those of {count} entries, one behind the other")
    sums, sample, number = np.empty(count, np.int64), dict[int, bytes](), 0
    left = iter((*made, count))
    at = next(left)
    with path.open("rb") as lines:
        while page := list(islice(lines, PAGE)):
            found = list(map(int, _SUM.findall(b"".join(page))))
            if len(found) != len(page) or number + len(page) > count:
                raise InconsistentError(f"{path} has a line that is no entry, or more than {count}")
            sums[number : number + len(page)] = found
            while at < number + len(page):
                row = staged_rows([page[at - number]], path)
                start, length = map(int, places[at])
                between = BETWEEN if at else OPEN
                whole = metadata.read(len(between) + length, start - len(between))
                _verify_documents(whole, between, [length], row, at)
                if at in chosen:
                    sample[at] = bytes.fromhex(row.vectors[0])
                at = next(left)
            number += len(page)
    if number != count:
        raise InconsistentError(f"the build lists {number} entries, expected {count}")
    return sample, sums


def _follow(places: NDArray[np.uint64], end: int) -> bool:
    """Return whether the places of some entries, u64 (entries, 2), follow one another behind those up to `end`."""
    starts = np.uint64(end) + np.cumsum(places[:, 1] + np.uint64(len(BETWEEN))) - places[:, 1]
    return bool((places[:, 0] == starts).all())


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
    begins = [b'{"id":%b,' % one.encode() for one in page.ids]
    if "".join(page.ids).isdecimal() and all(map(bytes.startswith, documents, begins)):  # as nearly always
        return
    for at, (document, one) in enumerate(zip(documents, page.ids, strict=True)):
        if str(orjson.loads(document).get("id", one)) != one:
            raise InconsistentError(f"row {number + at} of metadata.json is another entry than {one!r}")
