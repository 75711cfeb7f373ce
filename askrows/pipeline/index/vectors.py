"""Embed texts that are not in the vector cache, up to a hundred texts per call.

Calls keep to the model's limits per minute, which count texts, not calls. The backend embeds:
a provider's API, or the local engine, which runs on this machine and costs nothing. A workspace is
bound to the backend of its first batch, answer or vector. A page is the entries that are looked up
in the cache at once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import numpy as np

from askrows.pipeline.core.errors import ConfigurationError, RefusedError, RemoteError
from askrows.pipeline.core.progress import NoProgress, ProgressBar
from askrows.pipeline.core.ranking import Entry
from askrows.pipeline.core.states import STANDARD
from askrows.pipeline.index.manifest import Manifest
from askrows.pipeline.index.vector_cache import VectorCache, Vectors, make_vector_cache
from askrows.pipeline.provider.call_errors import RUN_LATER_HINT
from askrows.pipeline.provider.embed import (
    add_task_prefix_if_needed,
    compute_max_embedding_request_bytes,
    embed_locally,
)
from askrows.pipeline.provider.models import UNLIMITED_RATES
from askrows.pipeline.provider.rate_limiter import PACED_BURST_S, RateLimiter
from askrows.pipeline.provider.service import Service
from askrows.pipeline.provider.usage import Usage, calculate_cost, estimate_tokens
from askrows.pipeline.store.database import split_into_pages
from askrows.pipeline.tasks.announcements import announce_backend_once, open_client
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# HTTP status of a request that is itself at fault.
HTTP_BAD_REQUEST = 400
# The API embeds this word, whatever else it refuses.
PLAIN_WORD = "word"
# Such a text has no place among the others, so it is left out like a refused one.
ZERO_VECTOR_REASON = "the embedding model returned a vector of zeros"
UNUSABLE_VECTOR_REASON = "the embedding model returned no vector of {dim} numbers"
# Gemini's task type for the vectors of queries.
QUERY_TASK_TYPE = "RETRIEVAL_QUERY"
# Queries that are embedded together. They are short, so they always fit into a call.
MAX_QUERIES = 100
# Entries that are looked up in the cache at once: so many full calls.
LOOKUP_PAGE_CALLS = 12
# If the middle of a long text is cut, this much of its end is kept.
KEPT_END_CHARS = 1000


class EmbeddingCall(NamedTuple):
    """The texts of an embedding call."""

    # Position of each text in its page of entries.
    positions: list[int]
    texts: list[str]
    # Estimated tokens of all texts.
    tokens: int


# Positions in a page, with their vectors or with the reason why the API refused the text.
CallResult = tuple[list[int], Vectors | str]
EmbedFunction = Callable[..., Vectors]


def embed_queries(
    workspace: OpenWorkspace,
    service: Service,
    task: Task,
    texts: Sequence[str],
    cache: VectorCache | None = None,
) -> Vectors:
    """Return the vectors of queries, float32 (len(texts), dim), from a cache or the backend.

    New vectors are added to the cache. The local engine is faster than the cache, so its vectors
    are always computed and not stored.

    Args:
        service: The service with its embedding model.
        task: The task whose index is searched; its first upload is announced.
        texts: The queries.
        cache: The cache, or None to embed all texts without storing their vectors.

    Raises:
        AskrowsError: A call of the backend failed.
    """
    is_local = service.embedding_model.local
    embed = embed_locally if is_local else open_client(workspace, service, task).embed
    dim = workspace.settings.dim
    embed_texts = partial(embed, service.embedding_model, dim=dim, is_query=True)
    if cache is None or is_local:
        return np.concatenate(
            [embed_texts(texts=page) for page in split_into_pages(texts, MAX_QUERIES)],
        )

    keys = cache.make_keys(texts, task_type=QUERY_TASK_TYPE)

    def add_vectors(missing_positions: list[int]) -> None:
        """Embed the texts at some positions, and store their vectors in the cache."""
        for page in split_into_pages(missing_positions, MAX_QUERIES):
            vectors = embed_texts(texts=[texts[position] for position in page])
            cache.store_vectors(
                [keys[position] for position in page],
                vectors,
            )

    return cache.read_or_add_vectors(keys, add_vectors)


def check_embedding_model(
    task: Task,
    build_manifest: Manifest,
    *,
    model_name: str,
    dim: int,
) -> None:
    """Check that a build has vectors of the embedding model and width in use.

    Raises:
        ConfigurationError: The model or the width differs.
    """
    if (build_manifest.model, build_manifest.dim) != (model_name, dim):
        raise ConfigurationError(
            f"the index has vectors of {build_manifest.model} with {build_manifest.dim} "
            f"dimensions, but the settings name {model_name} with {dim} dimensions; "
            "nothing was searched",
            hint=f"run `{task.nouns.command('index')}`, or set "
            f"ASKROWS_EMBEDDING_MODEL={build_manifest.model} ASKROWS_DIM={build_manifest.dim}",
        )


class EmbeddingEstimate(NamedTuple):
    """Texts without a cached vector, and what it costs to embed them."""

    text_count: int
    tokens: int
    usd: float


class Embedder:
    """Cache keys and vectors of a workspace's entries, for the embedding model in use."""

    def __init__(self, workspace: OpenWorkspace, service: Service, task: Task) -> None:
        """Prepare the cache and the limits that all calls of this object share.

        The local engine has no limits. The limit of the day is left to the server.
        """
        self.cache = make_vector_cache(workspace, service)
        # Why the API refused a text, by the key of its vector.
        self.refusal_reasons: dict[bytes, str] = {}
        self._workspace = workspace
        self._service = service
        self._task = task
        self._model = service.embedding_model
        self._page_entries = LOOKUP_PAGE_CALLS * workspace.provider.max_embed_texts
        limits = (
            UNLIMITED_RATES
            if self._model.local
            else self._model.find_rate_limits(workspace.settings.tier)
        )
        # The server refuses calls above the limit of the day.
        self._rate_limiter = RateLimiter(
            limits._replace(rpd=None),
            monotonic=workspace.monotonic,
            burst_s=PACED_BURST_S,
        )

    def make_keys(self, entries: Iterable[Entry]) -> list[bytes]:
        """Return the cache key of each entry's text."""
        return self.cache.make_keys(entry.text for entry in entries)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries, float32 (len(texts), dim), from the cache or the backend.

        New vectors are cached, because these queries recur; with the local engine they are not.
        Binds the workspace to the provider if it is not bound yet, except with the local engine.
        """
        vectors = embed_queries(self._workspace, self._service, self._task, texts, self.cache)
        if not self._model.local:
            self._bind_workspace_to_backend()
        return vectors

    def is_embedding_paid(self) -> bool:
        """Return whether embedding costs anything today."""
        if self._model.local:
            return False
        today = self._workspace.now().date()
        return self._model.find_prices(STANDARD, day=today).prompt > 0

    def estimate_embedding_cost(
        self,
        entries: Iterable[Entry],
        *,
        bar: ProgressBar,
    ) -> EmbeddingEstimate:
        """Return how many texts are not cached, their estimated tokens, and their price in USD.

        Reads all entries and advances the progress bar. Embeds nothing. An equal text on another
        page of entries counts again, so the price is an upper estimate.
        """
        text_count = 0
        tokens = 0
        entry_count = 0
        for page in split_into_pages(entries, self._page_entries):
            missing_positions = self.cache.find_missing_positions(self.make_keys(page))
            text_count += len(missing_positions)
            prepared_texts = [
                self._fit_text_and_estimate_tokens(page[position]) for position in missing_positions
            ]
            tokens += sum(text_tokens for _, text_tokens in prepared_texts)
            entry_count += len(page)
            bar.show(entry_count)

        today = self._workspace.now().date()
        price = calculate_cost(
            self._model,
            Usage(prompt=tokens),
            STANDARD,
            day=today,
        )
        return EmbeddingEstimate(text_count, tokens, price)

    def embed_missing_texts(self, entries: Iterable[Entry], *, bar: ProgressBar) -> int:
        """Embed the entries whose vectors are not cached, several calls at once.

        The vectors of a call are on disk when the call ends, so a killed run loses only running
        calls. A text that the API refuses gets no vector; its reason is added to `refusal_reasons`,
        and it is not sent again. The first result binds the workspace to its backend, so that later
        commands cannot mix vectors of another one.

        Returns:
            How many texts were embedded.

        Raises:
            AskrowsError: A call failed. Running calls were finished first and their vectors saved.
        """
        embedded_count = 0
        entry_count = 0
        for page in split_into_pages(entries, self._page_entries):
            keys = self.make_keys(page)
            missing_positions = [
                position
                for position in self.cache.find_missing_positions(keys)
                if keys[position] not in self.refusal_reasons
            ]
            calls = list(self._group_into_calls(page, missing_positions))
            for positions, vectors_or_reason in self._announce_once_and_run_calls(calls):
                self._bind_workspace_to_backend()
                call_keys = [keys[position] for position in positions]
                if isinstance(vectors_or_reason, str):
                    self.refusal_reasons |= dict.fromkeys(call_keys, vectors_or_reason)
                    continue
                self.cache.store_vectors(call_keys, vectors_or_reason)
                embedded_count += len(positions)
                bar.show(entry_count, note=f"{embedded_count} embedded")

            entry_count += len(page)
            bar.show(
                entry_count,
                note=f"{embedded_count} embedded" if embedded_count else "",
            )
        return embedded_count

    def _announce_once_and_run_calls(self, calls: Sequence[EmbeddingCall]) -> Iterator[CallResult]:
        """Run calls in parallel and yield their vectors, or the reason for each refused text.

        Prints first which backend works and whether texts are uploaded, once per run. Results
        come in the order in which calls end. After a call has failed no other call is started; its
        exception is raised when the running calls have ended.

        Args:
            calls: The calls; without any, nothing is printed.

        Yields:
            Positions in the page with their vectors, or with the reason of a refusal.
        """
        if not calls:
            return

        workspace = self._workspace
        if self._model.local:
            announce_backend_once(workspace, self._service, self._task)
            embed: EmbedFunction = embed_locally
        else:
            # Create the client here, once: from Python 3.12 on, each thread would create its own.
            embed = partial(open_client(workspace, self._service, self._task).embed, is_paced=True)
        embed_texts = partial(self._embed_within_rate_limits, embed)
        failures = list[BaseException]()

        def run_call_and_keep_error(call: EmbeddingCall) -> list[CallResult]:
            """Run a call and return its results; keep an error in `failures` and return [].

            After an error of any call, nothing is run and [] is returned.
            """
            if failures:
                return []
            try:
                return list(_embed_call_without_refused_texts(call, embed_texts))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                failures.append(error)
                return []

        # Its threads are daemons, so an interrupt ends the caller at once.
        with ThreadPool(workspace.provider.parallel_embedding_calls) as pool:
            for results in pool.imap_unordered(run_call_and_keep_error, calls):
                yield from results
        if failures:
            raise failures[0]

    def _embed_within_rate_limits(
        self,
        embed: EmbedFunction,
        texts: Sequence[str],
        tokens: int,
    ) -> Vectors | RefusedError:
        """Wait for the rate limits and return the vectors of texts, or the refusal of the call.

        A refusal with HTTP status 400 is returned, not raised: one of the texts can be its cause,
        and it must not end the other calls.

        Args:
            embed: The backend's function.
            texts: At most a hundred texts.
            tokens: Their estimated tokens.

        Raises:
            RefusedError: The refusal has another status, for example because of the key.
        """

        def embed_or_return_refusal() -> Vectors | RefusedError:
            """Return the vectors of the texts, or the refusal if it has HTTP status 400."""
            try:
                return embed(
                    self._model,
                    texts,
                    dim=self._workspace.settings.dim,
                    is_query=False,
                )
            except RefusedError as error:
                if error.code != HTTP_BAD_REQUEST:
                    raise
                return error

        return self._rate_limiter.call_and_retry_within_limits(
            embed_or_return_refusal,
            requests=len(texts),
            tokens=tokens,
            patience_s=self._workspace.settings.poll_patience,
            sleep=self._workspace.sleep,
        )

    def _group_into_calls(
        self,
        page: list[Entry],
        missing_positions: list[int],
    ) -> Iterator[EmbeddingCall]:
        """Yield the missing texts in calls that fit the API's limits, in page order.

        A call has at most as many texts and bytes as the provider allows, and fits the model's
        limits per minute. Texts that are too long for the model are cut. A text that alone exceeds
        a limit gets its own call.

        Args:
            missing_positions: Positions in `page` of the entries to embed.
        """
        provider = self._workspace.provider
        positions = list[int]()
        texts = list[str]()
        tokens = 0
        size_bytes = 0
        for position in missing_positions:
            text, text_tokens = self._fit_text_and_estimate_tokens(page[position])
            text_bytes = compute_max_embedding_request_bytes(
                text, self._model, dim=self._workspace.settings.dim
            )

            has_all_texts = len(texts) == provider.max_embed_texts
            is_full = has_all_texts or size_bytes + text_bytes > provider.max_embed_bytes
            fits_limits = self._rate_limiter.fits(tokens + text_tokens, requests=len(texts) + 1)
            if texts and (is_full or not fits_limits):
                yield EmbeddingCall(positions, texts, tokens)
                positions = []
                texts = []
                tokens = 0
                size_bytes = 0

            positions.append(position)
            texts.append(text)
            tokens += text_tokens
            size_bytes += text_bytes
        if texts:
            yield EmbeddingCall(positions, texts, tokens)

    def _fit_text_and_estimate_tokens(self, entry: Entry) -> tuple[str, int]:
        """Return an entry's text as it is sent, cut if too long, and its estimated tokens."""
        text = cut_middle_to_fit(entry.text, limit=self._model.input_limit)
        return text, estimate_tokens(add_task_prefix_if_needed(text, self._model, is_query=False))

    def _bind_workspace_to_backend(self) -> None:
        """Bind the workspace to its backend, so that local and real vectors never mix."""
        if self._workspace.is_bound():
            return
        with self._workspace.store.write() as tx:
            self._workspace.bind_backend(tx)


