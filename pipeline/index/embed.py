"""Get vectors for texts: from the cache where they are known, else from the backend, a hundred texts a call.

The calls keep to what the model allows a minute, which counts texts and not calls. Each runs in a thread of its own;
these are daemons: an interrupt ends the caller at once, and with the process whatever is still under way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.ranking import Entry
from pipeline.core.states import STANDARD
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.embed import embed_locally, frame_text
from pipeline.gemini.models import MAX_EMBED_TEXTS, NO_LIMITS, Usage, estimate_tokens, usage_cost
from pipeline.gemini.pace import SharedPace
from pipeline.index.vectors import TASK_TYPE, VectorCache, Vectors, vector_cache, vector_key
from pipeline.store.database import pages

if TYPE_CHECKING:
    from pipeline.core.progress import Bar


Call = tuple[list[int], list[str], int]  # places in a page, texts, and about how many tokens they have
OF_QUESTIONS = "RETRIEVAL_QUERY"
ASKED = 12 * MAX_EMBED_TEXTS  # entries that are looked for at once where they are embedded: whole calls
CALLS = {"local": 2, "gemini": 4}  # at once
BLOCK = 20 * MAX_EMBED_TEXTS  # entries that one process embeds while others embed the others
END = 1000  # characters of a text's end that are kept where its middle is cut


def embed_queries(ws: OpenWorkspace, texts: Sequence[str]) -> Vectors:
    """Return the vectors of at most a hundred questions, float32 (len(texts), dim), rows of unit length."""
    if ws.backend == "local":
        return embed_locally(ws.embedding_model, texts, dim=ws.settings.dim, query=True)
    vectors: Vectors = ws.client.embed(ws.embedding_model, texts, dim=ws.settings.dim, query=True)
    return vectors


def question_keys(cache: VectorCache, texts: Iterable[str]) -> list[bytes]:
    """Return the keys of questions in a cache."""
    return [vector_key(text, model=cache.model, dim=cache.dim, task_type=OF_QUESTIONS) for text in texts]


class QuestionVectors:
    """The vectors of questions that are asked again and again: from the cache, or made now, paid for once, and kept.

    Without a cache none is kept: those of the local engine are quicker made than looked up.
    """

    def __init__(self, cache: VectorCache | None, make: Callable[[Sequence[str]], Vectors]) -> None:
        """Take the cache, and what embeds at most a hundred questions."""
        self._cache, self._make = cache, make

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of questions, float32 (len(texts), dim)."""
        if self._cache is None:
            return np.concatenate([self._make(page) for page in pages(texts, MAX_EMBED_TEXTS)])
        keys = question_keys(self._cache, texts)
        for page in pages(self._cache.missing(keys), MAX_EMBED_TEXTS):
            self._cache.add([keys[at] for at in page], self._make([texts[at] for at in page]))
        return self._cache.fetch(keys)

    def are_free(self, texts: Sequence[str]) -> bool:
        """Return whether no service is asked for these questions: it is the local engine, or they are in the cache."""
        return self._cache is None or not self._cache.missing(question_keys(self._cache, texts))


