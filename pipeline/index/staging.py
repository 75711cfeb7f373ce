"""Write a build beside the builds in service, in two parts at flat memory, each sealed.

First the entries go to `metadata.json`, its offsets and `entries.jsonl` as they come; then the vectors are fetched
from the cache in blocks, by the keys just written, and the manifest is last. Between the two parts is the time to have
vectors made that are missing. The one thing to know: nothing may point at what is written here before
`pipeline.index.verify` has read it back.
"""

import re
import struct
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from pipeline.core import files
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.links import ReadHandle
from pipeline.core.ranking import Ranking
from pipeline.core.task import Entry
from pipeline.index import flat_file, manifest, terms
from pipeline.index.cache import VectorCache
from pipeline.index.copying import Before, DamagedBuildError, Page, Rows, Stretch
from pipeline.index.floor import Highest, learn_floor
from pipeline.index.manifest import Begun, Copied, Manifest, Staged, content_hash
from pipeline.index.postings import Postings
from pipeline.index.postings_writer import PostingsWriter
from pipeline.index.vector_file import BLOCK, Vectors

OFFSET = struct.Struct("<QQ")  # where an entry of metadata.json begins, and its length, in bytes
_COLUMNS = itemgetter("id", "content", "vector", "metadata", "words")
_VECTOR = re.compile(rb'"vector":"([0-9a-f]{64})","metadata":')  # inside of a JSON text no bare quotation mark stands
OPEN, BETWEEN, CLOSE = b"[\n", b",\n", b"\n]\n"  # before, between and behind them; the first two are of one length


class StagedRows(NamedTuple):
    """Lines of `entries.jsonl`: ids, hashes of content, keys of vectors (hex), crc32 of metadata, sums of terms."""

    ids: Sequence[str]
    contents: Sequence[str]
    vectors: Sequence[str]
    metadata: Sequence[int]
    words: Sequence[int]


def begin_staging(
    directory: Path, pages: Iterable[Page], *, number: int, position: int, ranking: Ranking, before: Before | None
) -> Begun:
    """Write the entries of a build and their words into `directory`, on disk when this returns.

    Their vectors are not looked for.

    Raises:
        InputError: there are no entries.
        InconsistentError: an entry's metadata is no JSON.
        DamagedBuildError: the build before is not as it was sealed, or its entries would be others now.
    """
    with PostingsWriter(directory, ranking, before.words if before else None) as words:
        sealed, copied = _write_entries(directory, pages, words, before)
        if not sealed[manifest.ENTRIES].lines:
            raise InputError("there is nothing to index", hint="run `make batch-submit` to have rows answered first")
        return Begun(directory, number, position, {**sealed, **words.seal()}, ranking, copied)


def complete_staging(
    begun: Begun,
    cache: VectorCache,
    *,
    task_type: str,
    built_at: datetime,
    nonsense: Vectors | None,
    progress: Callable[[int], None],
) -> Staged:
    """Add vectors and manifest to what was begun, on disk when this returns; `progress` gets the rows done so far.

    The floor is learnt from the vectors of questions that mean nothing, where there are any.

    Raises:
        InconsistentError: a vector is not in the cache.
        DamagedBuildError: the vectors of the build before are not as they were sealed, or not those in the cache.
    """
    blocks = _vector_blocks(begun, cache, progress)
    copied = begun.copied
    highest = Highest(nonsense) if copied is None else Highest(nonsense, copied.before.highest, copied.rows)
    index = flat_file.write_flat(
        begun.directory / manifest.INDEX, highest.seen(blocks), count=begun.count, dim=cache.dim
    )
    sealed = {**begun.sealed, manifest.INDEX: index}
    words = {"terms": terms.NAME, **begun.ranking.as_json()}
    postings = Postings([ReadHandle(begun.directory / name) for name in manifest.WORDS], words, begun.count)
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
        floor=None if nonsense is None else learn_floor(highest.cosines.tolist(), postings),
        highest=highest.found,
        words=words,
    )
    manifest.seal_manifest(begun.directory, written)
    return Staged(begun.directory, written, cache, begun.copied)


def read_staged_pages(path: Path, size: int) -> Generator[StagedRows]:
    """Yield what the lines of an `entries.jsonl` say in vector order, `size` at a time.

    Raises:
        InconsistentError: a line is not what this module writes.
    """
    with path.open("rb") as file:
        while page := list(islice(file, size)):
            yield staged_rows(page, path)


def staged_rows(lines: Sequence[bytes], path: Path) -> StagedRows:
    """Return what some lines of the `entries.jsonl` at a path say.

    Raises:
        InconsistentError: a line is not what this module writes.
    """
    try:
        return StagedRows(*zip(*map(_COLUMNS, orjson.loads(b"[%b]" % b",".join(lines))), strict=True))
    except (ValueError, KeyError, TypeError) as error:
        raise InconsistentError(f"{path} has a line that is no entry: {error}", hint="run `make index`") from None


