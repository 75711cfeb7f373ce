"""People to index: entries with texts, and unit vectors that follow from the text alone."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from pipeline.core.ranking import Entry
from pipeline.core.where import Comparison, Expression, Negation
from pipeline.index.vectors import PAGE, Vectors, vector_key

MODEL, DIM, TASK_TYPE = "toy-embedding", 16, "RETRIEVAL_DOCUMENT"


def key_of(text: str) -> bytes:
    """Return the key under which the toy model's vector of a text is cached."""
    return vector_key(text, model=MODEL, dim=DIM, task_type=TASK_TYPE)


def vectors_of(texts: Sequence[str]) -> Vectors:
    """Return a unit vector a text, float32 (n, DIM): equal texts get equal vectors, others different ones."""
    rows = [np.random.default_rng(list(key_of(text))).standard_normal(DIM) for text in texts]
    return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32).reshape(len(texts), DIM)


def entry(number: int, text: str = "", *, tags: Sequence[str] = ("law",)) -> Entry:
    """Return entry `number`, with a text of its own unless one is given."""
    words = text or f"Person {number}. Knows things."
    return Entry(str(number), words, {"id": number, "username": f"person{number}", "tags": list(tags)})


def pages_of(entries: Sequence[Entry]) -> Iterator[list[tuple[Entry, bytes]]]:
    """Yield entries with the keys of their vectors, in pages."""
    pairs: Iterable[tuple[Entry, bytes]] = iter([(one, key_of(one.text)) for one in entries])
    while page := list(islice(pairs, PAGE)):
        yield page


def comparisons(expression: Expression) -> Iterator[Comparison]:
    """Yield every comparison of an expression, in the order in which they stand there."""
    if isinstance(expression, Comparison):
        yield expression
    elif isinstance(expression, Negation):
        yield from comparisons(expression.inner)
    else:
        for part in expression.parts:
            yield from comparisons(part)
