"""Vectors for texts: from the cache where they are known, else from the backend, a hundred texts a call.

The calls keep to what the model allows a minute, which counts texts and not calls.

Several calls at once, each in a thread of its own, told of as they end.

The threads are daemons: an interrupt ends the caller at once, and with the process whatever is still under way.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from pipeline.core.task import Entry
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini import models
from pipeline.gemini import tokens as gemini_tokens
from pipeline.gemini.embeddings import frame_text
from pipeline.gemini.limits import MAX_EMBED_TEXTS, NO_LIMITS
from pipeline.gemini.rate_limiter import Pacing
from pipeline.gemini.tokens import Usage, estimate_tokens
from pipeline.index.cache import VectorCache, vector_key
from pipeline.index.vector_file import Vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pipeline.core.progress import Bar
    from pipeline.gemini.client import Client


K = TypeVar("K")
T = TypeVar("T")


def as_completed(calls: Iterable[tuple[K, Callable[[], T]]], *, width: int) -> Iterator[tuple[K, T]]:
    """Run calls, at most `width` at once, and yield (name, what it gave) of each as it ends.

    The next calls are asked for as there is room, in the caller's thread. After one has failed no other is begun; its
    error is raised when those under way have ended, so that nothing they gave is lost.
    """
    ended: SimpleQueue[tuple[K, T | None, BaseException | None]] = SimpleQueue()
    waiting, under_way, failure = iter(calls), 0, None

    def run(name: K, call: Callable[[], T]) -> None:
        try:
            given = call()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            ended.put((name, None, error))
        else:
            ended.put((name, given, None))

    while True:
        while failure is None and under_way < width and (one := next(waiting, None)) is not None:
            Thread(target=run, args=one, daemon=True).start()
            under_way += 1
        if not under_way:
            break
        name, given, error = ended.get()
        under_way -= 1
        if error is not None:
            failure = failure or error
        else:
            yield name, given  # type: ignore[misc]  # it gave something, or there was an error
    if failure is not None:
        raise failure


TASK_TYPE = "RETRIEVAL_DOCUMENT"
PAGE = 256
FEW = 5000  # entries without a vector that are noted while a build is begun: 10 MB; more get a pass of their own
END = 1000  # characters of a text's end that are kept where its middle is cut


def cache_key(ws: OpenWorkspace, text: str) -> bytes:
    """Return the cache's key for a document's text under the model and width in use."""
    return vector_key(text, model=ws.embedding_model.name, dim=ws.settings.dim, task_type=TASK_TYPE)


def vector_cache(ws: OpenWorkspace) -> VectorCache:
    """Return the cache of vectors of the workspace's model and width, opened once."""
    return ws.once(_opened_cache)


def _opened_cache(ws: OpenWorkspace) -> VectorCache:
    """Return the cache, opened."""
    return VectorCache(ws.data / "index" / "vectors", model=ws.embedding_model.name, dim=ws.settings.dim)


class TooManyMissingError(Exception):
    """More vectors are missing than are noted by the way."""


def is_paid(ws: OpenWorkspace) -> bool:
    """Return whether embedding costs anything."""
    return ws.backend != "local" and ws.embedding_model.prices(batch=False, on=ws.now().date())[0] > 0


def embedding_cost(ws: OpenWorkspace, entries: Iterable[Entry], *, bar: "Bar") -> tuple[int, int, float]:
    """Return how many texts are not in the cache, about how many tokens they have, and what those cost, in USD."""
    texts, tokens, seen = 0, 0, 0
    for page in _pages(entries):
        missing = vector_cache(ws).missing([cache_key(ws, entry.text) for entry in page])
        texts += len(missing)
        tokens += sum(_outgoing(ws, page[at])[1] for at in missing)
        seen += len(page)
        bar.show(seen)
    return (
        texts,
        tokens,
        gemini_tokens.usage_cost(ws.embedding_model, Usage(prompt=tokens), batch=False, on=ws.now().date()),
    )


def embedding_pacing(ws: OpenWorkspace) -> Pacing:
    """Return what holds the calls of a run to the limits of the model that embeds; the local engine has none."""
    model, settings = ws.embedding_model, ws.settings
    limits = NO_LIMITS if ws.backend == "local" else models.model_limits(model, tier=settings.tier)
    return Pacing(limits, patience_s=settings.poll_patience, sleep=ws.sleep, monotonic=ws.monotonic)


