"""What the words of a build cost: the same index with the time of words taken out, and a question put to both sides."""

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.bench import grounds, product
from tests.bench.measure import Said, Timed, held, loads

QUESTION = "who knows {} and {}"


class Spent:
    """Wall and CPU seconds of some parts of a run."""

    def __init__(self) -> None:
        """Begin with none."""
        self.wall = self.cpu = 0.0

    @contextlib.contextmanager
    def counted(self, sign: int = 1, *, beside: bool = False) -> Iterator[None]:
        """Count what happens within, in this thread; with -1, take it out of what is counted around it.

        Of what happens `beside` other work the wall is that work's.
        """
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.wall += 0 if beside else sign * (time.perf_counter() - wall)
        self.cpu += sign * (time.thread_time() - cpu)

    def in_calls(self, owner: Any, name: str, *, beside: bool = False) -> Any:
        """Return a patch under which calls of a function are counted."""
        call = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            with self.counted(beside=beside):
                return call(*args, **options)

        return patch.object(owner, name, counted)

    def in_blocks(self, owner: Any, name: str) -> Any:
        """Return a patch under which a function that yields what it is given is counted, without what gives it."""
        call = getattr(owner, name)

        def given(blocks: Iterable[Any]) -> Iterator[Any]:
            iterator = iter(blocks)
            while True:
                with self.counted(-1):
                    block = next(iterator, None)
                if block is None:
                    return
                yield block

        def counted(self_: Any, blocks: Iterable[Any]) -> Iterator[Any]:
            found = call(self_, given(blocks))
            while True:
                with self.counted():
                    block = next(found, None)
                if block is None:
                    return
                yield block

        return patch.object(owner, name, counted)


def index_without(data: Path, share: str = "0") -> Timed:
    """An index from cached vectors, or after a share changed, without the time of its words and its floor."""
    return _without(product.index(data, share))


def first_index(data: Path, how: str = "") -> Timed:
    """A first index with its embedding by the local engine; `without` the time of its words and its floor."""
    from pipeline.index import build
    from tests.bench import local

    ws = local.engine(data)
    product.warm()
    local.warm()
    ws.client.embed(ws.embedding_model, ["something to begin with"], dim=ws.settings.dim, query=True)

    def run() -> Said:
        return {"rows": build.run(ws).count}

    return _without(run) if how else run


def _without(timed: Timed) -> Timed:
    """Return the same work, which tells its times less what it does for words."""
    from pipeline.index import embed, floor, postings_writer, staging, verify

    def run() -> Said:
        spent = Spent()
        with (
            spent.in_calls(postings_writer.PostingsWriter, "add"),
            spent.in_calls(postings_writer.PostingsWriter, "seal"),
            spent.in_calls(verify, "verify_words", beside=True),
            spent.in_calls(staging, "learn_floor"),
            spent.in_calls(embed.Embedder, "questions"),
            spent.in_blocks(floor.Highest, "seen"),
        ):
            wall, cpu = time.perf_counter(), time.process_time()
            said = timed()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {**said, "wall": wall - spent.wall, "cpu": cpu - spent.cpu}

    return run


def search(data: Path) -> Timed:
    """One question after the other by words and vectors to an open build, as `product.search` is by vectors alone."""
    from pipeline.index.builds import Builds
    from pipeline.index.fusion import found_entries, rank_entries
    from pipeline.index.terms import terms_of_question
    from tests.bench.people import FIELDS

    loads("faiss", "bm25s")
    ws = held(grounds.opened(data))
    opened = held(Builds(ws.data).open())
    texts = itertools.cycle(itertools.combinations(FIELDS, 2))

    def ask(vector: Any) -> list[str]:
        terms = terms_of_question(QUESTION.format(*next(texts)), asking=ws.collection.ranking.asking)
        ranked = rank_entries(opened, terms=terms, vector=vector, k=10)
        return [str(hit.metadata["id"]) for hit in found_entries(opened, ranked)]

    return product.each(product.QUERIES, ask)
