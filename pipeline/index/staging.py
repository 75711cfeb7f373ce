"""Write a build beside the builds in service, in two parts at flat memory, each sealed.

First the entries go to `metadata.json`, its offsets and `entries.jsonl` as they come; then the vectors are fetched
from the cache in blocks, by the keys just written, and the manifest is last. Between the two parts is the time to have
vectors made that are missing. The one thing to know: nothing may point at what is written here before
`pipeline.index.verify` has read it back.
"""

import struct
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.core import files
from pipeline.core.errors import InconsistentError, InputError
from pipeline.core.links import ReadHandle
from pipeline.core.ranking import Ranking
from pipeline.core.task import Entry
from pipeline.index import flat_file, manifest, terms
from pipeline.index.cache import VectorCache
from pipeline.index.floor import Highest, learn_floor
from pipeline.index.manifest import Begun, Manifest, Staged, content_hash
from pipeline.index.postings import PAGE, Postings, PostingsWriter
from pipeline.index.vector_file import BLOCK, Vectors

OFFSET = struct.Struct("<QQ")  # where an entry of metadata.json begins, and its length, in bytes
OPEN, BETWEEN, CLOSE = b"[\n", b",\n", b"\n]\n"  # before, between and behind them; the first two are of one length


class StagedRow(NamedTuple):
    """One line of `entries.jsonl`: id, hash of its content, key of the vector, crc32 of metadata, sum of its terms."""

    id: str
    content: str
    vector: bytes
    metadata: int
    words: int


def begin_staging(
    directory: Path, entries: Iterable[tuple[Entry, bytes]], *, number: int, position: int, ranking: Ranking
) -> Begun:
    """Write the entries of a build and their words into `directory`, on disk when this returns.

    Their vectors are not looked for.

    Raises:
        InputError: there are no entries.
        InconsistentError: an entry's metadata is no JSON.
    """
    with PostingsWriter(directory, ranking) as words:
        sealed = _write_entries(directory, entries, words)
        if not sealed[manifest.ENTRIES].lines:
            raise InputError("there is nothing to index", hint="run `make batch-submit` to have rows answered first")
        return Begun(directory, number, position, {**sealed, **words.seal()}, ranking)


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
    """
    blocks = _vector_blocks(begun.directory / manifest.ENTRIES, cache, progress)
    highest = Highest(nonsense)
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
        floor=None if nonsense is None else learn_floor(highest.found, postings),
        words=words,
    )
    manifest.seal_manifest(begun.directory, written)
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
                    StagedRow(row["id"], row["content"], bytes.fromhex(row["vector"]), row["metadata"], row["words"])
                    for row in rows
                ]
            except (ValueError, KeyError, TypeError) as error:
                raise InconsistentError(
                    f"{path} has a line that is no entry: {error}", hint="run `make index`"
                ) from None
            yield found


def _write_entries(
    directory: Path, entries: Iterable[tuple[Entry, bytes]], words: PostingsWriter
) -> dict[str, files.Sealed]:
    """Seal metadata, offsets and rows as the entries come, and return them by file name; take in their words."""
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
            sums = words.add([entry for entry, _ in page])
            rows.write_lines(
                [
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
                    for (entry, key), document, sum_ in zip(page, documents, sums, strict=True)
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