class Embedder:
    """Keys and vectors for the entries of one workspace, under the model and width in use."""

    def __init__(self, ws: OpenWorkspace) -> None:
        """Open the cache; the calls of one object keep together to the limits, which the local engine has not."""
        self.cache = vector_cache(ws)
        self._ws = ws
        self._model = ws.embedding_model
        limits = NO_LIMITS if ws.backend == "local" else self._model.limits(ws.settings.tier)
        self._pacing = SharedPace(limits, patience_s=ws.settings.poll_patience, sleep=ws.sleep, monotonic=ws.monotonic)
        self.questions = QuestionVectors(None if ws.backend == "local" else self.cache, self._asked)

    def keys(self, entries: Iterable[Entry]) -> list[bytes]:
        """Return the cache's keys for some entries."""
        name, dim = self._model.name, self._ws.settings.dim
        return [vector_key(entry.text, model=name, dim=dim, task_type=TASK_TYPE) for entry in entries]

    def is_paid(self) -> bool:
        """Return whether embedding costs anything."""
        return self._ws.backend != "local" and self._model.prices(STANDARD, on=self._ws.now().date())[0] > 0

    def cost(self, entries: Iterable[Entry], *, bar: "Bar") -> tuple[int, int, float]:
        """Return how many texts are not in the cache, about how many tokens they have, and what those cost, in USD."""
        texts, tokens, seen = 0, 0, 0
        for page in pages(entries, ASKED):
            missing = self.cache.missing(self.keys(page))
            texts += len(missing)
            tokens += sum(self._outgoing(page[at])[1] for at in missing)
            seen += len(page)
            bar.show(seen)
        return texts, tokens, usage_cost(self._model, Usage(prompt=tokens), STANDARD, on=self._ws.now().date())

    def embed_missing(self, entries: Iterable[Entry], *, bar: "Bar") -> int:
        """Embed every entry whose vector is not in the cache, several calls at once; return how many.

        The vectors of each call are on disk as it ends: a run that is killed keeps what it has paid for, but for the
        calls that were under way.
        """
        embedded, seen = 0, 0
        for page in pages(entries, ASKED):
            keys = self.keys(page)
            for places, vectors in self._answered([*self._together(page, self.cache.missing(keys))]):
                self._bind()
                self.cache.add([keys[at] for at in places], vectors)
                embedded += len(places)
                bar.show(seen, note=f"{embedded} embedded")
            seen += len(page)
            bar.show(seen, note=f"{embedded} embedded" if embedded else "")
        return embedded

    def _answered(self, calls: Sequence[Call]) -> Iterator[tuple[list[int], Vectors]]:
        """Yield the vectors of calls as they come, several at once.

        After one has failed no other is begun; its error is raised when those under way have ended.
        """
        ws, failures = self._ws, list[BaseException]()
        if not calls:
            return
        if ws.backend == "local":
            ws.tell_backend()
            embed: Callable[..., Vectors] = embed_locally
        else:  # the client is made here, once: from Python 3.12 on, threads make several
            embed = partial(ws.client.embed, is_paced=True)

        def ask(call: Call) -> tuple[list[int], Vectors | None]:
            places, texts, tokens = call
            once = partial(embed, self._model, texts, dim=ws.settings.dim, query=False)
            try:
                return places, None if failures else self._pacing.call(once, requests=len(texts), tokens=tokens)
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                failures.append(error)
                return places, None

        with ThreadPool(CALLS[ws.backend]) as pool:  # of daemons: an interrupt ends the caller at once
            yield from ((places, rows) for places, rows in pool.imap_unordered(ask, calls) if rows is not None)
        if failures:
            raise failures[0]

    def _together(self, page: list[Entry], missing: list[int]) -> Iterator[Call]:
        """Yield what goes out in one call: the places in the page, the texts, and about how many tokens they have."""
        places, texts, tokens = list[int](), list[str](), 0
        for at in missing:
            text, more = self._outgoing(page[at])
            if len(texts) == MAX_EMBED_TEXTS or (texts and not self._pacing.fits(len(texts) + 1, tokens + more)):
                yield places, texts, tokens
                places, texts, tokens = [], [], 0
            places.append(at)
            texts.append(text)
            tokens += more
        if texts:
            yield places, texts, tokens

    def _outgoing(self, entry: Entry) -> tuple[str, int]:
        """Return an entry's text as it goes out, and about how many tokens it has."""
        text = fit_text(entry.text, limit=self._model.input_limit)
        return text, estimate_tokens(frame_text(text, self._model, query=False))

    def _asked(self, texts: Sequence[str]) -> Vectors:
        vectors = embed_queries(self._ws, texts)
        if self._ws.backend != "local":
            self._bind()
        return vectors

    def _bind(self) -> None:
        if not self._ws.is_bound:
            with self._ws.store.write() as tx:
                self._ws.bind(tx)
            self._ws.is_bound = True


def embed_blocks(ws: OpenWorkspace, *, number: int | None = None) -> int:
    """Embed what is missing, block by block, or that block, each under its lock; return how many texts that were."""
    embedder, done = Embedder(ws), 0
    with ws.store.read() as tx, ws.display.bar("embedding", ws.collection.count(tx)) as bar:
        for at, block in enumerate(pages(ws.collection.entries(tx), BLOCK)):
            if number in (None, at):
                with ws.locks.hold(f"embed-{ws.collection.folder or ws.task.name}-{at}") as lock:
                    done += embedder.embed_missing(block, bar=bar) if lock is not None else 0
    return done


def missing_blocks(ws: OpenWorkspace) -> list[int]:
    """Return the numbers of the blocks of which a text has no vector yet."""
    embedder = Embedder(ws)
    with ws.store.read() as tx:
        blocks = enumerate(pages(ws.collection.entries(tx), BLOCK))
        return [at for at, block in blocks if embedder.cache.missing(embedder.keys(block))]


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
