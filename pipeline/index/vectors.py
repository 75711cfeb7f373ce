"""Get vectors for texts: from the cache if they are known, else from the backend, a hundred texts a call.

Calls keep to what the model allows a minute, which counts texts and not calls.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import numpy as np

from pipeline.core.errors import RefusedError
from pipeline.core.progress import ProgressBar
from pipeline.core.ranking import Entry
from pipeline.core.states import STANDARD
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.embed import embed_locally, embedding_bytes, frame_text
from pipeline.gemini.models import (
    MAX_EMBED_BYTES,
    MAX_EMBED_TEXTS,
    NO_LIMITS,
    Usage,
    estimate_tokens,
    usage_cost,
)
from pipeline.gemini.pace import SharedRateLimiter
from pipeline.index.vector_cache import VectorCache, Vectors, vector_cache
from pipeline.store.database import pages

BAD_REQUEST = 400  # HTTP's code of a request that is at fault
PLAIN_WORD = "word"  # which the API embeds, whatever it refuses
OF_QUESTIONS = "RETRIEVAL_QUERY"
ASKED = (
    12 * MAX_EMBED_TEXTS
)  # entries that are looked for at once where they are embedded: whole calls
CALLS = {"local": 2, "gemini": 4}  # at once
BLOCK = 100 * MAX_EMBED_TEXTS  # entries that one process embeds while others embed the others
END = 1000  # characters of a text's end that are kept where its middle is cut


class EmbeddingCall(NamedTuple):
    """What goes out in one embedding call: places in a page, texts, and about how many tokens they have."""

    places: list[int]
    texts: list[str]
    tokens: int


def question_vectors(
    ws: WorkspaceSession, texts: Sequence[str], cache: VectorCache | None = None
) -> Vectors:
    """Return the vectors of questions, float32 (len(texts), dim): from a cache, or made now, paid for once, and kept.

    Those of the local engine are quicker made than looked up.
    """
    embed = embed_locally if ws.backend == "local" else ws.client.embed
    made = partial(embed, ws.embedding_model, dim=ws.settings.dim, query=True)
    if cache is None or ws.backend == "local":
        return np.concatenate([made(texts=page) for page in pages(texts, MAX_EMBED_TEXTS)])
    keys = cache.keys(texts, task_type=OF_QUESTIONS)

    def make(missing: list[int]) -> None:
        for page in pages(
            missing, MAX_EMBED_TEXTS
        ):  # questions are short, so that a hundred fit into a call
            cache.add([keys[at] for at in page], made(texts=[texts[at] for at in page]))

    return cache.filled(keys, make)


class Embedder:
    """Keys and vectors for the entries of one workspace, under the model and width in use."""

    def __init__(self, ws: WorkspaceSession) -> None:
        """Open the cache; the calls of one object keep together to the limits, which the local engine has not."""
        self.cache = vector_cache(ws)
        # Why the API refused a text, by the key of its vector.
        self.refused: dict[bytes, str] = {}
        self._ws = ws
        self._model = ws.embedding_model
        limits = NO_LIMITS if ws.backend == "local" else self._model.limits(ws.settings.tier)
        self._pacing = SharedRateLimiter(
            limits, patience_s=ws.settings.poll_patience, sleep=ws.sleep, monotonic=ws.monotonic
        )

    def keys(self, entries: Iterable[Entry]) -> list[bytes]:
        """Return the cache's keys for some entries."""
        return self.cache.keys(entry.text for entry in entries)

    def questions(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of questions that are asked again and again."""
        vectors = question_vectors(self._ws, texts, self.cache)
        if self._ws.backend != "local":
            self._bind()
        return vectors

    def is_paid(self) -> bool:
        """Return whether embedding costs anything."""
        return (
            self._ws.backend != "local"
            and self._model.prices(STANDARD, on=self._ws.now().date())[0] > 0
        )

    def cost(self, entries: Iterable[Entry], *, bar: ProgressBar) -> tuple[int, int, float]:
        """Return how many texts are not in the cache, about how many tokens they have, and what those cost, in USD."""
        texts = 0
        tokens = 0
        seen = 0
        for page in pages(entries, ASKED):
            missing = self.cache.missing(self.keys(page))
            texts += len(missing)
            tokens += sum(self._outgoing(page[at])[1] for at in missing)
            seen += len(page)
            bar.show(seen)
        return (
            texts,
            tokens,
            usage_cost(self._model, Usage(prompt=tokens), STANDARD, on=self._ws.now().date()),
        )

    def embed_missing(self, entries: Iterable[Entry], *, bar: ProgressBar) -> int:
        """Embed every entry whose vector is not in the cache, several calls at once; return how many.

        The vectors of each call are on disk as it ends: a run that is killed keeps what it has paid for, but for the
        calls that were under way. A text that the API refuses gets no vector; `refused` has its reason.
        """
        embedded = 0
        seen = 0
        for page in pages(entries, ASKED):
            keys = self.keys(page)
            for places, answer in self._answered([*self._together(page, self.cache.missing(keys))]):
                self._bind()
                if isinstance(answer, str):
                    refused_keys = [keys[place] for place in places]
                    self.cache.add_refused(refused_keys)
                    self.refused |= dict.fromkeys(refused_keys, answer)
                    continue
                self.cache.add([keys[at] for at in places], answer)
                embedded += len(places)
                bar.show(seen, note=f"{embedded} embedded")
            seen += len(page)
            bar.show(seen, note=f"{embedded} embedded" if embedded else "")
        return embedded

    def _answered(
        self, calls: Sequence[EmbeddingCall]
    ) -> Iterator[tuple[list[int], Vectors | str]]:
        """Yield the vectors of calls as they come, several at once; for a text that is refused, the reason.

        After one has failed no other is begun; its error is raised when those under way have ended.
        """
        ws = self._ws
        failures = list[BaseException]()
        if not calls:
            return
        if ws.backend == "local":
            ws.tell_backend()
            embed: Callable[..., Vectors] = embed_locally
        else:  # the client is made here, once: from Python 3.12 on, threads make several
            embed = partial(ws.client.embed, is_paced=True)

        def ask(call: EmbeddingCall) -> list[tuple[list[int], Vectors | str]]:
            if failures:
                return []
            try:
                return list(_embed_apart(call, partial(self._embed_texts, embed)))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                failures.append(error)
                return []

        with ThreadPool(
            CALLS[ws.backend]
        ) as pool:  # of daemons: an interrupt ends the caller at once
            for answers in pool.imap_unordered(ask, calls):
                yield from answers
        if failures:
            raise failures[0]

    def _embed_texts(
        self, embed: Callable[..., Vectors], texts: Sequence[str], tokens: int
    ) -> Vectors | RefusedError:
        """Return the vectors of texts, or the refusal if a text is at fault; that must not end the other calls."""

        def embed_once() -> Vectors | RefusedError:
            try:
                return embed(self._model, texts, dim=self._ws.settings.dim, query=False)
            except RefusedError as error:
                if error.code != BAD_REQUEST:
                    raise
                return error

        return self._pacing.call(embed_once, requests=len(texts), tokens=tokens)

    def _together(self, page: list[Entry], missing: list[int]) -> Iterator[EmbeddingCall]:
        """Yield what goes out in one call: the places in the page, the texts, and about how many tokens they have."""
        places = list[int]()
        texts = list[str]()
        tokens = 0
        size = 0
        for at in missing:
            text, more = self._outgoing(page[at])
            text_bytes = embedding_bytes(text, self._model, dim=self._ws.settings.dim, query=False)
            is_full = len(texts) == MAX_EMBED_TEXTS or size + text_bytes > MAX_EMBED_BYTES
            if texts and (is_full or not self._pacing.fits(len(texts) + 1, tokens + more)):
                yield EmbeddingCall(places, texts, tokens)
                places = []
                texts = []
                tokens = 0
                size = 0
            places.append(at)
            texts.append(text)
            tokens += more
            size += text_bytes
        if texts:
            yield EmbeddingCall(places, texts, tokens)

    def _outgoing(self, entry: Entry) -> tuple[str, int]:
        """Return an entry's text as it goes out, and about how many tokens it has."""
        text = fit_text(entry.text, limit=self._model.input_limit)
        return text, estimate_tokens(frame_text(text, self._model, query=False))

    def _bind(self) -> None:
        if not self._ws.is_bound:
            with self._ws.store.write() as tx:
                self._ws.bind(tx)
            self._ws.is_bound = True


def _embed_apart(
    call: EmbeddingCall, embed_texts: Callable[[Sequence[str], int], Vectors | RefusedError]
) -> Iterator[tuple[list[int], Vectors | str]]:
    """Yield the vectors of a call; halve a refused call until each text at fault is alone.

    After each refusal a plain word is embedded, to see whether a text is at fault. A refused call costs nothing.

    Returns:
        Pairs of places in the page and their vectors, or of one place and the reason of the refusal.

    Raises:
        RefusedError: The API also refuses the plain word, so that no text is at fault.
    """
    answer = embed_texts(call.texts, call.tokens)
    if not isinstance(answer, RefusedError):
        yield call.places, answer
        return

    if isinstance(embed_texts([PLAIN_WORD], 1), RefusedError):
        raise answer
    if len(call.texts) == 1:
        yield call.places, answer.message
        return

    middle = len(call.texts) // 2
    share = call.tokens // 2
    for half in (
        EmbeddingCall(call.places[:middle], call.texts[:middle], share),
        EmbeddingCall(call.places[middle:], call.texts[middle:], call.tokens - share),
    ):
        yield from _embed_apart(half, embed_texts)


def embed_blocks(ws: WorkspaceSession, *, number: int | None = None) -> int:
    """Embed what is missing, block by block, or that block, each under its lock; return how many texts that were."""
    embedder = Embedder(ws)
    done = 0
    with ws.store.read() as tx, ws.display.bar("embedding", ws.collection.count(tx)) as bar:
        for at, block in enumerate(pages(ws.collection.entries(tx), BLOCK)):
            if number in (None, at):
                with ws.locks.hold(f"embed-{ws.collection.folder or ws.task.name}-{at}") as lock:
                    done += embedder.embed_missing(block, bar=bar) if lock is not None else 0
    return done


def missing_blocks(ws: WorkspaceSession) -> list[int]:
    """Return the numbers of the blocks of which a text was not embedded yet."""
    embedder = Embedder(ws)
    with ws.store.read() as tx:
        blocks = enumerate(pages(ws.collection.entries(tx), BLOCK))
        return [at for at, block in blocks if embedder.cache.missing(embedder.keys(block))]


def fit_text(text: str, *, limit: int | None) -> str:
    """Return a text as a model that reads `limit` tokens is given it: all of it, or without the middle.

    A model drops the end of what is too long for it, or refuses it; and at the end stand the tags. Tokens are
    estimated, so a quarter of the limit is left free.
    """
    cut = text
    keep = len(text)
    while limit is not None and keep and estimate_tokens(cut) > limit * 3 // 4:
        keep = keep * 4 // 5
        end = min(END, keep // 2)
        cut = f"{text[: keep - end]} … {text[len(text) - end :]}"
    return cut
