"""What an index is built with, at the limit with promises: what each promise needs, in one process, and no more.

What is given up is everything else: words and their floor, any other collection, odd cells, vectors that are missing,
damaged or in another order than the rows, rows that came or went, judged questions, a bar, another process that builds.
What is kept: rows are read once, in one snapshot; an entry has the key of its vector, which follows from its text and
tells what is behind, and a mark, by which it is copied next time; what is read from the cache is held against key and
checksum, what is copied against the hash it was sealed with; every file is on disk, sealed, and read back; vectors are
of length 1, a few find themselves; the build is put in service by one rename, and the one before stays.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson

from pipeline.core import files
from pipeline.experts.collection import COLUMNS, ExpertsCollection, index_text
from pipeline.index import build, copying, flat_file, manifest
from pipeline.index.cache import VectorCache, caches, check_unit_rows, vector_key
from pipeline.index.embed import TASK_TYPE
from pipeline.index.vector_file import HEADER_BYTES, RecordFormat, Vectors
from tests.bench import people
from tests.bench.limit.promises import connected
from tests.bench.measure import Said, Timed, loads

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM experts WHERE tags IS NOT NULL ORDER BY id"  # noqa: S608 - ours
_BLOCK, _SAMPLE = 1024, 64
_FORM, _ROW = RecordFormat("", people.DIM), 4 * people.DIM  # records are the same of every model


def index(data: Path) -> Timed:
    """Open the database, whose vectors lie in the cache as the rows do."""
    loads("faiss", "numpy.random")
    connection, recipe, cache = connected(data), build._recipe(ExpertsCollection()), _cache(data)

    def run() -> Said:
        folder, count = _staging(data), 0
        connection.execute("BEGIN")
        (total,) = connection.execute(f"SELECT count(*) FROM ({_SELECT})").fetchone()  # noqa: S608 - of this module
        with _Writers(folder) as write, cache.path.open("rb", buffering=0) as vectors:
            vectors.seek(HEADER_BYTES)
            write[manifest.INDEX].write(flat_file.flat_header(count=total, dim=people.DIM))
            between = b"[\n"
            for rows in _pages(connection.execute(_SELECT)):
                documents, keys = _described(rows, cache)
                write[manifest.METADATA].write(between + b",\n".join(documents))
                write[manifest.ENTRIES].write(b"".join(_line(row, key) for row, key in zip(rows, keys, strict=True)))
                write[manifest.MARKS].write(copying.marks_of(rows, recipe).tobytes())
                write[manifest.INDEX].write(
                    _vectors(vectors.read(len(rows) * _FORM.size), keys).reshape(-1).view("u1").data
                )
                between, count = b",\n", count + len(rows)
            write[manifest.METADATA].write(b"\n]\n")
            sealed = write.seal()
        _promote(data, _verified(folder, sealed, count))
        return {"rows": count}

    return run


def reindex(data: Path) -> Timed:
    """Open the database, some of whose rows changed since the build in service."""
    loads("faiss", "numpy.random")
    connection, recipe = connected(data), build._recipe(ExpertsCollection())
    cache = _cache(data)

    def run() -> Said:
        folder, before, first = _staging(data), data / "index" / "current", 0
        found = manifest.read_manifest(before)
        with _Writers(folder) as write, _Readers(before, found.hashes) as old:
            write[manifest.INDEX].write(old.read(manifest.INDEX, found.sizes[manifest.INDEX] - found.count * _ROW))
            write[manifest.METADATA].write(old.lines(manifest.METADATA, 1)[0])
            for rows in _pages(connection.execute(_SELECT)):
                marks = copying.marks_of(rows, recipe)
                was = np.frombuffer(old.read(manifest.MARKS, marks.nbytes), "<u8")
                changed = np.flatnonzero(marks != was).tolist()
                documents, lines = (old.lines(name, len(rows)) for name in (manifest.METADATA, manifest.ENTRIES))
                block = np.frombuffer(old.read(manifest.INDEX, len(rows) * _ROW), "<f4").reshape(-1, people.DIM)
                new = [rows[at] for at in changed]
                for at, document, key in zip(changed, *_described(new, cache), strict=True):
                    documents[at] = document + documents[at][-2:].lstrip(b"}")
                    lines[at] = _line(rows[at], key)
                if new:
                    block = block.copy()
                    block[changed] = _embedded(new, cache)
                first += len(rows)
                write[manifest.METADATA].write(b"".join(documents))
                write[manifest.ENTRIES].write(b"".join(lines))
                write[manifest.MARKS].write(marks.tobytes())
                write[manifest.INDEX].write(block.reshape(-1).view("u1").data)
            write[manifest.METADATA].write(old.lines(manifest.METADATA, 1)[0])
            sealed = write.seal()
        _promote(data, _verified(folder, sealed, first))
        return {"rows": first}

    return run


def _pages(rows: Any) -> Iterator[list[tuple[Any, ...]]]:
    while page := rows.fetchmany(_BLOCK):
        yield page


def _cache(data: Path) -> VectorCache:
    (found,) = caches(data / "index" / "vectors")
    return found


def _described(rows: Sequence[tuple[Any, ...]], cache: VectorCache) -> tuple[list[bytes], list[bytes]]:
    """Return the metadata of some rows, and the keys of their vectors."""
    described = [people.described(dict(zip(COLUMNS, row, strict=True)), orjson.loads) for row in rows]
    return list(map(orjson.dumps, described)), _keys(map(index_text, described), cache)


def _keys(texts: Iterable[str], cache: VectorCache) -> list[bytes]:
    return [vector_key(text, model=cache.model, dim=cache.dim, task_type=TASK_TYPE) for text in texts]


def _line(row: tuple[Any, ...], key: bytes) -> bytes:
    return b'{"id":"%d","vector":"%b"}\n' % (row[0], key.hex().encode())


def _vectors(raw: bytes, keys: list[bytes]) -> Vectors:
    """Return the vectors of the next records of the cache, which are sound, and of these keys."""
    records = np.frombuffer(raw, _FORM.record)
    assert records["key"].tobytes() == b"".join(keys)
    assert not _FORM.unsound(memoryview(raw))
    return np.ascontiguousarray(records["vector"])


def _embedded(rows: Sequence[tuple[Any, ...]], cache: VectorCache) -> Vectors:
    """Return the vectors of rows that changed, which are in the cache by then, on disk."""
    texts = [index_text(people.described(dict(zip(COLUMNS, row, strict=True)), orjson.loads)) for row in rows]
    vectors: Vectors = people.vectors(texts)
    cache.add(_keys(texts, cache), vectors)
    return vectors


def _staging(data: Path) -> Path:
    folder = data / "index" / "builds" / "99.staging"
    folder.mkdir(parents=True)
    return folder


class _Writers(dict[str, files.SealedWriter]):
    """The files of a build that is written, in a `with` block."""

    def __init__(self, folder: Path) -> None:
        names = (manifest.METADATA, manifest.ENTRIES, manifest.MARKS, manifest.INDEX)
        super().__init__({name: files.SealedWriter(folder / name) for name in names})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for writer in self.values():
            writer.__exit__(*failure)

    def seal(self) -> dict[str, str]:
        """Return the hash of each file, all of them on disk."""
        return {name: writer.seal().sha256 for name, writer in self.items()}


class _Readers:
    """The files of a build that is copied, in a `with` block, at whose end they were as they were sealed."""

    def __init__(self, folder: Path, hashes: Mapping[str, str]) -> None:
        names = (manifest.METADATA, manifest.ENTRIES, manifest.MARKS, manifest.INDEX)
        self._files = {name: (folder / name).open("rb", buffering=1 << 18) for name in names}
        self._digests, self._hashes = {name: hashlib.sha256() for name in names}, hashes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name, file in self._files.items():
            file.close()
            assert self._digests[name].hexdigest() == self._hashes[name]

    def read(self, name: str, size: int) -> bytes:
        raw = self._files[name].read(size)
        self._digests[name].update(raw)
        return raw

    def lines(self, name: str, count: int) -> list[bytes]:
        found = list(islice(self._files[name], count))
        self._digests[name].update(b"".join(found))
        return found


def _verified(folder: Path, sealed: Mapping[str, str], count: int) -> Path:
    """Return the folder of a build whose files are read back; as many vectors as rows, of length 1, find themselves."""
    for name in (manifest.METADATA, manifest.ENTRIES, manifest.MARKS):
        assert files.sha256_of(folder / name) == sealed[name]
    sample = np.linspace(0, count - 1, min(_SAMPLE, count), dtype=np.int64)
    own = np.memmap(folder / manifest.INDEX, "<f4", "r", flat_file.HEADER_BYTES).reshape(count, people.DIM)[sample]
    best, digest, rows = np.full(len(sample), -1, np.float32), hashlib.sha256(), 0
    with (folder / manifest.INDEX).open("rb", buffering=0) as file:
        digest.update(file.read(flat_file.HEADER_BYTES))
        while raw := file.read(_BLOCK * _ROW):
            digest.update(raw)
            block = np.frombuffer(raw, "<f4").reshape(-1, people.DIM)
            check_unit_rows(block, what="")
            best, rows = np.maximum(best, flat_file.highest_similarity(own, block)[0]), rows + len(block)
    assert (rows, digest.hexdigest()) == (count, sealed[manifest.INDEX])
    assert (best <= 1 + 1e-5).all()
    files.seal_bytes(folder / manifest.MANIFEST, orjson.dumps({"count": count, "hashes": sealed}))
    return folder


def _promote(data: Path, folder: Path) -> None:
    """Put a build in service by one rename, which the stable paths follow."""
    builds, link = folder.parent, data / "index" / "current.new"
    folder.rename(builds / "99")
    files.sync_directory(builds)
    for name in (manifest.INDEX, manifest.METADATA):
        if not (data / name).is_symlink():
            (data / name).symlink_to(Path("index") / "current" / name)
    link.symlink_to(Path("builds") / "99")
    link.replace(data / "index" / "current")
    files.sync_directory(data / "index")
