"""Write a build beside the builds in service, at flat memory, each file sealed.

The entries go to `metadata.json`, its offsets and `entries.jsonl` as they come, their words to the postings, and their
vectors, fetched from the cache, to the index; the manifest is last. The one thing to know: nothing may point at what is
written here before `pipeline.index.verify` has read it back.
"""

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
from pipeline.core.files import ReadHandle
from pipeline.core.ranking import Entry, Ranking
from pipeline.index import flat_file, manifest, terms
from pipeline.index.cache import VectorCache
from pipeline.index.floor import Highest, learn_floor
from pipeline.index.manifest import Manifest, Staged, content_hash
from pipeline.index.postings import Postings
from pipeline.index.postings_writer import PostingsWriter
from pipeline.index.vector_file import Vectors

OFFSET = struct.Struct("<QQ")  # where an entry of metadata.json begins, and its length, in bytes
_COLUMNS = itemgetter("id", "content", "vector", "metadata", "words")
OPEN, BETWEEN, CLOSE = b"[\n", b",\n", b"\n]\n"  # before, between and behind them; the first two are of one length

Page = Sequence[tuple[Entry, bytes]]  # entries with the keys of their vectors, `postings_writer.PAGE` at most


class StagedRows(NamedTuple):
    """Lines of `entries.jsonl`: ids, hashes of content, keys of vectors (hex), crc32 of metadata, sums of terms."""

    ids: Sequence[str]
    contents: Sequence[str]
    vectors: Sequence[str]
    metadata: Sequence[int]
    words: Sequence[int]


def write_build(
    directory: Path,
    pages: Iterable[Page],
    cache: VectorCache,
    *,
    count: int,
    number: int,
    position: int,
    ranking: Ranking,
    task_type: str,
    built_at: datetime,
    nonsense: Vectors | None,
    progress: Callable[[int], None],
) -> Staged:
    """Write build `number` of `count` entries into `directory`, on disk when this returns.

    The floor is learnt from the vectors of questions that mean nothing, where there are any. `progress` gets the rows
    done so far.

    Raises:
        InputError: there are no entries.
        InconsistentError: an entry's metadata is no JSON.
        MissingVectorError: a vector is not in the cache.
    """
    highest, names = Highest(nonsense), (manifest.METADATA, manifest.OFFSETS, manifest.ENTRIES)
    sealed: dict[str, files.Sealed] = {}
    with PostingsWriter(directory, ranking) as words, ExitStack() as opened:
        writers = [opened.enter_context(files.SealedWriter(directory / name)) for name in names]
        metadata, _, rows = writers

        def blocks() -> Iterator[Vectors]:
            for page in pages:
                _write_page(page, *writers, sums=words.add([entry for entry, _ in page]))
                yield cache.fetch([key for _, key in page])
                progress(rows.lines)
            if not rows.lines:
                raise InputError(
                    "there is nothing to index", hint="run `make batch-submit` to have rows answered first"
                )
            metadata.write(CLOSE)
            sealed.update({writer.path.name: writer.seal() for writer in writers})

        index = flat_file.write_flat(directory / manifest.INDEX, highest.seen(blocks()), count=count, dim=cache.dim)
        sealed |= {manifest.INDEX: index, **words.seal()}
    told = {"terms": terms.NAME, **ranking.as_json()}
    postings = Postings([ReadHandle(directory / name) for name in manifest.WORDS], told, rows.lines)
    written = Manifest(
        number=number,
        count=rows.lines,
        model=cache.model,
        dim=cache.dim,
        task_type=task_type,
        position=position,
        built_at=built_at,
        hashes={name: sealed[name].sha256 for name in manifest.PARTS},
        sizes={name: sealed[name].size for name in manifest.PARTS},
        floor=None if nonsense is None else learn_floor(highest.cosines.tolist(), postings),
        words=told,
    )
    manifest.seal_manifest(directory, written)
    return Staged(directory, written, cache)


def read_staged_pages(path: Path, size: int) -> Generator[StagedRows]:
    """Yield what the lines of an `entries.jsonl` say in vector order, `size` at a time.

    Raises:
        InconsistentError: a line is not what this module writes.
    """
    with path.open("rb") as file:
        while page := list(islice(file, size)):
            try:
                yield StagedRows(*zip(*map(_COLUMNS, orjson.loads(b"[%b]" % b",".join(page))), strict=True))
            except (ValueError, KeyError, TypeError) as error:
                raise InconsistentError(
                    f"{path} has a line that is no entry: {error}", hint="run `make index`"
                ) from None


def _write_page(
    page: Page,
    metadata: files.SealedWriter,
    offsets: files.SealedWriter,
    rows: files.SealedWriter,
    *,
    sums: Sequence[int],
) -> None:
    """Append entries to metadata, offsets and rows, a page at a time: many small pieces take longer."""
    documents = [_json(entry.metadata, entry.id) for entry, _ in page]
    lengths = np.array(list(map(len, documents)), np.int64)
    ends = metadata.size + np.cumsum(lengths + len(BETWEEN))
    offsets.write(np.column_stack((ends - lengths, lengths)).astype("<u8").tobytes())
    metadata.write((BETWEEN if metadata.size else OPEN) + BETWEEN.join(documents))
    lines = [
        {
            "id": entry.id,
            "content": content_hash(entry),
            "vector": key.hex(),
            "metadata": zlib.crc32(document),
            "words": sum_,
        }
        for (entry, key), document, sum_ in zip(page, documents, sums, strict=True)
    ]
    rows.write_lines([orjson.dumps(line) + b"\n" for line in lines], len(lines))


def _json(document: Mapping[str, Any], entry_id: str) -> bytes:
    """Return a document as one line of JSON."""
    try:
        return orjson.dumps(document if isinstance(document, dict) else dict(document))
    except TypeError as error:
        raise InconsistentError(f"entry {entry_id!r} cannot be written as JSON: {error}") from None
