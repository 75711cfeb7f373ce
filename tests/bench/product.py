"""The product as it runs: each measured through its own steps, with every guarantee on, on an opened workspace.

Each function gets a workspace ready (opens it, imports what the step uses) and returns what is measured.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import grounds, people
from tests.bench.measure import Said, Timed, held, loads

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace

QUERIES, FEW = 40, 5  # questions that are asked


def _opened(data: Path, how: str = "") -> "OpenWorkspace":
    """Open a workspace; `bar` shows progress on a terminal, `NORMAL` lets no commit wait for the disk.

    `millions` may wait at once, of a model whose limits are not known.
    """
    from sqlalchemy import event

    ws = held(grounds.opened(data, **({"MODELS_FILE": str(grounds.MODELS)} if how == "millions" else {})))
    ws.model.prices(batch=True, on=ws.now().date())  # the first one imports the list of prices
    if how == "bar":
        ws.display = held(_terminal())
    if how == "NORMAL":
        engine = ws.store._open()
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = NORMAL"))
        engine.dispose()  # so that every connection from here on is told
    return ws


def requests(data: Path, how: str = "") -> Timed:
    """Request files of all people: selected, written, sealed, claimed."""
    from pipeline.batch import prepare
    from pipeline.gemini import schema

    ws = _opened(data, how)
    schema.response_schema(ws.task.rows.answer)  # the first one imports more of pydantic

    def run() -> Said:
        with ws.display.bar("writing requests", None) as bar:
            prepare.prepare_batches(ws, prepare.Selection(), bar=bar)
        return {}

    return _with_bar(run) if how == "bar" else run


def ingest(data: Path, how: str = "") -> Timed:
    """Every line of a downloaded batch judged, validated, applied, accounted for."""
    run = ingest_on(_opened(data, how))
    return _with_bar(run) if how == "bar" else run


def ingest_on(ws: "OpenWorkspace") -> Timed:
    """Return the work on an opened workspace, whatever its database."""
    from pipeline.batch import ingest as batch_ingest

    loads("numpy", "pipeline.experts.answer")
    ws.model.prices(batch=True, on=ws.now().date())  # the first one imports the list of prices

    def run() -> Said:
        (account,) = batch_ingest.run(ws)
        return {"rows": account.batch.requests}

    return run


def ingest_parts(data: Path, _how: str = "", task: str = "experts") -> Timed:
    """Several downloaded batches, one after the other."""
    from pipeline.batch import ingest as batch_ingest

    ws = held(grounds.opened(data, TASK=task))
    loads("numpy", "rapidfuzz.process", f"pipeline.{task}.answer", "pipeline.passages.evidence")
    ws.model.prices(batch=True, on=ws.now().date())

    def run() -> Said:
        return {"rows": sum(one.batch.requests for one in batch_ingest.run(ws))}

    return run


def ingest_passages(data: Path, how: str = "") -> Timed:
    """Return the same work on passages."""
    return ingest_parts(data, how, "passages")


def ingest_told(data: Path) -> Timed:
    """Return the same work, which says what became of the lines in the words that other programs are measured with."""
    from pipeline.batch import ingest as batch_ingest

    ws = _opened(data)
    ingest_on(ws)

    def run() -> Said:
        (found,) = batch_ingest.run(ws)
        batch, twice = found.batch, sum(odd.count for odd in found.anomalies if odd.outcome == "duplicate")
        kept, refused = batch.answered or 0, (batch.refused or 0) + (batch.invalid or 0)
        return {"lines": kept + refused + twice, "kept": kept, "refused": refused, "said twice": twice}

    return run


def score(data: Path) -> Timed:
    """Every score computed anew, those that differ written."""
    from pipeline.experts import rescore as step

    ws = held(grounds.opened(data))
    return lambda: {"rows": step.run(ws.store).total}


def index(data: Path, share: str = "0") -> Timed:
    """An index from cached vectors: staged, verified, promoted, recorded; only a share that changed is embedded."""
    from pipeline.index import build as step

    warm()
    ws = held(grounds.opened(data))
    ws.embedding_model.prices(batch=False, on=ws.now().date())  # the first one imports the list of prices
    model = Recorded()
    ws.__dict__["client"] = model
    ahead = 0.0

    def sleep(seconds: float) -> None:  # what the limits of an API cost is not waited for
        nonlocal ahead
        ahead += seconds

    ws.sleep, ws.monotonic = sleep, lambda: time.monotonic() + ahead

    def run() -> Said:
        report = step.run(ws)
        wanted = max(1, int(report.count * float(share))) if float(share) else 0
        assert model.texts == wanted, f"{model.texts} texts were embedded, and {wanted} had changed"
        return {"rows": report.count}

    return run


def warm() -> None:
    """Import what an index is built with, and have stems and stop words ready."""
    loads("numpy.ma")  # np.unique asks it
    from pipeline.index import terms

    loads("faiss", "bm25s", "pipeline.index.builds", "pipeline.index.staging", "pipeline.index.verify", "numpy.random")
    terms.terms_of("bees пчёлы")


class Recorded:
    """A model that answers at once with the vectors these people have; it counts the documents it was asked for."""

    def __init__(self) -> None:
        """Begin with none."""
        self.texts = 0

    def embed(self, _model: object, texts: Sequence[str], *, dim: int, query: bool, is_paced: bool) -> Any:
        """Return the vectors of documents or questions, float32 (len(texts), 768)."""
        assert (dim, is_paced) == (people.DIM, True)
        self.texts += 0 if query else len(texts)
        return people.vectors(texts)


def cache_write(data: Path, at_once: str) -> Timed:
    """Vectors kept so many at a time, each call on disk before the next."""
    from pipeline.index.cache import VectorCache

    keys, vectors = loaded(data)
    cache = VectorCache(data / "index" / "vectors", model="m", dim=people.DIM)
    most = int(at_once)

    def run() -> Said:
        for start in range(0, len(keys), most):
            cache.add(keys[start : start + most], vectors[start : start + most])
        return {"rows": len(cache)}

    return run


def cache_scan(data: Path) -> Timed:
    """Every vector of the cache read in the order of the index, the cache opened anew."""
    from pipeline.index.cache import VectorCache
    from pipeline.index.vector_file import BLOCK

    keys, _ = loaded(data)
    cache_write(data, "10000")()
    cache = VectorCache(data / "index" / "vectors", model="m", dim=people.DIM)

    def run() -> Said:
        total = 0.0
        for start in range(0, len(keys), BLOCK):
            total += float(cache.fetch(keys[start : start + BLOCK])[:, 0].astype(float).sum())
        return {"sum": round(total, 3)}

    return run


def loaded(data: Path) -> tuple[list[bytes], Any]:
    """Return the keys (32 bytes each) and vectors, float32 (n, 768), that the cache is measured with."""
    import hashlib

    import numpy as np

    vectors = np.load(data / grounds.VECTORS)
    return [hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(len(vectors))], vectors


def search(data: Path) -> Timed:
    """One question after the other to an open build, metadata of the hits included; the time of one, the median."""
    from pipeline.index.builds import Builds

    loads("faiss")
    ws = held(grounds.opened(data))
    opened = held(Builds(ws.data).open())
    return each(QUERIES, lambda question: [str(hit.metadata["id"]) for hit in opened.search(question, 10)])


def search_opening(data: Path) -> Timed:
    """The build in service opened for each question, as a command does."""
    from pipeline.index.builds import Builds

    loads("faiss")
    ws = held(grounds.opened(data))

    def ask(question: Any) -> list[str]:
        with Builds(ws.data).open() as opened:
            return [str(hit.metadata["id"]) for hit in opened.search(question, 10)]

    return each(FEW, ask)


def each(count: int, ask: Callable[[Any], list[str]]) -> Timed:
    """Ask once beforehand; return the work of asking so many questions, which tells the median seconds of one."""
    questions = people.vectors([f"question {number}" for number in range(count)])
    ask(questions[0])

    def run() -> Said:
        walls, cpus, found = [], [], []
        for question in questions:
            wall, cpu = time.perf_counter(), time.process_time()
            found.append(ask(question))
            cpus.append(time.process_time() - cpu)
            walls.append(time.perf_counter() - wall)
        return {"wall": statistics.median(walls), "cpu": statistics.median(cpus), "found": found}

    return run


def command(data: Path, *args: str) -> Timed:
    """A program of the same interpreter: the seconds of one of five runs, the median."""
    environ = {**os.environ, **grounds.environ(data)}
    line = [sys.executable, *args]
    subprocess.run(line, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run() -> Said:
        walls, cpus = [], []
        for _ in range(5):
            began = time.perf_counter()
            process = subprocess.Popen(line, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0
            walls.append(time.perf_counter() - began)
            cpus.append(used.ru_utime + used.ru_stime)
        return {"wall": statistics.median(walls), "cpu": statistics.median(cpus)}

    return run


def _with_bar(timed: Timed) -> Timed:
    """Return the same work, which tells the CPU that its bar took: two runs differ by more than that."""
    from rich.live import Live

    from jobs.bars import MovingBar

    taken, inside = [0.0], threading.local()

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        """Count what a call takes, in whichever thread, but within another one that is counted."""

        def counting(*args: Any, **options: Any) -> Any:
            if getattr(inside, "is_counted", False):
                return call(*args, **options)
            inside.is_counted, began = True, time.thread_time()
            try:
                return call(*args, **options)
            finally:
                taken[0] += time.thread_time() - began
                inside.is_counted = False

        return counting

    for owner, name in ((Live, "refresh"), (Live, "stop"), (MovingBar, "__init__"), (MovingBar, "show")):
        setattr(owner, name, counted(getattr(owner, name)))
    return lambda: {**timed(), "part": taken[0]}


@contextlib.contextmanager
def _terminal() -> Iterator[Any]:
    """Put a terminal in the place of standard error, which another process reads and forgets."""
    from jobs.output import Terminal

    ours, theirs = os.openpty()
    reader = subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(ours)
    before, sys.stderr = sys.stderr, os.fdopen(theirs, "w", encoding="utf-8")
    try:
        with Terminal().bar("", 1):  # the first one imports rich
            pass
        yield Terminal()
    finally:
        sys.stderr, terminal = before, sys.stderr
        terminal.close()
        reader.kill()  # ours; a terminal has no end that it could read
        reader.wait()