def _write_entries(
    directory: Path, pages: Iterable[Page], words: PostingsWriter, before: Before | None
) -> tuple[dict[str, files.Sealed], Copied | None]:
    """Seal metadata, offsets, rows and marks as the entries come, and return them by file name; take in their words."""
    copies, compared = [np.empty(0, np.int64)], dict[int, bytes]()
    with ExitStack() as opened:
        names = (manifest.METADATA, manifest.OFFSETS, manifest.ENTRIES, manifest.MARKS)
        writers = [opened.enter_context(files.SealedWriter(directory / name)) for name in names]
        metadata, offsets, rows, marks = writers
        for page in pages:  # written a page at a time: many small pieces take longer
            documents = [_json(entry.metadata, entry.id) for entry, _ in page.made]
            sums = words.add([entry for entry, _ in page.made], page.copies if before else None)
            lines, lengths = _lines(page.made, documents, sums), np.array(list(map(len, documents)), np.int64)
            pieces: list[list[bytes | memoryview]] = [[*documents], [*lines]]
            if before is not None:
                old = before.stretches(page.copies)
                _compare(page, old, words)
                pieces = [_with_copies(page, made, one) for made, one in zip((documents, lines), old, strict=True)]
                lengths = _lengths(page, lengths, old[0])
                compared |= {rows.lines + at: key for at, _, key in page.compared}
                copies.append(page.copies)
            offsets.write(_places(lengths, start=metadata.size + len(BETWEEN)))
            metadata.write((BETWEEN if metadata.size else OPEN) + BETWEEN.join(pieces[0]))
            rows.write(b"\n".join([*pieces[1], b""]))
            rows.lines += len(page.marks)
            marks.write(page.marks.astype("<u8").tobytes())
        metadata.write(CLOSE)
        if before is not None:
            before.check_entries()
        sealed = {writer.path.name: writer.seal() for writer in writers}
    return sealed, None if before is None else Copied(before, np.concatenate(copies), compared)


def _lines(made: Sequence[tuple[Entry, bytes]], documents: Sequence[bytes], sums: Sequence[int]) -> list[bytes]:
    """Return the lines of `entries.jsonl` of some entries, by their documents and the checksums of their terms."""
    return [
        _json(
            {
                "id": entry.id,
                "content": content_hash(entry),
                "vector": key.hex(),
                "metadata": zlib.crc32(document),
                "words": sum_,
            },
            entry.id,
        )
        for (entry, key), document, sum_ in zip(made, documents, sums, strict=True)
    ]


def _with_copies(page: Page, made: Sequence[bytes], old: Stretch) -> list[bytes | memoryview]:
    """Return the rows of a page in order, those that were made, and runs of those that are copied."""
    anew = iter(made)
    return [old.run(*run) if run[0] >= 0 else next(anew) for run in page.runs()]


def _lengths(page: Page, made: Rows, old: Stretch) -> Rows:
    """Return the length of each row of a page, of those that were made and of those that are copied."""
    lengths = np.empty(len(page.copies), np.int64)
    lengths[page.copies < 0] = made
    lengths[page.copies >= 0] = (old.ends - old.begins)[page.copies[page.copies >= 0] - old.first]
    return lengths


def _compare(page: Page, old: tuple[Stretch, Stretch], words: PostingsWriter) -> None:
    """Pass when copied entries that were made anew as well are as they are copied.

    Raises:
        DamagedBuildError: one is not.
    """
    if not page.compared:
        return
    rows, made = [int(page.copies[at]) for at, *_ in page.compared], [(entry, key) for _, entry, key in page.compared]
    anew = [_json(entry.metadata, entry.id) for entry, _ in made]
    lines = _lines(made, anew, words.checksums([entry for entry, _ in made]))
    copied = [[one.run(row, row) for row in rows] for one in old]
    if copied != [anew, lines]:
        raise DamagedBuildError("entries are made otherwise than when the build in service was made")


def _places(lengths: Rows, *, start: int) -> bytes:
    """Return where each of some documents begins and how long it is, when the first begins at `start`."""
    ends = start + np.cumsum(lengths + len(BETWEEN)) - len(BETWEEN)
    return np.column_stack((ends - lengths, lengths)).astype("<u8").tobytes()


def _json(document: Mapping[str, Any], entry_id: str) -> bytes:
    """Return a document as one line of JSON.

    Raises:
        InconsistentError: it holds what JSON cannot say (a lone surrogate, an object of ours).
    """
    try:
        return orjson.dumps(document if isinstance(document, dict) else dict(document))
    except TypeError as error:
        raise InconsistentError(f"entry {entry_id!r} cannot be written as JSON: {error}") from None


def _vector_blocks(begun: Begun, cache: VectorCache, progress: Callable[[int], None]) -> Iterator[Vectors]:
    """Yield the vectors of what was begun in blocks, and say how many rows are done after each."""
    done, copied = 0, begun.copied
    with (begun.directory / manifest.ENTRIES).open("rb") as lines:
        while page := list(islice(lines, BLOCK)):
            copies = copied.rows[done : done + len(page)] if copied else np.full(len(page), -1)
            made = np.flatnonzero(copies < 0)
            keys = _VECTOR.findall(b"".join([page[at] for at in made.tolist()]))
            fetched = cache.fetch([bytes.fromhex(key.decode()) for key in keys])
            if copied is None or len(made) == len(page):
                block = fetched
            else:
                block = np.empty((len(page), cache.dim), np.float32)
                block[made] = fetched
                there = np.flatnonzero(copies >= 0)
                copied.before.put_vectors(copies[there], block, there)
                _compare_vectors(block, {at - done: key for at, key in copied.compared.items()}, cache)
            yield block
            done += len(page)
            progress(done)
    if copied is not None:
        copied.before.check_vectors()


def _compare_vectors(block: Vectors, compared: Mapping[int, bytes], cache: VectorCache) -> None:
    """Pass when vectors that were copied are those in the cache, where they are there.

    Raises:
        DamagedBuildError: one is not.
    """
    here = {at: key for at, key in compared.items() if 0 <= at < len(block)}
    if not here:
        return
    gone = set(cache.missing(keys := list(here.values())))
    places = [at for number, at in enumerate(here) if number not in gone]
    if not np.array_equal(block[places], cache.fetch([key for number, key in enumerate(keys) if number not in gone])):
        raise DamagedBuildError("a vector of the build in service is another one than in the cache")