def embed_missing(ws: OpenWorkspace, entries: Iterable[Entry], *, pacing: Pacing, bar: "Bar") -> int:
    """Embed every entry whose vector is not in the cache, several calls at once; return how many.

    The vectors of each call are on disk before the next call begins in its place: a run that is killed keeps what it
    has paid for, but for the calls that were under way.
    """
    embedded, seen = 0, 0
    asked: set[bytes] = set()  # under way; a text that comes again meanwhile is not asked for twice

    def calls() -> Iterator[tuple[list[bytes], Callable[[], Vectors]]]:
        nonlocal seen
        for page in _pages(entries):
            keys = [cache_key(ws, entry.text) for entry in page]
            missing = [at for at in vector_cache(ws).missing(keys) if keys[at] not in asked]
            for some, texts, tokens in _together(ws, page, missing, pacing=pacing):
                asked.update(keys[at] for at in some)
                client = ws.client  # made here, once: from Python 3.12 on, threads would make several
                ask = partial(_ask, ws, client, texts)
                yield [keys[at] for at in some], partial(pacing.call, ask, requests=len(texts), tokens=tokens)
            seen += len(page)
            bar.show(seen, note=f"{embedded} embedded" if embedded else "")

    for keys, vectors in as_completed(calls(), width=ws.settings.embed_calls):
        _keep(ws, keys, vectors)
        asked.difference_update(keys)
        embedded += len(keys)
        bar.show(seen, note=f"{embedded} embedded")
    return embedded


def keyed_entries(
    ws: OpenWorkspace, entries: Iterable[Entry], *, missing: list[Entry], few: int | None, bar: "Bar"
) -> Iterator[tuple[Entry, bytes]]:
    """Yield every entry with the key of its vector, and note in `missing` those whose vector is not in the cache.

    Raises:
        TooManyError: there are more than `few` of those.
    """
    seen = 0
    for page in _pages(entries):
        keys = [cache_key(ws, entry.text) for entry in page]
        missing.extend(page[at] for at in vector_cache(ws).missing(keys))
        if few is not None and len(missing) > few:
            raise TooManyMissingError
        yield from zip(page, keys, strict=True)
        seen += len(page)
        bar.show(seen)


def embed_queries(ws: OpenWorkspace, texts: "Sequence[str]") -> "NDArray[np.float32]":
    """Return the vectors of at most a hundred questions, float32 (len(texts), dim), rows of unit length."""
    vectors: NDArray[np.float32] = ws.client.embed(ws.embedding_model, texts, dim=ws.settings.dim, query=True)
    return vectors


def _together(
    ws: OpenWorkspace, page: list[Entry], missing: list[int], *, pacing: Pacing
) -> Iterator[tuple[list[int], list[str], int]]:
    """Yield what goes out in one call: the places in the page, the texts, and about how many tokens they have."""
    places, texts, tokens = list[int](), list[str](), 0
    for at in missing:
        text, more = _outgoing(ws, page[at])
        if len(texts) == MAX_EMBED_TEXTS or (texts and not pacing.fits(len(texts) + 1, tokens + more)):
            yield places, texts, tokens
            places, texts, tokens = [], [], 0
        places.append(at)
        texts.append(text)
        tokens += more
    if texts:
        yield places, texts, tokens


def _outgoing(ws: OpenWorkspace, entry: Entry) -> tuple[str, int]:
    """Return an entry's text as it goes out, and about how many tokens it has."""
    model = ws.embedding_model
    text = fit_text(entry.text, limit=model.input_limit)
    return text, estimate_tokens(frame_text(text, model, query=False))


def _ask(ws: OpenWorkspace, client: "Client", texts: list[str]) -> Vectors:
    """Return the vectors of at most a hundred documents."""
    vectors: Vectors = client.embed(ws.embedding_model, texts, dim=ws.settings.dim, query=False, is_paced=True)
    return vectors


def _keep(ws: OpenWorkspace, keys: list[bytes], vectors: Vectors) -> None:
    """Put vectors into the cache; the workspace is bound before the first one."""
    if not ws.is_bound:
        with ws.store.write() as tx:
            ws.bind(tx)
        ws.is_bound = True
    vector_cache(ws).add(keys, vectors)


def fit_text(text: str, *, limit: int | None) -> str:
    """Return a text as a model that reads `limit` tokens is given it: all of it, or without the middle.

    A model drops the end of what is too long for it, or refuses it; and at the end stand the tags. Tokens are
    estimated, so a quarter of the limit is left free.
    """
    cut, keep = text, len(text)
    while limit is not None and keep and estimate_tokens(cut) > limit * 3 // 4:
        keep = keep * 4 // 5
        end = min(END, keep // 2)
        cut = f"{text[: keep - end]} … {text[len(text) - end :]}"
    return cut


def _pages(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    iterator = iter(entries)
    while page := list(islice(iterator, PAGE)):
        yield page
