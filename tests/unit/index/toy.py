"""People to index: entries with texts, and unit vectors that follow from the text alone."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from askrows.pipeline.core.ranking import Entry, Ranking
from askrows.pipeline.index.builds import Builds
from askrows.pipeline.index.manifest import StagedBuild
from askrows.pipeline.index.vector_cache import VectorCache, Vectors
from askrows.pipeline.index.write import BuildInput, write_build
from askrows.pipeline.store.database import PAGE_ROWS, Store

MODEL = "toy-embedding"
DIM = 16


def key_of(text: str) -> bytes:
    """Return the key under which the toy model's vector of a text is cached."""
    return cache_in(Path()).make_keys([text])[0]


def vectors_of(texts: Sequence[str]) -> Vectors:
    """Return a unit vector for each text, float32 (n, DIM); equal texts have equal vectors."""
    rows = [np.random.default_rng(list(key_of(text))).standard_normal(DIM) for text in texts]
    return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32).reshape(
        len(texts), DIM
    )


def entry(number: int, text: str = "", *, tags: Sequence[str] = ("law",)) -> Entry:
    """Return entry `number`, by default with its own text."""
    entry_text = text or f"Person {number}. Knows things."
    return Entry(
        str(number), entry_text, {"id": number, "username": f"person{number}", "tags": list(tags)}
    )


def cache_in(folder: Path) -> VectorCache:
    """Return the cache of the toy model in a workspace's folder."""
    return VectorCache(Store(folder / "index" / "vectors.sqlite"), model=MODEL, dim=DIM)


def written(
    builds: Builds, cache: VectorCache, entries: Sequence[Entry], staging: ExitStack, **members: Any
) -> StagedBuild:
    """Cache the vectors of entries, and write them under the next number in a staging folder."""
    keys = [key_of(indexed.text) for indexed in entries]
    rows = vectors_of([indexed.text for indexed in entries])
    cache.store_vectors(keys, rows)
    offsets = range(0, len(entries), PAGE_ROWS)
    pages = [
        (
            entries[offset : offset + PAGE_ROWS],
            keys[offset : offset + PAGE_ROWS],
            rows[offset : offset + PAGE_ROWS],
        )
        for offset in offsets
    ]
    number = builds.choose_next_number()
    default_members: dict[str, Any] = {
        "position": 1,
        "count": len(entries),
        "ranking": Ranking(),
        "refused_texts": {},
        "untagged_rows": (),
    }
    return write_build(
        staging.enter_context(builds.open_staging_directory(number)),
        BuildInput(pages, **(default_members | members)),
        cache,
        number=number,
        built_at=datetime.now(UTC),
        meaningless_vectors=None,
    )