def _embed_call_without_refused_texts(
    call: EmbeddingCall,
    embed_texts: Callable[[Sequence[str], int], Vectors | RefusedError],
) -> Iterator[CallResult]:
    """Yield the vectors of a call; repeat a refused call text by text.

    After each refusal, and after a reply without a usable vector, PLAIN_WORD is embedded as a test.
    If it gets no vector either, no text is at fault. A refused call costs nothing. A text whose
    vector is unusable or has only zeros counts as refused.

    Args:
        call: The texts.
        embed_texts: Embeds texts. Its arguments are the texts and an estimate of their tokens. It
            returns the vectors of the texts, or the error if the API refused the call.

    Yields:
        Positions in the page and their vectors, or a single position and the reason of its refusal.

    Raises:
        RemoteError: The plain word gets no vector either, so no text is at fault. It is the refusal
            of the call, if there is one.
    """
    reply = embed_texts(call.texts, call.tokens)
    if _has_no_vector(reply) and _has_no_vector(embed_texts([PLAIN_WORD], 1)):
        if isinstance(reply, RefusedError):
            raise reply
        raise RemoteError(UNUSABLE_VECTOR_REASON.format(dim=reply.shape[1]), hint=RUN_LATER_HINT)

    if not isinstance(reply, RefusedError):
        is_usable = np.isfinite(reply).all(axis=1)
        has_vector = is_usable & reply.any(axis=1)
        positions = np.array(call.positions)
        yield positions[has_vector].tolist(), reply[has_vector]
        for position in positions[~is_usable].tolist():
            yield [position], UNUSABLE_VECTOR_REASON.format(dim=reply.shape[1])
        for position in positions[is_usable & ~has_vector].tolist():
            yield [position], ZERO_VECTOR_REASON
        return

    if len(call.texts) == 1:
        yield call.positions, reply.message
        return

    tokens = call.tokens // len(call.texts)
    for position, text in zip(call.positions, call.texts, strict=True):
        yield from _embed_call_without_refused_texts(
            EmbeddingCall([position], [text], tokens), embed_texts
        )


def _has_no_vector(reply: Vectors | RefusedError) -> bool:
    """Return whether a call was refused, or none of its vectors is usable."""
    return isinstance(reply, RefusedError) or bool(np.isnan(reply).all())


def cut_middle_to_fit(text: str, *, limit: int | None) -> str:
    """Return a text without its middle, if it is too long for an embedding model.

    A model cuts off or refuses longer texts, and the tags are at the end of a text. So the
    beginning stays, and up to KEPT_END_CHARS of the end; " … " replaces the middle.

    Args:
        limit: Tokens that the model reads; None means no limit. Tokens are only estimated, so the
            text is cut to three quarters of the limit.
    """
    if limit is None:
        return text

    fitted_text = text
    kept_chars = len(text)
    while kept_chars and estimate_tokens(fitted_text) > limit * 3 // 4:
        kept_chars = kept_chars * 4 // 5
        end_chars = min(KEPT_END_CHARS, kept_chars // 2)
        beginning = text[: kept_chars - end_chars]
        end = text[len(text) - end_chars :]
        fitted_text = f"{beginning} … {end}"
    return fitted_text


def estimate_index_cost_usd(workspace: OpenWorkspace, service: Service, task: Task) -> float:
    """Return the cost in USD of a new build of the index; 0 if it is free or not possible.

    Reads the texts of all rows that the index would have, and calls no service.
    """
    embedder = Embedder(workspace, service, task)
    index = task.index
    if index is None or not embedder.is_embedding_paid():
        return 0.0
    with workspace.store.read() as tx:
        estimate = embedder.estimate_embedding_cost(index.read_entries(tx), bar=NoProgress())
    return round(estimate.usd, 6)
